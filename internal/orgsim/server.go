package orgsim

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

// Limits of request bodies; far above what the services accept, so that a client gone wild cannot exhaust memory.
const (
	maxBody   = 20 << 20
	maxS3Body = 100 << 20
)

// New returns an organization that has its management account only.
func New() *Server {
	s := &Server{services: make(map[string]*service)}
	for _, svc := range []*service{
		accountService(), ec2Service(), ecrService(), ecsService(), iamService(), lambdaService(),
		eksService(), batchService(), eventsService(), schedulerService(), statesService(), codebuildService(), sagemakerService(), appRunnerService(), agentCoreService(), emrService(), gameliftService(), imageBuilderService(), inspectorService(),
		organizationsService(), s3Service(), stsService(), pricingService(), costExplorerService(),
	} {
		s.services[svc.name] = svc
	}
	s.Reset()
	return s
}

// Reset empties everything: accounts, sessions, clock, faults, throttle and call counts.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts = make(map[string]*account)
	s.buckets = make(map[string]*bucket)
	s.limit = nil
	s.sessions.reset()
	s.control.reset()
	s.org = newOrganization()
	s.addAccount(ManagementAccount, "management", "", "", s.control.now())
}

// LimitRegions makes the world consist of these regions only: calls to others fail as they do in a region that
// the account has not enabled, and no API lists them. No region: all of them again.
func (s *Server) LimitRegions(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = nil
	for _, n := range names {
		if s.limit == nil {
			s.limit = make(map[string]bool)
		}
		s.limit[n] = true
	}
}

// AddAccount adds a member account with a chosen id under the root of the organization: for seeds and tests,
// since CreateAccount chooses the id itself. It does nothing if the account is a member; one that was used before joins
// with all it holds.
func (s *Server) AddAccount(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.inOrganization(id) {
		s.addAccount(id, name, "", "", s.control.now())
	}
}

// ServeHTTP answers one AWS request, one to the Kubernetes API of a cluster, or one of the simulator's own under /_sim/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.serveControl(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, kubePrefix) {
		s.serveKubernetes(w, r)
		return
	}
	id := rand.Text()
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("X-Amz-Request-Id", id)
	// Clients take AWS's clock from here; net/http keeps a Date that is set.
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))

	sc, err := parseScope(r)
	if err != nil {
		guessService(r).writeError(w, r, err)
		return
	}
	svc := s.services[sc.service]
	if svc == nil {
		guessService(r).writeError(w, r, errorf("UnknownOperationException", "the service %q is not simulated", sc.service))
		return
	}
	c, err := s.identify(sc, svc)
	if err != nil {
		svc.writeError(w, r, err)
		return
	}
	c.host = r.Host
	limit := int64(maxBody)
	if svc.protocol == restXML {
		limit = maxS3Body
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		svc.writeError(w, r, &apiError{Code: "RequestEntityTooLarge", Message: err.Error(), Status: http.StatusRequestEntityTooLarge})
		return
	}
	req := &request{Request: r, body: body}
	o, err := svc.resolve(req)
	name := "Unknown"
	if o != nil {
		name = o.name
	}
	if err == nil {
		err = s.control.interfere(r.Context(), c.Account, c.Region, svc, name)
	}
	var reply func(http.ResponseWriter) error
	if err == nil {
		reply, err = svc.perform(c, o, req)
	}
	s.control.count(c.Account, c.Region, svc.name, name, err != nil)
	if err != nil {
		svc.writeError(w, r, err)
		return
	}
	// An answer that cannot be written has lost its client: there is nobody left to tell.
	_ = reply(w)
}

// request is a request with its body read; form is that of the query protocols, parsed once.
type request struct {
	*http.Request
	body []byte
	form url.Values
	path map[string]string // restJSON: the variables of the path
}

// resolve finds the operation that a request names.
func (svc *service) resolve(r *request) (*operation, error) {
	var name string
	switch svc.protocol {
	case json11, json10:
		if speaksCBOR(r.Request) {
			name = cborOperation(r.Request)
			break
		}
		prefix, n, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if prefix == svc.targetPrefix {
			name = n
		}
	case query, ec2query:
		form, err := url.ParseQuery(string(r.body))
		if err != nil {
			return nil, errorf("MalformedQueryString", "%v", err)
		}
		for k, v := range r.URL.Query() {
			form[k] = append(form[k], v...)
		}
		r.form = form
		name = form.Get("Action")
	case restJSON:
		if o := svc.matchRoute(r); o != nil {
			return o, nil
		}
	case restXML:
		name = s3OperationName(r.Request)
	}
	if o := svc.ops[name]; o != nil {
		return o, nil
	}
	return nil, svc.unknownOperation(r.Request, name)
}

func (svc *service) unknownOperation(r *http.Request, name string) error {
	switch svc.protocol {
	case query, ec2query:
		return errorf("InvalidAction", "Could not find operation %s", name)
	case restJSON:
		return &apiError{Code: "UnknownOperationException", Message: fmt.Sprintf("no operation for %s %s", r.Method, r.URL.Path), Status: http.StatusNotFound}
	case restXML:
		return &apiError{Code: "NotImplemented", Message: "A header or query you provided implies functionality that is not implemented", Status: http.StatusNotImplemented}
	default:
		return errorf("UnknownOperationException", "%s", r.Header.Get("X-Amz-Target"))
	}
}

// perform decodes the request, runs the operation under the lock and returns what writes the answer.
func (svc *service) perform(c *Call, o *operation, r *request) (func(http.ResponseWriter) error, error) {
	in := o.newInput()
	if err := svc.decode(o, r, in); err != nil {
		return nil, err
	}
	out, err := o.call(c, in)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) error {
		if speaksCBOR(r.Request) {
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			return writeBody(w, http.StatusOK, "application/cbor", encodeCBOR(encodeJSON(out, svc.lowerCamel)))
		}
		return svc.writeOutput(w, o, out)
	}, nil
}

func (svc *service) decode(o *operation, r *request, in any) error {
	switch svc.protocol {
	case json11, json10:
		if speaksCBOR(r.Request) {
			return decodeCBOR(r.body, in)
		}
		return decodeJSON(r.body, in)
	case restJSON:
		return decodeREST(o.route, r, in)
	case query, ec2query:
		return decodeForm(r.form, in, svc.protocol)
	default:
		in.(*s3Input).request = r
		return nil
	}
}

func (svc *service) writeOutput(w http.ResponseWriter, o *operation, out any) error {
	switch svc.protocol {
	case json11, json10:
		return writeBody(w, http.StatusOK, svc.protocol.contentType(), encodeJSON(out, svc.lowerCamel))
	case restJSON:
		if o.route.status == http.StatusNoContent {
			w.WriteHeader(o.route.status)
			return nil
		}
		return writeBody(w, o.route.status, "application/json", encodeJSON(out, svc.lowerCamel))
	case query, ec2query:
		return writeBody(w, http.StatusOK, "text/xml", encodeQueryResponse(o, out, w.Header().Get("X-Amzn-Requestid")))
	default:
		return out.(*s3Output).write(w)
	}
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// scope is what the Authorization header (or a presigned URL) says about a request.
type scope struct{ accessKey, token, region, service string }

// parseScope reads the SigV4 credential scope. Signatures are not verified, since the secret keys of an
// imagined organization are anything; that there is one is asked for.
func parseScope(r *http.Request) (scope, error) {
	credential, token := "", r.Header.Get("X-Amz-Security-Token")
	if auth := r.Header.Get("Authorization"); auth != "" {
		rest, ok := strings.CutPrefix(auth, "AWS4-HMAC-SHA256 ")
		if !ok {
			return scope{}, errorf("IncompleteSignature", "Authorization header requires the algorithm AWS4-HMAC-SHA256")
		}
		for part := range strings.SplitSeq(rest, ",") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(part), "Credential="); ok {
				credential = v
			}
		}
	} else if q := r.URL.Query(); q.Has("X-Amz-Credential") {
		credential, token = q.Get("X-Amz-Credential"), q.Get("X-Amz-Security-Token")
	} else {
		return scope{}, &apiError{Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token", Status: http.StatusForbidden}
	}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[4] != "aws4_request" || parts[0] == "" || parts[2] == "" || parts[3] == "" {
		return scope{}, errorf("IncompleteSignature", "Credential must have 5 slash-delimited elements: access key, date, region, service and aws4_request, got: %q", credential)
	}
	return scope{accessKey: parts[0], token: token, region: parts[2], service: parts[3]}, nil
}

// guessService finds the protocol to put an error in when the request does not name a service that exists.
func guessService(r *http.Request) *service {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return &service{protocol: json11}
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"), r.URL.Query().Has("Action"):
		return &service{protocol: query}
	default:
		return &service{protocol: restJSON}
	}
}

// sessionPrefix begins the access keys that this STS issues, so that a key of another run (or of before a
// reset) is refused instead of passing for the management account.
const sessionPrefix = "ASIASIM"

// session is what an access key issued by STS stands for. Its role is looked up at every call, so that a changed
// policy acts at once.
type session struct {
	token, account, role, name, partition string
	policies                              []*policyDoc // session policies; nil: none
	expires                               time.Time    // real time
}

// sessionTable has a lock of its own: it is asked before the server's lock is taken.
type sessionTable struct {
	mu    sync.Mutex
	byKey map[string]*session
}

func (t *sessionTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byKey = make(map[string]*session)
}

func (t *sessionTable) get(key string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byKey[key]
}

func (t *sessionTable) put(key string, v *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byKey[key] = v
}

// identify finds out who calls, and whether the region is open to the account.
func (s *Server) identify(sc scope, svc *service) (*Call, error) {
	c := &Call{Server: s, Region: sc.region, Partition: partitionOf(sc.region), Now: s.now()}
	ses := s.sessions.get(sc.accessKey)
	switch {
	case ses != nil:
		if ses.token != sc.token || ses.partition != c.Partition {
			return nil, errInvalidCredentials(svc)
		}
		if !time.Now().Before(ses.expires) {
			return nil, errExpiredToken(svc)
		}
	case strings.HasPrefix(sc.accessKey, sessionPrefix):
		return nil, errInvalidCredentials(svc)
	}

	if ses == nil && isAccountID(sc.accessKey) {
		s.standalone(sc.accessKey)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case ses != nil:
		c.Caller = s.sessionPrincipal(ses)
	case isAccountID(sc.accessKey):
		c.Caller = rootOf(sc.accessKey, c.Partition)
	default:
		c.Caller = managementAdmin(c.Partition)
	}
	c.Account = c.Caller.Account
	a := s.accounts[c.Account]
	if a == nil || a.member.closed() {
		return nil, errInvalidCredentials(svc)
	}
	if !svc.global && !s.regionEnabled(a, c.Region) {
		return nil, errInvalidCredentials(svc)
	}
	return c, nil
}

// standalone makes the account of a 12-digit key that nobody has made yet: there is an AWS account behind every id, and
// one that the organization has not created or invited is simply outside of it.
func (s *Server) standalone(id string) {
	s.mu.RLock()
	known := s.accounts[id] != nil
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[id] == nil {
		s.accounts[id] = &account{id: id, s: s, regions: make(map[string]*region), member: membership{state: types.AccountStateActive}}
	}
}

// inOrganization reports whether an account is a member of the organization.
func (s *Server) inOrganization(id string) bool {
	a := s.accounts[id]
	return a != nil && a.member.parent != ""
}

func isAccountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// errInvalidCredentials is the answer to credentials that the endpoint does not know, which is also what a
// region gives that the account has not enabled.
func errInvalidCredentials(svc *service) error {
	const message = "The security token included in the request is invalid."
	switch svc.protocol {
	case query:
		return &apiError{Code: "InvalidClientTokenId", Message: message, Status: http.StatusForbidden}
	case ec2query:
		return &apiError{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials", Status: http.StatusUnauthorized}
	case restJSON:
		return &apiError{Code: "UnrecognizedClientException", Message: message, Status: http.StatusForbidden}
	case restXML:
		return &apiError{Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records.", Status: http.StatusForbidden}
	default:
		return &apiError{Code: "UnrecognizedClientException", Message: message, Status: http.StatusBadRequest}
	}
}

func errExpiredToken(svc *service) error {
	const message = "The security token included in the request is expired"
	switch svc.protocol {
	case query:
		return &apiError{Code: "ExpiredToken", Message: message, Status: http.StatusForbidden}
	case ec2query:
		return &apiError{Code: "RequestExpired", Message: message, Status: http.StatusBadRequest}
	case restJSON:
		return &apiError{Code: "ExpiredTokenException", Message: message, Status: http.StatusForbidden}
	case restXML:
		return &apiError{Code: "ExpiredToken", Message: message, Status: http.StatusBadRequest}
	default:
		return &apiError{Code: "ExpiredTokenException", Message: message, Status: http.StatusBadRequest}
	}
}

// asAPIError gives any error of an operation the code, message and status that go on the wire; detail is the
// SDK's typed error, whose members go along.
func (svc *service) asAPIError(err error) (e *apiError, detail any) {
	if ae, ok := errors.AsType[*apiError](err); ok {
		e = &apiError{Code: ae.Code, Message: ae.Message, Status: ae.Status}
	} else if se, ok := errors.AsType[smithyError](err); ok {
		e = &apiError{Code: se.ErrorCode(), Message: se.ErrorMessage()}
		detail = se
	} else {
		e = &apiError{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	if e.Status == 0 {
		e.Status = svc.statusOf(e.Code)
		if se, ok := detail.(smithyError); ok && se.ErrorFault().String() == "server" {
			e.Status = http.StatusInternalServerError
		}
	}
	return e, detail
}

// restStatus is the HTTP status of error codes in the restJson services, as their models declare it.
var restStatus = map[string]int{
	"AccessDeniedException":         http.StatusForbidden,
	"ResourceNotFoundException":     http.StatusNotFound,
	"ResourceConflictException":     http.StatusConflict,
	"ResourceInUseException":        http.StatusBadRequest,
	"ConflictException":             http.StatusConflict,
	"PolicyLengthExceededException": http.StatusBadRequest,
	"PreconditionFailedException":   http.StatusPreconditionFailed,
	"TooManyRequestsException":      http.StatusTooManyRequests,
	"ServiceException":              http.StatusInternalServerError,
	"InternalServerException":       http.StatusInternalServerError,
}

func (svc *service) statusOf(code string) int {
	switch {
	case svc.protocol == restJSON && restStatus[code] != 0:
		return restStatus[code]
	case code == "AccessDenied":
		return http.StatusForbidden
	default:
		return http.StatusBadRequest
	}
}

// writeError writes an error answer in the service's protocol.
func (svc *service) writeError(w http.ResponseWriter, r *http.Request, err error) {
	e, detail := svc.asAPIError(err)
	id := w.Header().Get("X-Amzn-Requestid")
	switch svc.protocol {
	case json11, json10, restJSON:
		if speaksCBOR(r) {
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			_ = writeBody(w, e.Status, "application/cbor", encodeCBOR(encodeJSONError(e, detail, svc.lowerCamel)))
			return
		}
		w.Header().Set("X-Amzn-Errortype", e.Code)
		_ = writeBody(w, e.Status, svc.protocol.contentType(), encodeJSONError(e, detail, svc.lowerCamel))
	case query:
		_ = writeBody(w, e.Status, "text/xml", encodeQueryError(e, svc.xmlns, id))
	case ec2query:
		_ = writeBody(w, e.Status, "text/xml;charset=UTF-8", encodeEC2Error(e, id))
	default:
		if r.Method == http.MethodHead { // an answer to HEAD has no body
			w.WriteHeader(e.Status)
			return
		}
		_ = writeBody(w, e.Status, "application/xml", encodeS3Error(e, r.URL.Path, id))
	}
}
