// Package orgsim is a simulated AWS Organization: one http.Handler that speaks the real AWS protocols for
// every service demurrage reads, so that the real SDK clients and the aws CLI can be pointed at it.
//
// It exists for tests, for `demurrage demo` and for `demurrage sim`. It must never be more convenient than AWS:
// where the two could differ, the AWS documentation decides, and what is left out is listed in DEVIATIONS.md. It must never be imported by the code that scans, plans or deletes.
package orgsim

import (
	"sync"
	"time"
)

// ManagementAccount is the account of callers whose access key is neither a session nor a 12-digit account id.
const ManagementAccount = "999999999999"

// Server is the simulated organization. All of its state is behind one lock: operations whose name begins with
// Describe, List or Get run under the read lock, all others (BatchGetImage too: it moves pull times) under the
// write lock; decoding and encoding happen outside of it.
type Server struct {
	mu       sync.RWMutex
	accounts map[string]*account
	org      organizationState
	buckets  map[string]*bucket  // S3: names are global
	services map[string]*service // by SigV4 signing name: "ecr", "ecs", "lambda", "sts", "iam", "organizations", "account", "ec2"
	sessions sessionTable        // what STS issued
	control  control             // clock, faults, throttle, call counts
	limit    map[string]bool     // LimitRegions; nil: all
}

// account is one AWS account's state; global services (IAM) hang here, regional ones in regions.
type account struct {
	id      string
	member  membership // in the organization
	iam     iamState
	optIn   map[string]bool // regions enabled or disabled against their default
	mu      sync.Mutex      // guards the making of regions, which also happens under the server's read lock
	regions map[string]*region
	s       *Server
}

// region is the per-service state of one account in one region.
type region struct {
	account, name string
	ecr           ecrState
	ecs           ecsState
	lambda        lambdaState
	eks           eksState
	batch         batchState
	events        eventsState
	scheduler     schedulerState
	states        statesState
	codebuild     codebuildState
	sagemaker     sagemakerState
	appRunner     appRunnerState
	agentCore     agentCoreState
	emr           emrState
	gamelift      gameliftState
	imageBuilder  imageBuilderState
	inspector     inspectorState
}

// Call is one authenticated request, handed to an operation with the server's lock held.
type Call struct {
	Server    *Server
	Account   string    // of the caller
	Region    string    // of the request's credential scope
	Partition string    // aws, aws-cn, … of Region
	Caller    principal // who calls: ARN, account, policies of the session
	Now       time.Time // simulated time

	host       string // that the request was sent to
	op         *operation
	conditions map[string][]string // condition keys that only this operation knows, e.g. sts:ExternalId
}
