package orgsim

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Fault makes matching calls fail, wait, or both. Empty matchers match anything. Of the entries that match a
// call the first decides.
type Fault struct {
	Account   string  `json:"account,omitempty"` // of the caller
	Region    string  `json:"region,omitempty"`
	Service   string  `json:"service,omitempty"` // signing name: "ecr"
	Operation string  `json:"operation,omitempty"`
	Code      string  `json:"code,omitempty"`       // empty: only the latency
	Status    int     `json:"status,omitempty"`     // 0: the code's own, 500 for those of internal errors
	Times     int     `json:"times,omitempty"`      // the first calls that match; 0: always
	LatencyMS int     `json:"latency_ms,omitempty"` // before the answer
	Rate      float64 `json:"rate,omitempty"`       // probability; 0: 1
}

// CallCount says how often an operation was called, denied and throttled calls included.
type CallCount struct {
	Account   string `json:"account"`
	Region    string `json:"region"`
	Service   string `json:"service"`
	Operation string `json:"operation"`
	Calls     int    `json:"calls"`
	Errors    int    `json:"errors"` // answers that were not 2xx
}

type callKey struct{ account, region, service, operation string }

type fault struct {
	Fault
	left int // of Times
}

// control is what tests steer the simulation by; it has a lock of its own, since it acts before the
// operation's lock is taken.
type control struct {
	mu       sync.Mutex
	clock    time.Time // zero: it runs
	faults   []*fault
	throttle bool
	buckets  map[callKey]*rate.Limiter // operation: the name of a group that shares a bucket
	calls    map[callKey]*CallCount
	random   *rand.Rand
}

func (k *control) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock, k.faults, k.throttle = time.Time{}, nil, false
	k.buckets = make(map[callKey]*rate.Limiter)
	k.calls = make(map[callKey]*CallCount)
	k.random = rand.New(rand.NewPCG(1, 2)) // the same run fails at the same calls
}

func (k *control) now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.clock.IsZero() {
		return time.Now().UTC()
	}
	return k.clock
}

func (s *Server) now() time.Time { return s.control.now() }

// SetClock freezes the simulated time; the zero time lets it run with the real one again. Sessions of STS expire
// by real time.
func (s *Server) SetClock(t time.Time) {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	s.control.clock = t.UTC()
	if t.IsZero() {
		s.control.clock = time.Time{}
	}
}

// SetFaults replaces the list of faults.
func (s *Server) SetFaults(list []Fault) {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	s.control.faults = nil
	for _, f := range list {
		s.control.faults = append(s.control.faults, &fault{Fault: f, left: f.Times})
	}
}

// SetThrottle turns the token buckets on (full) or off.
func (s *Server) SetThrottle(on bool) {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	s.control.throttle = on
	s.control.buckets = make(map[callKey]*rate.Limiter)
}

// Calls returns the calls so far, sorted by account, region, service and operation.
func (s *Server) Calls() []CallCount {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	out := make([]CallCount, 0, len(s.control.calls))
	for _, c := range s.control.calls {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b CallCount) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region),
			strings.Compare(a.Service, b.Service), strings.Compare(a.Operation, b.Operation))
	})
	return out
}

func (k *control) count(account, region, service, operation string, failed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := callKey{account, region, service, operation}
	c := k.calls[key]
	if c == nil {
		c = &CallCount{Account: account, Region: region, Service: service, Operation: operation}
		k.calls[key] = c
	}
	c.Calls++
	if failed {
		c.Errors++
	}
}

func (f *fault) matches(account, region, service, operation string) bool {
	match := func(want, have string) bool { return want == "" || want == have }
	return match(f.Account, account) && match(f.Region, region) && match(f.Service, service) && match(f.Operation, operation) &&
		(f.Times == 0 || f.left > 0)
}

// nextFault takes the fault that a call meets.
func (k *control) nextFault(account, region, service, operation string) (Fault, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.faults, func(f *fault) bool { return f.matches(account, region, service, operation) })
	if i < 0 {
		return Fault{}, false
	}
	f := k.faults[i]
	if f.Rate > 0 && k.random.Float64() >= f.Rate {
		return Fault{}, false
	}
	if f.Times > 0 {
		f.left--
	}
	return f.Fault, true
}

// interfere lets faults and throttling act on a call.
func (k *control) interfere(ctx context.Context, account, region string, svc *service, operation string) error {
	if f, ok := k.nextFault(account, region, svc.name, operation); ok {
		if f.LatencyMS > 0 {
			t := time.NewTimer(time.Duration(f.LatencyMS) * time.Millisecond)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return &apiError{Code: "RequestTimeout", Message: "the client went away", Status: http.StatusRequestTimeout}
			}
		}
		if f.Code != "" || f.Status != 0 {
			return f.err(svc)
		}
	}
	if k.throttled(account, region, svc, operation) {
		return errThrottled(svc)
	}
	return nil
}

// err is the error of a fault. A status alone has the code that services give with it.
func (f *Fault) err(svc *service) error {
	status, code := f.Status, f.Code
	if code == "" {
		switch {
		case status == http.StatusServiceUnavailable:
			code = "ServiceUnavailable"
		case status >= 500:
			code = "InternalFailure"
		case status == http.StatusForbidden:
			code = "AccessDeniedException"
		default:
			code = "ThrottlingException"
		}
	}
	if status == 0 {
		status = svc.statusOf(code)
		if strings.Contains(code, "Internal") || strings.HasPrefix(code, "ServiceUnavailable") {
			status = http.StatusInternalServerError
		}
	}
	return &apiError{Code: code, Message: "simulated fault", Status: status}
}

// bucketOf is the token bucket that an operation draws from: AWS's published rates, and low guesses for what is
// not published. No group: not limited.
//
// See https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html,
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and
// https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
func bucketOf(svc *service, operation string) (group string, perSecond, burst int) {
	switch svc.name {
	case "ecr":
		if operation == "BatchGetImage" {
			return operation, 2000, 2000
		}
		return operation, 10, 10
	case "ecs":
		switch {
		case strings.Contains(operation, "TaskDefinition"): // those of daemons too
			if isRead(operation) {
				return "task definition reads", 20, 50
			}
			return "task definition writes", 1, 20
		case operation == "ListTasks", operation == "DescribeTasks":
			return "tasks", 20, 100
		case strings.Contains(operation, "ServiceRevision"):
			return "service revisions", 20, 50
		case strings.Contains(operation, "ServiceDeployment"):
			return "service deployments", 20, 50
		case strings.Contains(operation, "Service"), strings.Contains(operation, "Daemon"):
			if isRead(operation) {
				return "services", 20, 100
			}
			return "service writes", 5, 50
		case strings.Contains(operation, "Cluster"):
			return "clusters", 20, 50
		default:
			return "other", 20, 50
		}
	case "lambda":
		if operation == "GetFunction" {
			return operation, 100, 100
		}
		return "other", 15, 15
	case "sts":
		return operation, 600, 600
	case "organizations":
		return operation, 8, 12
	default:
		if svc.bucket != nil {
			return svc.bucket(operation)
		}
		return "", 0, 0
	}
}

func (k *control) throttled(account, region string, svc *service, operation string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.throttle {
		return false
	}
	group, perSecond, burst := bucketOf(svc, operation)
	if group == "" {
		return false
	}
	key := callKey{account, region, svc.name, group}
	l := k.buckets[key]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(perSecond), burst)
		k.buckets[key] = l
	}
	return !l.Allow()
}

func errThrottled(svc *service) error {
	const message = "Rate exceeded"
	switch {
	case svc.protocol == query:
		return &apiError{Code: "Throttling", Message: message, Status: http.StatusBadRequest}
	case svc.protocol == ec2query:
		return &apiError{Code: "RequestLimitExceeded", Message: "Request limit exceeded.", Status: http.StatusServiceUnavailable}
	case svc.protocol == restXML:
		return &apiError{Code: "SlowDown", Message: "Please reduce your request rate.", Status: http.StatusServiceUnavailable}
	case svc.name == "lambda":
		return &apiError{Code: "TooManyRequestsException", Message: message, Status: http.StatusTooManyRequests}
	case svc.name == "organizations":
		return &apiError{Code: "TooManyRequestsException", Message: message, Status: http.StatusBadRequest}
	default:
		return &apiError{Code: "ThrottlingException", Message: message, Status: http.StatusBadRequest}
	}
}

// serveControl answers the simulator's own paths, which are not AWS.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "POST /_sim/clock":
		var body struct {
			Now *time.Time `json:"now"`
		}
		if !readControl(w, r, &body) {
			return
		}
		var now time.Time
		if body.Now != nil {
			now = *body.Now
		}
		s.SetClock(now)
	case "POST /_sim/faults":
		var list []Fault
		if !readControl(w, r, &list) {
			return
		}
		if err := checkFaults(list); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetFaults(list)
	case "POST /_sim/throttle":
		var body struct {
			Enabled *bool `json:"enabled"`
		}
		if !readControl(w, r, &body) {
			return
		}
		if body.Enabled == nil {
			http.Error(w, `"enabled" is missing`, http.StatusBadRequest)
			return
		}
		s.SetThrottle(*body.Enabled)
	case "POST /_sim/reset":
		s.Reset()
	case "GET /_sim/calls":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Calls())
		return
	default:
		http.Error(w, fmt.Sprintf("no control %s %s; there are POST /_sim/clock, faults, throttle, reset and GET /_sim/calls", r.Method, r.URL.Path), http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func checkFaults(list []Fault) error {
	for i, f := range list {
		switch {
		case f.Rate < 0 || f.Rate > 1:
			return fmt.Errorf("fault %d: rate must be between 0 and 1", i)
		case f.Times < 0 || f.LatencyMS < 0:
			return fmt.Errorf("fault %d: times and latency_ms cannot be negative", i)
		case f.Status != 0 && (f.Status < 400 || f.Status > 599):
			return fmt.Errorf("fault %d: status must be an error's", i)
		case f.Code == "" && f.Status == 0 && f.LatencyMS == 0:
			return fmt.Errorf("fault %d: needs a code, a status or a latency_ms", i)
		}
	}
	return nil
}

// readControl reads a control's body, or answers 400 and returns false: a typo must not be a fault that never
// happens.
func readControl(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		http.Error(w, "bad JSON: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
