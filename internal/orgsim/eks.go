package orgsim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// eksState is Amazon EKS of one account in one region.
type eksState struct {
	clusters map[string]*eksCluster
}

// eksCluster is a cluster with whom it lets in and what it holds.
type eksCluster struct {
	types.Cluster // parts are replaced when they change
	entries       map[string]*eksEntry
	objects       map[string]*kubeShelf // by path: "apis/apps/v1/deployments"
}

// eksEntry is what an IAM principal may do in a cluster.
type eksEntry struct {
	types.AccessEntry
	policies map[string]types.AssociatedAccessPolicy
}

// eksService is Amazon EKS: clusters and who may use them. What runs in them is behind /_k8s/, see eks_kube.go.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_Operations.html
func eksService() *service {
	s := &service{name: "eks", protocol: restJSON, lowerCamel: true, uses: eksUses}
	onCluster := func(c *Call, name *string) []string { return []string{c.arn("eks", "cluster/"+aws.ToString(name))} }
	const cluster, entry = "/clusters/{Name}", "/clusters/{ClusterName}/access-entries/{PrincipalArn}"
	op(s, "CreateCluster", createEKSCluster, route("POST", "/clusters", 200),
		resource(func(c *Call, in *eks.CreateClusterInput) []string { return onCluster(c, in.Name) }))
	op(s, "RegisterCluster", registerEKSCluster, route("POST", "/cluster-registrations", 200),
		resource(func(c *Call, in *eks.RegisterClusterInput) []string { return onCluster(c, in.Name) }))
	op(s, "ListClusters", listEKSClusters, route("GET", "/clusters", 200, "Include", "MaxResults", "NextToken"))
	op(s, "DescribeCluster", describeEKSCluster, route("GET", cluster, 200),
		resource(func(c *Call, in *eks.DescribeClusterInput) []string { return onCluster(c, in.Name) }))
	op(s, "DeleteCluster", deleteEKSCluster, route("DELETE", cluster, 200),
		resource(func(c *Call, in *eks.DeleteClusterInput) []string { return onCluster(c, in.Name) }))
	op(s, "DeregisterCluster", deregisterEKSCluster, route("DELETE", "/cluster-registrations/{Name}", 200),
		resource(func(c *Call, in *eks.DeregisterClusterInput) []string { return onCluster(c, in.Name) }))
	op(s, "UpdateClusterConfig", updateEKSCluster, route("POST", cluster+"/update-config", 200),
		resource(func(c *Call, in *eks.UpdateClusterConfigInput) []string { return onCluster(c, in.Name) }))
	op(s, "CreateAccessEntry", createAccessEntry, route("POST", "/clusters/{ClusterName}/access-entries", 200),
		resource(func(c *Call, in *eks.CreateAccessEntryInput) []string { return onCluster(c, in.ClusterName) }))
	op(s, "ListAccessEntries", listAccessEntries, route("GET", "/clusters/{ClusterName}/access-entries", 200, "AssociatedPolicyArn", "MaxResults", "NextToken"),
		resource(func(c *Call, in *eks.ListAccessEntriesInput) []string { return onCluster(c, in.ClusterName) }))
	op(s, "DescribeAccessEntry", describeAccessEntry, route("GET", entry, 200),
		resource(func(c *Call, in *eks.DescribeAccessEntryInput) []string {
			return onEntry(c, in.ClusterName, in.PrincipalArn)
		}))
	op(s, "DeleteAccessEntry", deleteAccessEntry, route("DELETE", entry, 200),
		resource(func(c *Call, in *eks.DeleteAccessEntryInput) []string {
			return onEntry(c, in.ClusterName, in.PrincipalArn)
		}))
	op(s, "AssociateAccessPolicy", associateAccessPolicy, route("POST", entry+"/access-policies", 200),
		resource(func(c *Call, in *eks.AssociateAccessPolicyInput) []string {
			return onEntry(c, in.ClusterName, in.PrincipalArn)
		}))
	op(s, "ListAssociatedAccessPolicies", listAssociatedAccessPolicies, route("GET", entry+"/access-policies", 200, "MaxResults", "NextToken"),
		resource(func(c *Call, in *eks.ListAssociatedAccessPoliciesInput) []string {
			return onEntry(c, in.ClusterName, in.PrincipalArn)
		}))
	op(s, "DisassociateAccessPolicy", disassociateAccessPolicy, route("DELETE", entry+"/access-policies/{PolicyArn}", 200),
		resource(func(c *Call, in *eks.DisassociateAccessPolicyInput) []string {
			return onEntry(c, in.ClusterName, in.PrincipalArn)
		}))
	return s
}

var (
	eksName       = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$`)
	eksPrincipal  = regexp.MustCompile(`^arn:[a-z-]+:iam::([0-9]{12}):(role|user)/(?:.*/)?([^/]+)$`)
	eksPolicy     = regexp.MustCompile(`^arn:[a-z-]+:eks::aws:cluster-access-policy/(\w+)$`)
	eksPolicies   = []string{"AmazonEKSAdminPolicy", "AmazonEKSAdminViewPolicy", "AmazonEKSClusterAdminPolicy", "AmazonEKSEditPolicy", "AmazonEKSViewPolicy"}
	reservedGroup = regexp.MustCompile(`^(system|eks|aws|amazon|iam):`)
)

// eksAuthority is the certificate authority of every cluster. Nothing here speaks TLS, so that it is for show.
const eksAuthority = `-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUA0TGlOQHH2+jmH/g6RC6UGviY2kwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjEwMzMxMTVaGA8yMTI2MTAy
ODAzMzExNVowFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABF7BO7h7jrdKfJTFL34twTcqBz9qFkG1Pq/IVKNH6Q56AQjgkUwL
s2lEbF2yTMrjvGlYr46x2bUcWtqC7utTntCjUzBRMB0GA1UdDgQWBBSsYTJKeXNe
VhyXVl/N2aVqg2+O+DAfBgNVHSMEGDAWgBSsYTJKeXNeVhyXVl/N2aVqg2+O+DAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCzrtDHCM3rCCFUbsvr
i1QQAE3BcDWqLlCiN3Dpfr8rUAIgMgwd6q4Gk9jJtXtM16srn4xP2UqbvQlplDBo
sGDDDiM=
-----END CERTIFICATE-----
`

func eksNotFound(format string, args ...any) error {
	return &apiError{Code: "ResourceNotFoundException", Message: fmt.Sprintf(format, args...), Status: http.StatusNotFound}
}

func eksInUse(format string, args ...any) error {
	return &apiError{Code: "ResourceInUseException", Message: fmt.Sprintf(format, args...), Status: http.StatusConflict}
}

func (c *Call) eksCluster(name *string) (*eksCluster, error) {
	if cl := c.home().eks.clusters[aws.ToString(name)]; cl != nil {
		return cl, nil
	}
	return nil, eksNotFound("No cluster found for name: %s.", aws.ToString(name))
}

// describe is the cluster as an answer, with an endpoint that leads back to this server if it is public.
func (cl *eksCluster) describe(c *Call) *types.Cluster {
	out := cl.Cluster
	if out.ConnectorConfig != nil || out.Status != types.ClusterStatusActive {
		return &out
	}
	if out.ResourcesVpcConfig.EndpointPublicAccess {
		out.Endpoint = new("http://" + c.host + kubePrefix + c.Account + "/" + c.Region + "/" + *out.Name)
	} else {
		sum := sha256.Sum256([]byte(*out.Arn))
		out.Endpoint = new("https://" + strings.ToUpper(hex.EncodeToString(sum[:16])) + ".gr7." + c.Region + ".eks.invalid")
	}
	out.CertificateAuthority = &types.Certificate{Data: new(base64.StdEncoding.EncodeToString([]byte(eksAuthority)))}
	return &out
}

func (c *Call) addEKSCluster(cluster types.Cluster) (*eksCluster, error) {
	name := aws.ToString(cluster.Name)
	state := &c.home().eks
	switch {
	case !eksName.MatchString(name):
		return nil, errorf("InvalidParameterException", "The cluster name %q is not valid", name)
	case state.clusters[name] != nil:
		return nil, eksInUse("Cluster already exists with name: %s", name)
	}
	cluster.Arn, cluster.CreatedAt = new(c.arn("eks", "cluster/"+name)), new(c.Now)
	cl := &eksCluster{Cluster: cluster, entries: make(map[string]*eksEntry), objects: make(map[string]*kubeShelf)}
	if state.clusters == nil {
		state.clusters = make(map[string]*eksCluster)
	}
	state.clusters[name] = cl
	return cl, nil
}

func createEKSCluster(c *Call, in *eks.CreateClusterInput) (*eks.CreateClusterOutput, error) {
	vpc := valueOf(in.ResourcesVpcConfig)
	access := valueOf(in.AccessConfig)
	config := &types.VpcConfigResponse{
		SubnetIds: vpc.SubnetIds, SecurityGroupIds: vpc.SecurityGroupIds, VpcId: new("vpc-00000000000000001"),
		EndpointPublicAccess: true, PublicAccessCidrs: []string{"0.0.0.0/0"},
	}
	if len(vpc.SubnetIds) < 2 {
		return nil, errorf("InvalidParameterException", "Subnets specified must be in at least two different AZs")
	}
	if err := setEndpointAccess(config, &vpc); err != nil {
		return nil, err
	}
	mode := cmp.Or(access.AuthenticationMode, types.AuthenticationModeConfigMap)
	bootstrap := access.BootstrapClusterCreatorAdminPermissions == nil || *access.BootstrapClusterCreatorAdminPermissions
	cl, err := c.addEKSCluster(types.Cluster{
		Name: in.Name, RoleArn: in.RoleArn, Version: cmp.Or(in.Version, new("1.36")), Tags: in.Tags,
		ResourcesVpcConfig: config, Status: types.ClusterStatusActive,
		AccessConfig: &types.AccessConfigResponse{AuthenticationMode: mode, BootstrapClusterCreatorAdminPermissions: &bootstrap},
	})
	if err != nil {
		return nil, err
	}
	if bootstrap {
		e := cl.entry(c, cmp.Or(c.Caller.RoleARN, c.Caller.ARN))
		e.associate(c, eksPolicyARN(c, "AmazonEKSClusterAdminPolicy"), &types.AccessScope{Type: types.AccessScopeTypeCluster})
	}
	answer := cl.Cluster
	answer.Status = types.ClusterStatusCreating
	return &eks.CreateClusterOutput{Cluster: &answer}, nil
}

// setEndpointAccess changes what a request says about a cluster's endpoint.
func setEndpointAccess(config *types.VpcConfigResponse, vpc *types.VpcConfigRequest) error {
	if vpc.EndpointPublicAccess != nil {
		config.EndpointPublicAccess = *vpc.EndpointPublicAccess
	}
	if vpc.EndpointPrivateAccess != nil {
		config.EndpointPrivateAccess = *vpc.EndpointPrivateAccess
	}
	if vpc.PublicAccessCidrs != nil {
		config.PublicAccessCidrs = vpc.PublicAccessCidrs
	}
	if !config.EndpointPublicAccess && !config.EndpointPrivateAccess {
		return errorf("InvalidParameterException", "Private and public endpoint access cannot be false")
	}
	return nil
}

func registerEKSCluster(c *Call, in *eks.RegisterClusterInput) (*eks.RegisterClusterOutput, error) {
	connector := valueOf(in.ConnectorConfig)
	cl, err := c.addEKSCluster(types.Cluster{
		Name: in.Name, Tags: in.Tags, Status: types.ClusterStatusPending,
		ConnectorConfig: &types.ConnectorConfigResponse{
			ActivationId: new("00000000-0000-4000-8000-000000000001"), ActivationCode: new("simulated"), ActivationExpiry: new(c.Now.Add(72 * time.Hour)),
			Provider: new(string(connector.Provider)), RoleArn: connector.RoleArn,
		},
	})
	if err != nil {
		return nil, err
	}
	return &eks.RegisterClusterOutput{Cluster: cl.describe(c)}, nil
}

func listEKSClusters(c *Call, in *eks.ListClustersInput) (*eks.ListClustersOutput, error) {
	all := slices.Contains(in.Include, "all")
	if len(in.Include) > 0 && !all {
		return nil, errorf("InvalidParameterException", "Unsupported value for include: %s", in.Include[0])
	}
	var names []string
	for name, cl := range c.home().eks.clusters {
		if all || cl.ConnectorConfig == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names, next, err := page(names, in.MaxResults, 100, 100, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListClustersOutput{Clusters: names, NextToken: next}, nil
}

func describeEKSCluster(c *Call, in *eks.DescribeClusterInput) (*eks.DescribeClusterOutput, error) {
	cl, err := c.eksCluster(in.Name)
	if err != nil {
		return nil, err
	}
	return &eks.DescribeClusterOutput{Cluster: cl.describe(c)}, nil
}

func deleteEKSCluster(c *Call, in *eks.DeleteClusterInput) (*eks.DeleteClusterOutput, error) {
	cl, err := c.removeEKSCluster(in.Name, false)
	return &eks.DeleteClusterOutput{Cluster: cl}, err
}

func deregisterEKSCluster(c *Call, in *eks.DeregisterClusterInput) (*eks.DeregisterClusterOutput, error) {
	cl, err := c.removeEKSCluster(in.Name, true)
	return &eks.DeregisterClusterOutput{Cluster: cl}, err
}

func (c *Call) removeEKSCluster(name *string, registered bool) (*types.Cluster, error) {
	cl, err := c.eksCluster(name)
	if err != nil {
		return nil, err
	}
	if registered != (cl.ConnectorConfig != nil) {
		return nil, errorf("InvalidRequestException", "The operation does not apply to clusters of this kind: %s", *name)
	}
	delete(c.home().eks.clusters, *name)
	out := cl.Cluster
	out.Status = types.ClusterStatusDeleting
	return &out, nil
}

// updateEKSCluster changes one thing at a time, at once.
func updateEKSCluster(c *Call, in *eks.UpdateClusterConfigInput) (*eks.UpdateClusterConfigOutput, error) {
	cl, err := c.eksCluster(in.Name)
	if err != nil {
		return nil, err
	}
	update := &types.Update{Id: new("00000000-0000-4000-8000-000000000002"), CreatedAt: new(c.Now), Status: types.UpdateStatusInProgress}
	switch {
	case cl.ConnectorConfig != nil || (in.ResourcesVpcConfig == nil) == (in.AccessConfig == nil):
		return nil, errorf("InvalidParameterException", "Exactly one of resourcesVpcConfig and accessConfig can be updated at a time")
	case in.ResourcesVpcConfig != nil:
		config := *cl.ResourcesVpcConfig
		if err := setEndpointAccess(&config, in.ResourcesVpcConfig); err != nil {
			return nil, err
		}
		if config.EndpointPublicAccess == cl.ResourcesVpcConfig.EndpointPublicAccess && config.EndpointPrivateAccess == cl.ResourcesVpcConfig.EndpointPrivateAccess &&
			slices.Equal(config.PublicAccessCidrs, cl.ResourcesVpcConfig.PublicAccessCidrs) {
			return nil, errorf("InvalidParameterException", "Cluster is already at the desired configuration")
		}
		cl.ResourcesVpcConfig, update.Type = &config, types.UpdateTypeEndpointAccessUpdate
	default:
		rank := []types.AuthenticationMode{types.AuthenticationModeConfigMap, types.AuthenticationModeApiAndConfigMap, types.AuthenticationModeApi}
		from, to := slices.Index(rank, cl.AccessConfig.AuthenticationMode), slices.Index(rank, in.AccessConfig.AuthenticationMode)
		if to <= from {
			return nil, errorf("InvalidParameterException", "Unsupported authentication mode update from %s to %s", cl.AccessConfig.AuthenticationMode, in.AccessConfig.AuthenticationMode)
		}
		access := *cl.AccessConfig
		access.AuthenticationMode = in.AccessConfig.AuthenticationMode
		cl.AccessConfig, update.Type = &access, types.UpdateTypeAccessConfigUpdate
	}
	return &eks.UpdateClusterConfigOutput{Update: update}, nil
}

// accessible finds a cluster that has access entries: the authentication mode decides.
func (c *Call) accessible(name *string) (*eksCluster, error) {
	cl, err := c.eksCluster(name)
	if err == nil && (cl.AccessConfig == nil || cl.AccessConfig.AuthenticationMode == types.AuthenticationModeConfigMap) {
		return nil, errorf("InvalidRequestException", "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")
	}
	return cl, err
}

func (c *Call) accessEntry(cluster, principal *string) (*eksCluster, *eksEntry, error) {
	cl, err := c.accessible(cluster)
	if err != nil {
		return nil, nil, err
	}
	if e := cl.entries[aws.ToString(principal)]; e != nil {
		return cl, e, nil
	}
	return nil, nil, eksNotFound("The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.")
}

// onEntry tells IAM which access entry a request names.
func onEntry(c *Call, cluster, principal *string) []string {
	if cl := c.home().eks.clusters[aws.ToString(cluster)]; cl != nil {
		if e := cl.entries[aws.ToString(principal)]; e != nil {
			return []string{*e.AccessEntryArn}
		}
	}
	return []string{c.arn("eks", "access-entry/"+aws.ToString(cluster)+"/none")}
}

// entry makes an access entry.
func (cl *eksCluster) entry(c *Call, principal string) *eksEntry {
	sum := sha256.Sum256([]byte(*cl.Arn + principal))
	resource := strings.SplitN(principal, ":", 6)[5] // "role/path/name", "root"
	kind, name := resource, resource[strings.LastIndexByte(resource, '/')+1:]
	kind, _, _ = strings.Cut(kind, "/")
	account := strings.Split(principal, ":")[4]
	username := principal
	if kind == "role" {
		username = "arn:" + c.Partition + ":sts::" + account + ":assumed-role/" + name + "/{{SessionName}}"
	}
	e := &eksEntry{
		AccessEntry: types.AccessEntry{
			AccessEntryArn: new(c.arn("eks", "access-entry/"+*cl.Name+"/"+kind+"/"+account+"/"+name+"/"+hex.EncodeToString(sum[:16]))),
			ClusterName:    cl.Name, PrincipalArn: &principal, Type: new("STANDARD"), Username: &username,
			KubernetesGroups: []string{}, CreatedAt: new(c.Now), ModifiedAt: new(c.Now),
		},
		policies: make(map[string]types.AssociatedAccessPolicy),
	}
	cl.entries[principal] = e
	return e
}

func createAccessEntry(c *Call, in *eks.CreateAccessEntryInput) (*eks.CreateAccessEntryOutput, error) {
	cl, err := c.accessible(in.ClusterName)
	if err != nil {
		return nil, err
	}
	principal := aws.ToString(in.PrincipalArn)
	m := eksPrincipal.FindStringSubmatch(principal)
	if m == nil {
		return nil, errorf("InvalidParameterException", "The specified principalArn is invalid: invalid principal.")
	}
	if m[2] == "role" {
		a := c.Server.accounts[m[1]]
		if a == nil || a.iam.roles[m[3]] == nil || a.iam.roles[m[3]].arn(c.Partition, m[1]) != principal {
			return nil, errorf("InvalidParameterException", "The specified principalArn is invalid: invalid principal.")
		}
	}
	for _, group := range in.KubernetesGroups {
		if reservedGroup.MatchString(group) {
			return nil, errorf("InvalidParameterException", "The kubernetes group name %s is invalid, it cannot start with system:, eks:, aws:, amazon:, or iam:", group)
		}
	}
	if cl.entries[principal] != nil {
		return nil, eksInUse("The specified access entry resource is already in use on this cluster.")
	}
	e := cl.entry(c, principal)
	e.KubernetesGroups = append(e.KubernetesGroups, in.KubernetesGroups...)
	e.Tags = in.Tags
	return &eks.CreateAccessEntryOutput{AccessEntry: new(e.AccessEntry)}, nil
}

func listAccessEntries(c *Call, in *eks.ListAccessEntriesInput) (*eks.ListAccessEntriesOutput, error) {
	cl, err := c.accessible(in.ClusterName)
	if err != nil {
		return nil, err
	}
	var principals []string
	for principal, e := range cl.entries {
		if _, ok := e.policies[aws.ToString(in.AssociatedPolicyArn)]; ok || in.AssociatedPolicyArn == nil {
			principals = append(principals, principal)
		}
	}
	slices.Sort(principals)
	principals, next, err := page(principals, in.MaxResults, 100, 100, in.NextToken)
	return &eks.ListAccessEntriesOutput{AccessEntries: principals, NextToken: next}, err
}

func describeAccessEntry(c *Call, in *eks.DescribeAccessEntryInput) (*eks.DescribeAccessEntryOutput, error) {
	_, e, err := c.accessEntry(in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	return &eks.DescribeAccessEntryOutput{AccessEntry: new(e.AccessEntry)}, nil
}

func deleteAccessEntry(c *Call, in *eks.DeleteAccessEntryInput) (*eks.DeleteAccessEntryOutput, error) {
	cl, _, err := c.accessEntry(in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	delete(cl.entries, *in.PrincipalArn)
	return &eks.DeleteAccessEntryOutput{}, nil
}

func eksPolicyARN(c *Call, name string) string {
	return "arn:" + c.Partition + ":eks::aws:cluster-access-policy/" + name
}

func (e *eksEntry) associate(c *Call, policy string, scope *types.AccessScope) types.AssociatedAccessPolicy {
	p := types.AssociatedAccessPolicy{PolicyArn: &policy, AccessScope: scope, AssociatedAt: new(c.Now), ModifiedAt: new(c.Now)}
	e.policies[policy] = p
	return p
}

func associateAccessPolicy(c *Call, in *eks.AssociateAccessPolicyInput) (*eks.AssociateAccessPolicyOutput, error) {
	_, e, err := c.accessEntry(in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	m := eksPolicy.FindStringSubmatch(aws.ToString(in.PolicyArn))
	if m == nil || !slices.Contains(eksPolicies, m[1]) {
		return nil, errorf("InvalidParameterException", "The policyArn parameter format is not valid")
	}
	scope := valueOf(in.AccessScope)
	if scope.Type == types.AccessScopeTypeNamespace && len(scope.Namespaces) == 0 || scope.Type != types.AccessScopeTypeNamespace && scope.Type != types.AccessScopeTypeCluster {
		return nil, errorf("InvalidParameterException", "The access scope is not valid")
	}
	p := e.associate(c, *in.PolicyArn, &scope)
	return &eks.AssociateAccessPolicyOutput{AssociatedAccessPolicy: &p, ClusterName: in.ClusterName, PrincipalArn: in.PrincipalArn}, nil
}

func listAssociatedAccessPolicies(c *Call, in *eks.ListAssociatedAccessPoliciesInput) (*eks.ListAssociatedAccessPoliciesOutput, error) {
	_, e, err := c.accessEntry(in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	var list []types.AssociatedAccessPolicy
	for _, arn := range slices.Sorted(maps.Keys(e.policies)) {
		list = append(list, e.policies[arn])
	}
	list, next, err := page(list, in.MaxResults, 100, 100, in.NextToken)
	return &eks.ListAssociatedAccessPoliciesOutput{
		AssociatedAccessPolicies: list, ClusterName: in.ClusterName, PrincipalArn: in.PrincipalArn, NextToken: next,
	}, err
}

func disassociateAccessPolicy(c *Call, in *eks.DisassociateAccessPolicyInput) (*eks.DisassociateAccessPolicyOutput, error) {
	_, e, err := c.accessEntry(in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	if _, ok := e.policies[*in.PolicyArn]; !ok {
		return nil, eksNotFound("The specified policyArn is not associated with the access entry")
	}
	delete(e.policies, *in.PolicyArn)
	return &eks.DisassociateAccessPolicyOutput{}, nil
}
