package orgsim

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// protocol is the wire protocol of a service, as its Smithy model declares it.
type protocol int

const (
	json11   protocol = iota // awsJson1_1: POST /, X-Amz-Target
	json10                   // awsJson1_0: the same but for the content type
	restJSON                 // restJson1: method and path
	query                    // awsQuery: form in, XML out
	ec2query                 // ec2Query: the same with other envelopes
	restXML                  // S3
)

// contentType of the JSON protocols.
func (p protocol) contentType() string {
	switch p {
	case json11:
		return "application/x-amz-json-1.1"
	case json10:
		return "application/x-amz-json-1.0"
	default:
		return "application/json"
	}
}

// service is one AWS service. Every service file has a function that builds it; server.go lists them.
type service struct {
	name         string // SigV4 signing name: "ecr"
	protocol     protocol
	targetPrefix string // json11: "AmazonEC2ContainerRegistry_V20150921"
	lowerCamel   bool   // JSON member names are lowerCamel; otherwise they are the Go field names
	xmlns        string // query: the namespace of answers
	global       bool   // one endpoint for the partition: the region of the scope is not checked
	badParameter string // error code of a bad page size or token; default InvalidParameterException
	ops          map[string]*operation

	// uses tells InUse what needs images in a region: the reference as written, the digest it was resolved to ("":
	// what the reference means now) and the ARN of what needs it. nil: nothing does.
	uses func(r *region, use func(image, digest, arn string))
	// bucket is the token bucket that an operation draws from when the server throttles: AWS's published rates. nil,
	// or no group: it is not limited.
	bucket func(operation string) (group string, perSecond, burst int)
}

// operation is one API operation with its types erased.
type operation struct {
	name      string
	service   *service
	action    string // IAM action
	write     bool   // runs under the write lock
	self      bool   // calls c.authorize itself
	resources func(c *Call, in any) []string
	newInput  func() any
	output    reflect.Type
	run       func(c *Call, in any) (any, error)
	route     *restRoute
}

type opOption func(*operation)

// op registers a typed operation; I and O are the SDK's own ...Input and ...Output structs.
//
// f runs with the server's lock held: the read lock if the name begins with Describe, List or Get, else the
// write lock. The answer is encoded after the lock is released, so it must not share memory that a later
// operation changes in place (replace slices and maps of the state instead of writing into them).
func op[I, O any](s *service, name string, f func(c *Call, in *I) (*O, error), opts ...opOption) {
	o := &operation{
		name:     name,
		service:  s,
		action:   s.name + ":" + name,
		write:    !isRead(name),
		newInput: func() any { return new(I) },
		output:   reflect.TypeFor[O](),
		run: func(c *Call, in any) (any, error) {
			out, err := f(c, in.(*I))
			if err != nil {
				return nil, err
			}
			return out, nil
		},
	}
	for _, opt := range opts {
		opt(o)
	}
	if s.ops == nil {
		s.ops = make(map[string]*operation)
	}
	s.ops[name] = o
}

func isRead(op string) bool {
	return strings.HasPrefix(op, "Describe") || strings.HasPrefix(op, "List") || strings.HasPrefix(op, "Get") || strings.HasPrefix(op, "Head")
}

// route binds a restJSON operation to a method and a path template: {Name} stands for one segment ({Name+}: for
// the rest) and fills the input's field of that name. The fields named in query come from the query string
// (compared without case; "version=AgentRuntimeVersion" where its name there is another); the others come from the body.
func route(method, path string, status int, query ...string) opOption {
	return func(o *operation) { o.route = newRestRoute(method, path, status, query) }
}

// resource gives the ARNs that IAM is asked about; without it the resource is "*".
func resource[I any](f func(c *Call, in *I) []string) opOption {
	return func(o *operation) {
		o.resources = func(c *Call, in any) []string { return f(c, in.(*I)) }
	}
}

// action replaces the IAM action "<service>:<operation>".
func action(name string) opOption { return func(o *operation) { o.action = name } }

// selfAuthorized is for operations that call c.authorize themselves, since their resource may belong to another
// account or carry a resource policy.
func selfAuthorized() opOption { return func(o *operation) { o.self = true } }

// authorizeOperation asks IAM for everything an operation that is not selfAuthorized touches in the caller's account.
func (o *operation) authorizeOperation(c *Call, in any) error {
	if o.self {
		return nil
	}
	resources := []string{"*"}
	if o.resources != nil {
		if r := o.resources(c, in); len(r) > 0 {
			resources = r
		}
	}
	for _, r := range resources {
		if err := c.authorize(o.action, r, c.Account, nil); err != nil {
			return err
		}
	}
	return nil
}

// call authorizes and runs the operation under the server's lock.
func (o *operation) call(c *Call, in any) (any, error) {
	s := c.Server
	if o.write {
		s.mu.Lock()
		defer s.mu.Unlock()
	} else {
		s.mu.RLock()
		defer s.mu.RUnlock()
	}
	c.op = o
	if s.accounts[c.Account] == nil { // a reset raced with this request
		return nil, errInvalidCredentials(o.service)
	}
	if err := o.authorizeOperation(c, in); err != nil {
		return nil, err
	}
	out, err := o.run(c, in)
	if pe, ok := errors.AsType[*pageError](err); ok {
		code := o.service.badParameter
		if code == "" {
			code = "InvalidParameterException"
		}
		return nil, &apiError{Code: code, Message: pe.msg}
	}
	return out, err
}

// apiError is an AWS error answer. Status 0 is the one that the service has for the code.
type apiError struct {
	Code, Message string
	Status        int
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// errorf makes an error answer with the status that the service has for the code: 400 in most.
func errorf(code, format string, args ...any) error {
	return &apiError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// home is the caller's account in the region of the request.
func (c *Call) home() *region { return c.Server.regionOf(c.Account, c.Region) }

// regionOf is the state of an account in a region, made on demand; nil if there is no such account. The
// server's lock must be held, for reading at least.
func (s *Server) regionOf(account, name string) *region {
	a := s.accounts[account]
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.regions[name]
	if r == nil {
		r = &region{account: account, name: name}
		a.regions[name] = r
	}
	return r
}

// pageError becomes the service's own invalid-parameter error.
type pageError struct{ msg string }

func (e *pageError) Error() string { return e.msg }

// page cuts one page out of items, which must be in a stable order. A page size outside 1..limit and a token
// that page did not make are the service's invalid-parameter error.
func page[T any](items []T, maxResults *int32, def, limit int, token *string) (out []T, next *string, err error) {
	size := def
	if maxResults != nil {
		size = int(*maxResults)
		if size < 1 || size > limit {
			return nil, nil, &pageError{fmt.Sprintf("Invalid parameter: the maximum number of results must be between 1 and %d", limit)}
		}
	}
	start := 0
	if token != nil && *token != "" {
		raw, err := base64.URLEncoding.DecodeString(*token)
		offset, ok := strings.CutPrefix(string(raw), "offset=")
		if err == nil && ok {
			start, err = strconv.Atoi(offset)
		}
		if err != nil || !ok || start < 0 {
			return nil, nil, &pageError{"Invalid parameter: the pagination token is not valid"}
		}
	}
	start = min(start, len(items))
	end := min(start+size, len(items))
	if end < len(items) {
		t := base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "offset=%d", end))
		next = &t
	}
	if items == nil { // AWS answers an empty list, not none
		items = []T{}
	}
	return items[start:end], next, nil
}

// invoke runs an operation in this process as the root of an account: for seeds and tests. It is not counted,
// throttled or made to fail.
func invoke[I, O any](s *Server, account, region, service, op string, in *I) (*O, error) {
	svc := s.services[service]
	if svc == nil || svc.ops[op] == nil {
		return nil, errorf("UnknownOperationException", "%s has no operation %s", service, op)
	}
	c := &Call{
		Server: s, Account: account, Region: region, Partition: partitionOf(region),
		Caller: rootOf(account, partitionOf(region)), Now: s.now(),
	}
	out, err := svc.ops[op].call(c, in)
	if err != nil {
		return nil, fmt.Errorf("%s %s in %s/%s: %w", service, op, account, region, err)
	}
	return out.(*O), nil
}
