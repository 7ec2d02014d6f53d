package orgsim

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// imageRef is a reference to an image of a private registry, as task definitions and functions write it.
type imageRef struct {
	account, region, repository string
	tag, digest                 string // at least one
}

var (
	imageRefHost = regexp.MustCompile(`^(\d{12})\.dkr(\.|-)ecr(?:-fips)?\.([a-z0-9-]+)\.([a-z.]+)/(.+)$`)
	imageRefPath = regexp.MustCompile(`^([^:@]+)(?::([^:@]+))?(?:@(sha256:[0-9a-f]{64}))?$`)
)

// parseImageRef reads the four forms of registry hosts, in the suffix of the region's partition; ecr is false for
// other registries' images.
//
// https://docs.aws.amazon.com/general/latest/gr/ecr.html
func parseImageRef(s string) (ref imageRef, ecr bool) {
	host := imageRefHost.FindStringSubmatch(s)
	if host == nil {
		return imageRef{}, false
	}
	suffix := dnsSuffixOf(partitionOf(host[3]))
	if host[2] == "-" { // dual-stack endpoints
		suffix = "on.aws"
		if partitionOf(host[3]) == "aws-cn" {
			suffix = "on.amazonwebservices.com.cn"
		}
	}
	path := imageRefPath.FindStringSubmatch(host[5])
	if host[4] != suffix || path == nil {
		return imageRef{}, false
	}
	ref = imageRef{account: host[1], region: host[3], repository: path[1], tag: path[2], digest: path[3]}
	if ref.tag == "" && ref.digest == "" {
		ref.tag = "latest"
	}
	return ref, true
}

// locate finds the image that a reference names; either is nil if it is not there. With a digest, the tag does
// not count.
func (s *Server) locate(ref imageRef) (*ecrRepository, *ecrImage) {
	r := s.ecrRepository(ref.account, ref.region, ref.repository)
	if r == nil {
		return nil, nil
	}
	if ref.digest != "" {
		d, _ := parseDigest(ref.digest)
		return r, r.byDigest[d]
	}
	return r, r.byTag[ref.tag]
}

// pullPolicy is the policy that guards a pull of an image; nil if its account does not exist.
func (s *Server) pullPolicy(ref imageRef) *policyDoc {
	reg := s.regionOf(ref.account, ref.region)
	if reg == nil {
		return nil
	}
	return reg.ecr.policyOf(reg.ecr.repositories[ref.repository])
}

// mayPull asks the policies of a repository (which need not exist) whether they let a principal pull from it. In
// the repository's own account only a deny counts, since the principal's policies are taken to allow it.
func (c *Call) mayPull(ref imageRef, p principal) bool {
	asked := *c
	asked.Caller, asked.Region = p, ref.region
	e := asked.newEvaluation("ecr:BatchGetImage", ecrARN(ref.region, ref.account, ref.repository), ref.account)
	v := e.evaluate(c.Server.pullPolicy(ref))
	return v != denies && (v != silent || p.Account == ref.account)
}

// serviceMayPull asks the same for an AWS service that acts for a resource of the calling account.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html
func (c *Call) serviceMayPull(ref imageRef, service, sourceARN string) bool {
	everyone := &principalSet{AWS: stringList{"*"}}
	about := new(policyDoc) // the statements about the service
	if p := c.Server.pullPolicy(ref); p != nil {
		for _, st := range p.Statements {
			if st.Principal != nil && (slices.Contains(st.Principal.Service, service) || slices.Contains(st.Principal.AWS, "*")) {
				st.Principal = everyone
				about.Statements = append(about.Statements, st)
			}
		}
	}
	e := c.newEvaluation("ecr:BatchGetImage", ecrARN(ref.region, ref.account, ref.repository), ref.account)
	maps.DeleteFunc(e.context, func(key string, _ []string) bool { return strings.HasPrefix(key, "aws:principal") })
	e.context["aws:principalisawsservice"] = []string{"true"}
	e.context["aws:principalservicename"] = []string{service}
	e.context["aws:sourceaccount"] = []string{c.Account}
	e.context["aws:sourcearn"] = []string{sourceARN}
	v := e.evaluate(about)
	return v != denies && (v != silent || ref.account == c.Account)
}

// resolveImage resolves a reference as a task of the calling account would, run with an execution role or with
// none. Both results are nil for an image that is not in a private registry.
func (c *Call) resolveImage(image, executionRole string) (*ecrRepository, *ecrImage, error) {
	ref, ok := parseImageRef(image)
	if !ok {
		return nil, nil, nil
	}
	puller := rootOf(c.Account, c.Partition)
	if executionRole != "" {
		puller = principal{Account: c.Account, ARN: executionRole, RoleARN: executionRole}
	}
	if !c.mayPull(ref, puller) {
		return nil, nil, fmt.Errorf("pull access denied for %s, repository does not exist or may require authorization: server message: denied: no resource-based policy allows the ecr:BatchGetImage action", image)
	}
	r, im := c.Server.locate(ref)
	switch {
	case r == nil:
		return nil, nil, fmt.Errorf("the repository with name '%s' does not exist in the registry with id '%s'", ref.repository, ref.account)
	case im == nil:
		return nil, nil, fmt.Errorf("failed to resolve reference %q: not found", image)
	case im.status(c.Now) != types.ImageStatusActive:
		return nil, nil, fmt.Errorf("failed to resolve reference %q: the image is archived", image)
	}
	return r, im, nil
}

// markPulled moves the pull time of an image that a container runtime pulled; of an index also that of the child
// for the architecture, at every level.
func (r *ecrRepository) markPulled(im *ecrImage, arch string, now time.Time) {
	im.pulled = now.UnixNano()
	if len(im.children()) == 0 {
		return
	}
	m, err := parseManifest(im.manifest.bytes(), im.media.Value())
	if err != nil {
		return
	}
	if d, ok := m.platformChild(arch); ok {
		if child := r.byDigest[d]; child != nil {
			r.markPulled(child, arch, now)
		}
	}
}
