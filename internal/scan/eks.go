package scan

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"demurrage/internal/image"
)

// AWS publishes no rates: https://docs.aws.amazon.com/eks/latest/APIReference/Welcome.html
var eksReads = bucket{name: "reads", rate: 10, burst: 10, adapt: true}

var eksOps = map[string]bucket{
	"ListClusters":    eksReads,
	"DescribeCluster": eksReads,
}

type eksAPI interface {
	eks.ListClustersAPIClient
	eks.DescribeClusterAPIClient
}

const (
	eksPage     = 100
	eksParallel = 4 // clusters of a target
)

type eksScan struct {
	*work
	api    eksAPI
	tokens *sts.PresignClient
	plain  bool // AWS itself is spoken to without TLS: only a simulated one is
	probe  bool // one object of each kind, to see whether it may be read; see CheckClusters
}

func scanEKS(ctx context.Context, w *work) {
	s := newEKS(w)
	each(ctx, w, eksParallel, maps.Keys(s.clusters(ctx)), func(name string) {
		if c := s.cluster(ctx, name); c != nil {
			c.report()
		}
	})
}

func newEKS(w *work) *eksScan {
	client := eks.NewFromConfig(w.cfg)
	unlimited := w.cfg.Copy()
	unlimited.APIOptions = nil // signing calls nobody, so that no operation of a bucket is drawn on
	return &eksScan{
		work: w, api: client, tokens: sts.NewPresignClient(sts.NewFromConfig(unlimited)),
		plain: strings.HasPrefix(aws.ToString(client.Options().BaseEndpoint), "http://"),
	}
}

// clusters lists the clusters' names, those included that run elsewhere and are only registered with EKS.
func (s *eksScan) clusters(ctx context.Context) map[string]bool {
	names := make(map[string]bool)
	p := eks.NewListClustersPaginator(s.api, &eks.ListClustersInput{MaxResults: aws.Int32(eksPage), Include: []string{"all"}})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListClusters", "", err)
			break
		}
		for _, name := range out.Clusters {
			names[strings.Clone(name)] = true
		}
	}
	return names
}

// eksCluster is the scan of one cluster. Its failures are collected first: a cluster that was deleted meanwhile has none.
type eksCluster struct {
	*eksScan
	name, arn string
	about     *types.Cluster
	failures  []eksFailure
	seen      map[eksUse]bool // live or not
}

type eksFailure struct {
	op  string
	err error
}

// cluster looks at a cluster; nil if it was deleted meanwhile.
func (s *eksScan) cluster(ctx context.Context, name string) *eksCluster {
	c := &eksCluster{eksScan: s, name: name, seen: make(map[eksUse]bool)}
	c.arn = "arn:" + image.PartitionOf(s.Region).ID + ":eks:" + s.Region + ":" + s.Account + ":cluster/" + name
	var err error
	if c.about, err = s.describe(ctx, name); err != nil {
		c.failed("DescribeCluster", err)
	} else {
		c.read(ctx)
	}
	if len(c.failures) == 0 {
		return c
	}
	if _, err := s.describe(ctx, name); eksGone(err) {
		return nil // deleted meanwhile, and everything in it
	}
	return c
}

func (s *eksScan) describe(ctx context.Context, name string) (*types.Cluster, error) {
	out, err := s.api.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
	if err != nil {
		return nil, err
	}
	if out.Cluster == nil {
		return nil, errors.New("the answer has no cluster")
	}
	return out.Cluster, nil
}

func eksGone(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

func (c *eksCluster) failed(op string, err error) {
	c.failures = append(c.failures, eksFailure{op, err})
}

// hinted is an error with what to do about it.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() + "; " + e.hint }
func (e *hinted) Unwrap() error { return e.err }

// report makes the cluster's failures a gap, or a note where a list of its uses from elsewhere stands in.
func (c *eksCluster) report() {
	var origin string
	covered := false
	if c.opts.Covered != nil {
		origin, covered = c.opts.Covered(c.Account, c.Region, c.name)
	}
	for _, f := range c.failures {
		if covered {
			c.note(c.arn, "it cannot be read, and the uses of "+origin+" stand in: "+f.op+": "+reason(f.err))
		} else {
			c.fail(f.op, c.arn, f.err)
		}
	}
}

// read looks at all that can start a container in the cluster. Workloads come before pods: a workload that is made
// between the two has pods by then, and a pod that says nothing new can be left out.
func (c *eksCluster) read(ctx context.Context) {
	api, err := c.kubernetes()
	if err != nil {
		c.failed("DescribeCluster", err)
		return
	}
	if api == nil {
		c.note(c.arn, "it is still being created: nothing runs in it yet")
		return
	}
	defer api.http.CloseIdleConnections()
	list := api.list
	if c.probe {
		api.limit, api.timeout, list = 1, kubeConnect, api.first
	}
	var forbidden []string
	for i := range kubeKinds {
		kind := &kubeKinds[i]
		err := list(ctx, kind.path, func(o *kubeObject) { c.object(kind, o) })
		if err == nil {
			continue
		}
		answer, answered := errors.AsType[*kubeError](err)
		switch {
		case ctx.Err() != nil:
			return // the target will not be stored
		case answered && answer.status == http.StatusForbidden:
			forbidden = append(forbidden, kind.plural())
		case answered && answer.status == http.StatusUnauthorized:
			c.failed("list "+kind.plural(), c.unauthorized(err))
			return
		case errors.Is(err, errNotSigned):
			c.failed("sign a token", err)
			return
		case answered && answer.status < http.StatusInternalServerError:
			c.failed("list "+kind.plural(), err)
		default: // there is no more to be had from it
			c.failed("list "+kind.plural(), c.unreachable(err))
			return
		}
	}
	if len(forbidden) > 0 {
		c.failed("list", c.forbidden(forbidden))
	}
}

// kubernetes gives the client of the cluster's own API; nil and no error if the cluster does not have one yet.
func (c *eksCluster) kubernetes() (*kubeClient, error) {
	endpoint := aws.ToString(c.about.Endpoint)
	switch {
	case endpoint != "":
	case c.about.ConnectorConfig != nil:
		return nil, &hinted{errors.New("the cluster is registered from elsewhere, and its Kubernetes API cannot be reached through EKS"), c.importHint()}
	case c.about.Status == types.ClusterStatusCreating:
		return nil, nil
	default:
		return nil, fmt.Errorf("the cluster is %s and has no endpoint; delete it if it is not needed, or %s", c.about.Status, c.importHint())
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && c.plain) {
		return nil, fmt.Errorf("its endpoint %q is not an https URL", endpoint)
	}
	var roots *x509.CertPool
	if u.Scheme == "https" {
		if roots, err = eksRoots(c.about.CertificateAuthority); err != nil {
			return nil, err
		}
	}
	return newKubeClient(endpoint, roots, c.token), nil
}

func eksRoots(ca *types.Certificate) (*x509.CertPool, error) {
	if ca == nil {
		ca = &types.Certificate{}
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(ca.Data))
	if err != nil {
		return nil, fmt.Errorf("its certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("its certificate authority has no certificate")
	}
	return roots, nil
}

// token is what the cluster knows the target's role by: a call of GetCallerIdentity that is signed and not sent. The
// cluster sends it, and STS tells it who signed. The name of the cluster is signed along, so that another cannot use it.
//
// https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
func (c *eksCluster) token(ctx context.Context) (string, error) {
	id := c.name
	if c.about.OutpostConfig != nil && c.about.Id != nil {
		id = *c.about.Id // a local cluster of an outpost
	}
	signed, err := c.tokens.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *sts.Options) {
			o.APIOptions = append(o.APIOptions,
				smithyhttp.SetHeaderValue("x-k8s-aws-id", id),
				smithyhttp.SetHeaderValue("X-Amz-Expires", "60"))
		})
	})
	if err != nil {
		return "", err
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(signed.URL)), nil
}

// importHint says how a list of uses is made where the cluster can be read.
func (c *eksCluster) importHint() string {
	return "import its uses from inside: demurrage uses import --covers eks:" + c.Account + "/" + c.Region + "/" + c.name + ", see docs/eks.md"
}

// role is who is to be let in.
func (c *eksCluster) role() string {
	if c.opts.OwnPrincipal != nil {
		if arn := c.opts.OwnPrincipal(c.Account); arn != "" {
			return arn
		}
	}
	return "ROLE"
}

func (c *eksCluster) unreachable(err error) error {
	if _, sent := errors.AsType[*url.Error](err); !sent {
		return fmt.Errorf("its API fails: %w", err)
	}
	why := "its endpoint does not answer"
	if vpc := c.about.ResourcesVpcConfig; vpc != nil {
		switch {
		case !vpc.EndpointPublicAccess:
			why = "its endpoint is private and cannot be reached from here"
		case len(vpc.PublicAccessCidrs) > 0 && !slices.Contains(vpc.PublicAccessCidrs, "0.0.0.0/0"):
			why = "its endpoint lets in " + strings.Join(vpc.PublicAccessCidrs, ", ") + " only"
		}
	}
	return &hinted{fmt.Errorf("%s (%w)", why, eksCause(err)), "scan from where it can be reached, or " + c.importHint()}
}

// eksCause is a network error without what differs from time to time: the page's address and our own port.
func eksCause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

func (c *eksCluster) unauthorized(err error) error {
	at := " --region " + c.Region + " --cluster-name " + c.name + " --principal-arn " + c.role()
	hint := "aws eks create-access-entry" + at + " --kubernetes-groups demurrage with deploy/eks-uses.yaml applied, or without groups and then " +
		"aws eks associate-access-policy" + at + " --access-scope type=cluster --policy-arn arn:" + image.PartitionOf(c.Region).ID + ":eks::aws:cluster-access-policy/AmazonEKSAdminViewPolicy"
	if a := c.about.AccessConfig; a != nil && a.AuthenticationMode == types.AuthenticationModeConfigMap {
		hint = "aws eks update-cluster-config --region " + c.Region + " --name " + c.name + " --access-config authenticationMode=API_AND_CONFIG_MAP, then " + hint
	}
	return &hinted{fmt.Errorf("it does not let the role in (%w)", err), hint}
}

func (c *eksCluster) forbidden(resources []string) error {
	return &hinted{fmt.Errorf("forbidden: %s", strings.Join(resources, ", ")),
		"bind the ClusterRole demurrage-uses of deploy/eks-uses.yaml to the Kubernetes group of the access entry of " + c.role()}
}

// eksUse is what makes a use of a cluster another one: many pods of a workload make one.
type eksUse struct {
	resource string
	ref      image.Ref
	unsure   bool // which digest runs
}

// record adds the use of references, unless a workload has said so already.
func (c *eksCluster) record(u image.Use, refs []image.Ref) {
	for _, ref := range refs {
		key := eksUse{u.Resource, ref, ref.Digest == "" && !u.Since.IsZero()}
		if live, ok := c.seen[key]; ok && (live || !u.Live) {
			continue
		}
		c.seen[key] = u.Live
		c.add(u, ref)
	}
}
