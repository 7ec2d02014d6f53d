package orgsim

import (
	_ "embed"
	"fmt"
	"time"
)

//go:embed demo.toml
var demoConfig []byte

// DemoConfig is the accounts.toml that fits the company of SeedDemo.
func DemoConfig() []byte { return demoConfig }

// DemoRegions are all regions of the demo's world. Registries are planned in the first two; in the third there are
// workloads only.
var DemoRegions = []string{"us-east-1", "ap-northeast-1", "eu-west-1"}

// SeedDemo fills an empty organization with the company that Demo describes, as it would have come to be: every
// push, deployment and deletion is made by the real operation at its time, which is an age before now.
//
// Digests do not depend on now, and every age is at least 3 hours away from any span of demo.toml, so that
// decisions do not change while a program runs. The clock stands at now afterwards; SetClock with the zero time
// lets it run.
func (s *Server) SeedDemo(now time.Time) error {
	return s.seed(Demo(), now.UTC())
}

// Description is a company as data: its accounts, what was pushed to its repositories, and what runs. Ages count
// back from the time the simulation stands at.
//
// It says what happened and nothing about what a plan should be: DemoExpected derives that.
type Description struct {
	Hub          string // the account that demurrage runs in, a delegated administrator
	ExternalID   string // that the roles ask for
	Units        []DemoUnit
	Accounts     []DemoAccount
	Repositories []*DemoRepository
	Families     []*DemoFamily
	Services     []*DemoService
	Tasks        []DemoTask
	Functions    []*DemoFunction
	Others       []DemoOther
}

// DemoUnit is an organizational unit; its parent, by name, stands before it ("": the root).
type DemoUnit struct{ Name, Parent string }

// DemoAccount is an account with its roles.
type DemoAccount struct {
	ID, Name, Unit    string
	Owner, CostCenter string
	Refuses           bool // its role trusts another external id
	Pulls             bool // its role is not registered as a pull-time exclusion: reading a manifest is a pull
	Closed            bool
}

// DemoRepository is a repository and the series of builds that was pushed to it.
type DemoRepository struct {
	Account, Region, Name string
	Owner, CostCenter     string // resource tags
	Shared                bool   // its policy lets every account of the organization pull
	Lifecycle             string // its lifecycle policy

	Base      string   // key of demoBases: what the builds are made from and share layers with
	Deps, App int      // MB: a layer that changes with every 6th build, and one of each build
	Platforms []string // architectures: with more than one, every build is an index
	Attested  bool     // the indexes hold BuildKit's attestation manifests
	Nested    bool     // the index stands in another one beside a Windows image
	Docker    bool     // Docker's media types instead of OCI's
	Signed    string   // "", demoCosign or demoReferrer

	Builds int      // numbered from 1, the oldest
	Every  float64  // days between builds, more or less
	Newest int      // days since the last one
	Tag    string   // of a build, with a place for its number; "": builds have moving tags only
	Tagged int      // every n-th build has its tag, the others have moving tags only; 0: every one
	Moving []string // tags that each build takes from the one before

	Extra    []DemoTag    // tags given later
	Archived int          // the oldest n builds were archived, without what hangs on them
	Pulls    []DemoPull   // by hosts that no API lists
	Deleted  []DemoDelete // by a person, children and all, but not signatures
}

// The ways to sign: a tag sha256-….sig, or a referrer by the OCI subject.
const (
	demoCosign   = "cosign"
	demoReferrer = "referrer"
)

// DemoTag is a tag given to a build after its push.
type DemoTag struct {
	Build int
	Tag   string
	Age   time.Duration
}

// DemoPull is a pull of a build by digest.
type DemoPull struct {
	Build int
	Age   time.Duration
}

// DemoDelete is a deletion of a build.
type DemoDelete struct {
	Build int
	Age   time.Duration
}

// DemoImage is a reference as somebody wrote it: a tag, the digest of a build, both, or neither.
type DemoImage struct {
	Repository *DemoRepository
	Tag        string
	Build      int // whose digest is given; 0: none
	Host       DemoHost
}

// DemoHost is the form of a registry's host name.
type DemoHost int

// The forms of https://docs.aws.amazon.com/general/latest/gr/ecr.html.
const (
	DemoClassic DemoHost = iota
	DemoFIPS
	DemoDualStack
)

// DemoFamily is a task definition family. Its revisions are numbered from 1, the oldest.
type DemoFamily struct {
	Account, Region, Name string
	Revisions             []DemoRevision
}

// DemoRevision is a task definition with a container for each image.
type DemoRevision struct {
	Age      time.Duration
	Images   []DemoImage
	Inactive bool // deregistered since
}

// DemoService is an ECS service in the account and region of its family. The first deployment creates it.
type DemoService struct {
	Family        *DemoFamily
	Cluster, Name string
	CodeDeploy    bool // it has task sets and no deployments
	Deployments   []DemoDeployment
}

// DemoDeployment sets a service's revision and desired count.
type DemoDeployment struct {
	Age      time.Duration
	Revision int
	Desired  int32
}

// DemoTask is a task without a service that ran and stopped.
type DemoTask struct {
	Family           *DemoFamily
	Cluster          string
	Revision         int
	StartedBy        string
	Started, Stopped time.Duration
}

// DemoFunction is a Lambda function. Each code is published as a version, numbered from 1.
type DemoFunction struct {
	Account, Region, Name string
	Code                  []DemoCode
	Aliases               []DemoAlias
}

// DemoCode is one update of a function's code.
type DemoCode struct {
	Age   time.Duration
	Image DemoImage
}

// DemoAlias names a published version.
type DemoAlias struct {
	Name    string
	Version int
}

// Key names a repository over all registries, as the keys of DemoExpected do.
func (r *DemoRepository) Key() string { return r.Account + "/" + r.Region + "/" + r.Name }

// DemoPush is one manifest that was pushed, with the tags it got then.
type DemoPush struct {
	Name     string // in its repository: "17", "17/amd64", "17/amd64/attestation", "17/signature"
	Build    int
	Kind     string // image, index, attestation, cosign or referrer
	Arch     string // of an image
	Age      time.Duration
	Tags     []string // without cosign's, which is made of a digest
	Children []string // names
	Subject  string   // name
}

const (
	demoKindImage       = "image"
	demoKindIndex       = "index"
	demoKindAttestation = "attestation"
)

// Pushes lists everything that was ever pushed to the repository, oldest first: children before their index,
// signatures behind what they sign.
func (r *DemoRepository) Pushes() []DemoPush {
	var out []DemoPush
	for n := 1; n <= r.Builds; n++ {
		age := r.Age(n)
		top := DemoPush{Name: fmt.Sprint(n), Build: n, Kind: demoKindImage, Arch: "amd64", Age: age, Tags: r.tags(n)}
		if len(r.Platforms) > 1 {
			index := DemoPush{Name: top.Name, Build: n, Kind: demoKindIndex, Age: age, Tags: top.Tags}
			if r.Nested {
				index.Name += "/linux"
				index.Age, index.Tags = age+5*time.Second, nil
			}
			for _, arch := range r.Platforms {
				child := DemoPush{Name: top.Name + "/" + arch, Build: n, Kind: demoKindImage, Arch: arch, Age: age + 20*time.Second}
				out = append(out, child)
				index.Children = append(index.Children, child.Name)
			}
			if r.Attested {
				for _, arch := range r.Platforms {
					att := DemoPush{Name: top.Name + "/" + arch + "/attestation", Build: n, Kind: demoKindAttestation, Age: age + 10*time.Second}
					out = append(out, att)
					index.Children = append(index.Children, att.Name)
				}
			}
			if r.Nested {
				windows := DemoPush{Name: top.Name + "/windows", Build: n, Kind: demoKindImage, Arch: "windows", Age: age + 7*time.Second}
				out = append(out, windows, index)
				index = DemoPush{Name: top.Name, Build: n, Kind: demoKindIndex, Age: age, Tags: top.Tags, Children: []string{index.Name, windows.Name}}
			}
			top = index
		}
		out = append(out, top)
		if r.Signed != "" {
			out = append(out, DemoPush{Name: top.Name + "/signature", Build: n, Kind: r.Signed, Age: age - 90*time.Second, Subject: top.Name})
		}
	}
	return out
}

// Age is how long ago a build was pushed.
//
// The hour of the day keeps ages away from the whole days that retention is counted in: from now (builds are
// between 5 and 20 hours past a day's beginning) and from the newest push (which is at 5 hours, all others are at 9
// to 20).
func (r *DemoRepository) Age(build int) time.Duration {
	if build == r.Builds {
		return demoDays(r.Newest) + 5*time.Hour
	}
	back := float64(r.Builds - build)
	at := float64(r.Newest) + r.Every*(back+0.4*demoRandom(r.Name, build))
	day := int(at)
	return demoDays(day) + 9*time.Hour + time.Duration((at-float64(day))*float64(11*time.Hour)).Truncate(time.Second)
}

func demoDays(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// tags that a build gets when it is pushed.
func (r *DemoRepository) tags(build int) []string {
	var tags []string
	if r.HasTag(build) {
		tags = append(tags, r.TagOf(build))
	}
	return append(tags, r.Moving...)
}

// HasTag reports whether a build has a tag of its own.
func (r *DemoRepository) HasTag(build int) bool {
	return r.Tag != "" && (r.Tagged < 2 || build%r.Tagged == 0)
}

// TagOf is a build's own tag.
func (r *DemoRepository) TagOf(build int) string { return fmt.Sprintf(r.Tag, build) }

// Last is the newest build that is older than an age and has a tag of its own.
func (r *DemoRepository) Last(age time.Duration) int {
	for n := r.Builds; n > 0; n-- {
		if r.Age(n) > age && r.HasTag(n) {
			return n
		}
	}
	panic(fmt.Sprintf("demo: %s has no build of before %v", r.Key(), age))
}

// Image refers to a build by its tag.
func (r *DemoRepository) Image(build int) DemoImage {
	return DemoImage{Repository: r, Tag: r.TagOf(build)}
}

// demoRandom is a number in [0, 1) that is always the same for the same arguments.
func demoRandom(name string, n int) float64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(name) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	for range 4 {
		h = (h ^ uint64(n&0xff)) * 1099511628211
		n >>= 8
	}
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return float64(h>>11) / (1 << 53)
}
