package orgsim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
)

// demoBegin is before everything that happened in the demo's repositories.
const demoBegin = 1200 * 24 * time.Hour

// demoSeeder turns a description into events and makes them happen in their order.
type demoSeeder struct {
	*Server
	d         *Description
	now       time.Time
	events    []demoEvent
	manifests map[*DemoRepository]map[string]*demoManifest // by the name of the push
	clusters  map[string]bool
}

type demoEvent struct {
	age time.Duration
	do  func() error
}

func (s *Server) seed(d *Description, now time.Time) error {
	m := &demoSeeder{
		Server: s, d: d, now: now,
		manifests: make(map[*DemoRepository]map[string]*demoManifest), clusters: make(map[string]bool),
	}
	m.SetClock(now.Add(-demoBegin))
	if err := m.organize(); err != nil {
		return err
	}
	for _, r := range d.Repositories {
		m.repository(r)
	}
	for _, f := range d.Families {
		m.family(f)
	}
	for _, v := range d.Services {
		m.service(v)
	}
	for i := range d.Tasks {
		m.task(&d.Tasks[i])
	}
	for _, f := range d.Functions {
		m.function(f)
	}
	slices.SortStableFunc(m.events, func(a, b demoEvent) int { return cmp.Compare(b.age, a.age) })
	for _, e := range m.events {
		m.SetClock(now.Add(-e.age))
		if err := e.do(); err != nil {
			return fmt.Errorf("seed, %v ago: %w", e.age, err)
		}
	}
	m.SetClock(now)
	for i := range d.Others {
		if err := m.other(&d.Others[i]); err != nil {
			return err
		}
	}
	for _, a := range d.Accounts { // after their life
		if a.Closed {
			if err := s.do(ManagementAccount, "us-east-1", "organizations", "CloseAccount", &organizations.CloseAccountInput{AccountId: &a.ID}); err != nil {
				return err
			}
		}
	}
	return nil
}

// at plans something. Events of the same time happen in the order they were planned in.
func (m *demoSeeder) at(age time.Duration, f func() error) {
	m.events = append(m.events, demoEvent{age, f})
}

// do is invoke for operations whose answer does not matter; in is the operation's input.
func (s *Server) do(account, region, service, op string, in any) error {
	c := &Call{
		Server: s, Account: account, Region: region, Partition: partitionOf(region),
		Caller: rootOf(account, partitionOf(region)), Now: s.now(),
	}
	if _, err := s.services[service].ops[op].call(c, in); err != nil {
		return fmt.Errorf("%s %s in %s/%s: %w", service, op, account, region, err)
	}
	return nil
}

// organize makes units, accounts, the delegated administrator and the roles.
func (m *demoSeeder) organize() error {
	m.LimitRegions(DemoRegions...)
	units := map[string]string{"": rootID}
	for _, u := range m.d.Units {
		out, err := invoke[organizations.CreateOrganizationalUnitInput, organizations.CreateOrganizationalUnitOutput](m.Server,
			ManagementAccount, "us-east-1", "organizations", "CreateOrganizationalUnit",
			&organizations.CreateOrganizationalUnitInput{Name: &u.Name, ParentId: aws.String(units[u.Parent])})
		if err != nil {
			return err
		}
		units[strings.TrimPrefix(u.Parent+"/"+u.Name, "/")] = *out.OrganizationalUnit.Id
	}
	for _, a := range m.d.Accounts {
		m.AddAccount(a.ID, a.Name)
		if a.Unit != "" {
			err := m.do(ManagementAccount, "us-east-1", "organizations", "MoveAccount", &organizations.MoveAccountInput{
				AccountId: &a.ID, SourceParentId: aws.String(rootID), DestinationParentId: aws.String(units[a.Unit]),
			})
			if err != nil {
				return err
			}
		}
		externalID := m.d.ExternalID
		if a.Refuses {
			externalID += "-of-another-company"
		}
		if err := m.seedRole(a.ID, "DemurrageRead", m.d.Hub, externalID, seedReads, nil); err != nil {
			return err
		}
		if err := m.exclude(a); err != nil {
			return err
		}
		if err := m.seedRole(a.ID, "DemurrageSweep", m.d.Hub, externalID, seedSweeps, seedDenied); err != nil {
			return err
		}
	}
	// The management account pays, and lets the hub see what.
	if err := m.seedRole(ManagementAccount, "DemurrageBilling", m.d.Hub, m.d.ExternalID, []string{"ce:GetCostAndUsage"}, nil); err != nil {
		return err
	}
	return m.do(ManagementAccount, "us-east-1", "organizations", "RegisterDelegatedAdministrator", &organizations.RegisterDelegatedAdministratorInput{
		AccountId: &m.d.Hub, ServicePrincipal: aws.String("account.amazonaws.com"),
	})
}

// exclude registers the read role as a pull-time exclusion in every region, so that a scan may read every manifest.
func (m *demoSeeder) exclude(a DemoAccount) error {
	if a.Pulls {
		return nil
	}
	for _, region := range DemoRegions {
		err := m.do(a.ID, region, "ecr", "RegisterPullTimeUpdateExclusion", &ecr.RegisterPullTimeUpdateExclusionInput{
			PrincipalArn: aws.String("arn:aws:iam::" + a.ID + ":role/DemurrageRead"),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// The permissions of the member roles: every read of every source, and what a sweep needs.
var (
	seedECRReads = []string{
		"ecr:DescribeRepositories", "ecr:DescribeImages", "ecr:ListImages", "ecr:BatchGetImage", "ecr:GetLifecyclePolicy",
		"ecr:StartLifecyclePolicyPreview", "ecr:GetLifecyclePolicyPreview", "ecr:GetRepositoryPolicy", "ecr:GetRegistryPolicy",
		"ecr:DescribeRegistry", "ecr:DescribePullThroughCacheRules", "ecr:ListTagsForResource", "ecr:GetAccountSetting",
		"ecr:ListPullTimeUpdateExclusions",
	}
	seedReads = slices.Concat(seedECRReads, []string{
		"account:ListRegions", "ec2:DescribeRegions",
		"ecs:List*", "ecs:Describe*",
		"lambda:ListFunctions", "lambda:ListAliases", "lambda:GetFunction", "lambda:ListVersionsByFunction", "lambda:ListEventSourceMappings",
		"iam:ListRoles", "inspector2:BatchGetAccountStatus", "inspector2:ListCoverage",
		"eks:ListClusters", "eks:DescribeCluster",
		"batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "batch:DescribeJobs", "batch:ListJobs",
		"events:ListEventBuses", "events:ListRules", "events:ListTargetsByRule",
		"scheduler:ListSchedules", "scheduler:GetSchedule",
		"states:ListStateMachines", "states:DescribeStateMachine", "states:ListStateMachineVersions", "states:ListStateMachineAliases",
		"codebuild:ListProjects", "codebuild:BatchGetProjects",
		"sagemaker:List*", "sagemaker:Describe*", "apprunner:ListServices", "apprunner:DescribeService",
		"bedrock-agentcore:List*", "bedrock-agentcore:Get*", "emr-serverless:ListApplications", "emr-serverless:GetApplication",
		"gamelift:List*", "gamelift:Describe*",
		"omics:ListWorkflows", "omics:GetWorkflow", "omics:ListRuns", "omics:GetRun",
		"imagebuilder:ListContainerRecipes", "imagebuilder:GetContainerRecipe",
	})
	seedSweeps = slices.Concat(seedECRReads, []string{"ecr:BatchDeleteImage"})
	seedDenied = []string{"ecr:DeleteRepository", "ecr:PutLifecyclePolicy", "ecr:SetRepositoryPolicy"}
)

type seedPolicy struct {
	Version   string
	Statement []seedStatement
}

type seedStatement struct {
	Effect    string
	Principal map[string]string            `json:",omitempty"`
	Action    []string                     `json:",omitempty"`
	Resource  string                       `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func policyText(statements ...seedStatement) *string {
	b, err := json.Marshal(seedPolicy{"2012-10-17", statements})
	if err != nil {
		panic(err) // strings, all of them
	}
	return aws.String(string(b))
}

// seedRole makes a role that one other account of the organization may assume, with an external id if one is given.
func (s *Server) seedRole(account, name, trusted, externalID string, allowed, denied []string) error {
	condition := map[string]string{"aws:PrincipalOrgID": organizationID}
	if externalID != "" {
		condition["sts:ExternalId"] = externalID
	}
	err := s.do(account, "us-east-1", "iam", "CreateRole", &iam.CreateRoleInput{
		RoleName: &name, MaxSessionDuration: aws.Int32(3600),
		AssumeRolePolicyDocument: policyText(seedStatement{
			Effect: "Allow", Principal: map[string]string{"AWS": "arn:aws:iam::" + trusted + ":root"}, Action: []string{"sts:AssumeRole"},
			Condition: map[string]map[string]string{"StringEquals": condition},
		}),
	})
	if err != nil {
		return err
	}
	statements := []seedStatement{{Effect: "Allow", Action: allowed, Resource: "*"}}
	if denied != nil {
		statements = append(statements, seedStatement{Effect: "Deny", Action: denied, Resource: "*"})
	}
	return s.do(account, "us-east-1", "iam", "PutRolePolicy", &iam.PutRolePolicyInput{
		RoleName: &name, PolicyName: &name, PolicyDocument: policyText(statements...),
	})
}

// repository plans a repository and all that ever happened in it.
func (m *demoSeeder) repository(r *DemoRepository) {
	m.at(demoBegin, func() error {
		err := m.do(r.Account, r.Region, "ecr", "CreateRepository", &ecr.CreateRepositoryInput{
			RepositoryName: &r.Name,
			Tags: []ecrtypes.Tag{
				{Key: aws.String("cost-center"), Value: &r.CostCenter},
				{Key: aws.String("owner"), Value: &r.Owner},
			},
		})
		if err == nil && r.Shared {
			err = m.do(r.Account, r.Region, "ecr", "SetRepositoryPolicy", &ecr.SetRepositoryPolicyInput{
				RepositoryName: &r.Name,
				PolicyText: policyText(seedStatement{
					Effect: "Allow", Principal: map[string]string{"AWS": "*"},
					Action:    []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"},
					Condition: map[string]map[string]string{"StringEquals": {"aws:PrincipalOrgID": organizationID}},
				}),
			})
		}
		if err == nil && r.Lifecycle != "" {
			err = m.do(r.Account, r.Region, "ecr", "PutLifecyclePolicy", &ecr.PutLifecyclePolicyInput{
				RepositoryName: &r.Name, LifecyclePolicyText: &r.Lifecycle,
			})
		}
		return err
	})
	pushes := r.Pushes()
	made := make(map[string]*demoManifest, len(pushes))
	m.manifests[r] = made
	for i := range pushes {
		p := &pushes[i]
		made[p.Name] = r.manifest(p, made)
		tags := p.Tags
		if p.Kind == demoCosign {
			tags = []string{strings.Replace(made[p.Subject].digest, ":", "-", 1) + ".sig"}
		}
		m.at(p.Age, func() error { return m.push(r, made[p.Name], tags...) })
	}
	for _, x := range r.Extra {
		m.at(x.Age, func() error { return m.push(r, made[fmt.Sprint(x.Build)], x.Tag) })
	}
	for _, x := range r.Pulls {
		m.at(x.Age, func() error {
			return m.do(r.Account, r.Region, "ecr", "BatchGetImage", &ecr.BatchGetImageInput{
				RepositoryName: &r.Name, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &made[fmt.Sprint(x.Build)].digest}},
			})
		})
	}
	for n := 1; n <= r.Archived; n++ {
		m.at(min(demoDays(100)+12*time.Hour, r.Age(n)-time.Hour), func() error {
			return m.do(r.Account, r.Region, "ecr", "UpdateImageStorageClass", &ecr.UpdateImageStorageClassInput{
				RepositoryName: &r.Name, ImageId: &ecrtypes.ImageIdentifier{ImageDigest: &made[fmt.Sprint(n)].digest},
				TargetStorageClass: ecrtypes.TargetStorageClassArchive,
			})
		})
	}
	for _, x := range r.Deleted {
		m.at(x.Age, func() error { return m.delete(r, pushes, x.Build) })
	}
}

// push puts a manifest with its tags, one after the other.
func (m *demoSeeder) push(r *DemoRepository, what *demoManifest, tags ...string) error {
	put := func(tag *string) error {
		return m.do(r.Account, r.Region, "ecr", "PutImage", &ecr.PutImageInput{
			RepositoryName: &r.Name, ImageManifest: &what.text, ImageManifestMediaType: &what.media, ImageTag: tag,
		})
	}
	if len(tags) == 0 {
		return put(nil)
	}
	for _, tag := range tags {
		if err := put(&tag); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes a build, from the top down: what is an index has to go in a call before its children.
func (m *demoSeeder) delete(r *DemoRepository, pushes []DemoPush, build int) error {
	for _, p := range slices.Backward(pushes) {
		if p.Build != build || p.Subject != "" {
			continue
		}
		out, err := invoke[ecr.BatchDeleteImageInput, ecr.BatchDeleteImageOutput](m.Server, r.Account, r.Region, "ecr", "BatchDeleteImage", &ecr.BatchDeleteImageInput{
			RepositoryName: &r.Name, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &m.manifests[r][p.Name].digest}},
		})
		if err != nil {
			return err
		}
		for _, f := range out.Failures {
			return fmt.Errorf("delete build %d of %s: %s", build, r.Key(), aws.ToString(f.FailureReason))
		}
	}
	return nil
}

// text is a reference as it stands in a task definition.
func (m *demoSeeder) text(i DemoImage) string {
	r := i.Repository
	var host string
	switch i.Host {
	case DemoClassic:
		host = ecrHost(r.Account, r.Region)
	case DemoFIPS:
		host = r.Account + ".dkr.ecr-fips." + r.Region + ".amazonaws.com"
	case DemoDualStack:
		host = r.Account + ".dkr-ecr." + r.Region + ".on.aws"
	}
	text := host + "/" + r.Name
	if i.Tag != "" {
		text += ":" + i.Tag
	}
	if i.Build > 0 {
		text += "@" + m.manifests[r][fmt.Sprint(i.Build)].digest
	}
	return text
}

func (m *demoSeeder) family(f *DemoFamily) {
	for i, rev := range f.Revisions {
		m.at(rev.Age, func() error {
			in := &ecs.RegisterTaskDefinitionInput{
				Family: &f.Name, Cpu: aws.String("512"), Memory: aws.String("1024"), NetworkMode: ecstypes.NetworkModeAwsvpc,
				RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate},
			}
			for k, im := range rev.Images {
				name := "app"
				if k > 0 {
					name = im.Repository.Name[strings.LastIndexByte(im.Repository.Name, '/')+1:]
				}
				in.ContainerDefinitions = append(in.ContainerDefinitions, ecstypes.ContainerDefinition{Name: &name, Image: aws.String(m.text(im))})
			}
			return m.do(f.Account, f.Region, "ecs", "RegisterTaskDefinition", in)
		})
		if rev.Inactive {
			m.at(0, func() error {
				return m.do(f.Account, f.Region, "ecs", "DeregisterTaskDefinition", &ecs.DeregisterTaskDefinitionInput{
					TaskDefinition: f.revision(i + 1),
				})
			})
		}
	}
}

// revision is how operations name a revision.
func (f *DemoFamily) revision(n int) *string { return aws.String(fmt.Sprintf("%s:%d", f.Name, n)) }

// cluster plans a cluster, once.
func (m *demoSeeder) cluster(account, region, name string) {
	if key := account + region + name; !m.clusters[key] {
		m.clusters[key] = true
		m.at(demoBegin, func() error {
			return m.do(account, region, "ecs", "CreateCluster", &ecs.CreateClusterInput{ClusterName: &name})
		})
	}
}

func (m *demoSeeder) service(v *DemoService) {
	account, region := v.Family.Account, v.Family.Region
	m.cluster(account, region, v.Cluster)
	for i, d := range v.Deployments {
		m.at(d.Age, func() error {
			if i > 0 {
				return m.do(account, region, "ecs", "UpdateService", &ecs.UpdateServiceInput{
					Cluster: &v.Cluster, Service: &v.Name, TaskDefinition: v.Family.revision(d.Revision), DesiredCount: &d.Desired,
				})
			}
			in := &ecs.CreateServiceInput{
				Cluster: &v.Cluster, ServiceName: &v.Name, TaskDefinition: v.Family.revision(d.Revision), DesiredCount: &d.Desired,
				LaunchType: ecstypes.LaunchTypeFargate,
			}
			if v.CodeDeploy {
				in.DeploymentController = &ecstypes.DeploymentController{Type: ecstypes.DeploymentControllerTypeCodeDeploy}
			}
			return m.do(account, region, "ecs", "CreateService", in)
		})
	}
}

func (m *demoSeeder) task(t *DemoTask) {
	f := t.Family
	m.cluster(f.Account, f.Region, t.Cluster)
	var arn *string
	m.at(t.Started, func() error {
		out, err := invoke[ecs.RunTaskInput, ecs.RunTaskOutput](m.Server, f.Account, f.Region, "ecs", "RunTask", &ecs.RunTaskInput{
			Cluster: &t.Cluster, TaskDefinition: f.revision(t.Revision), StartedBy: &t.StartedBy, LaunchType: ecstypes.LaunchTypeFargate,
		})
		if err != nil {
			return err
		}
		arn = out.Tasks[0].TaskArn
		return nil
	})
	m.at(t.Stopped, func() error {
		return m.do(f.Account, f.Region, "ecs", "StopTask", &ecs.StopTaskInput{
			Cluster: &t.Cluster, Task: arn, Reason: aws.String("Essential container in task exited"),
		})
	})
}

func (m *demoSeeder) function(f *DemoFunction) {
	for i, code := range f.Code {
		m.at(code.Age, func() error {
			uri := aws.String(m.text(code.Image))
			if i > 0 {
				return m.do(f.Account, f.Region, "lambda", "UpdateFunctionCode", &lambda.UpdateFunctionCodeInput{
					FunctionName: &f.Name, ImageUri: uri, Publish: true,
				})
			}
			return m.do(f.Account, f.Region, "lambda", "CreateFunction", &lambda.CreateFunctionInput{
				FunctionName: &f.Name, PackageType: lambdatypes.PackageTypeImage, Code: &lambdatypes.FunctionCode{ImageUri: uri},
				Role: aws.String("arn:aws:iam::" + f.Account + ":role/" + f.Name), Publish: true,
			})
		})
	}
	for _, a := range f.Aliases {
		m.at(f.Code[len(f.Code)-1].Age, func() error {
			return m.do(f.Account, f.Region, "lambda", "CreateAlias", &lambda.CreateAliasInput{
				FunctionName: &f.Name, Name: &a.Name, FunctionVersion: aws.String(fmt.Sprint(a.Version)),
			})
		})
	}
}
