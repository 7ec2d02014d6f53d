package orgsim

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// awsCall is one call of the aws CLI, which parses answers by the services' models and not by this repository's
// SDK. want is compared with the answer cut by query (JMESPath, as text); or fails is part of the error.
type awsCall struct {
	command, query, want string
	fails                string
	account              string // default: account A
}

// awsCLI runs calls one after the other against one organization. FILE in a command is a file with some text.
func (m *sim) awsCLI(calls []awsCall) {
	m.t.Helper()
	path, err := exec.LookPath("aws")
	if err != nil {
		m.t.Skip("the aws CLI is not in PATH")
	}
	if testing.Short() {
		m.t.Skip("the aws CLI takes most of a second for each call")
	}
	file := filepath.Join(m.t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("some text"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	for _, c := range calls {
		account := c.account
		if account == "" {
			account = accountA
		}
		args := []string{"--endpoint-url", m.url, "--region", "us-east-1"}
		for _, a := range strings.Fields(c.command) {
			// ~ stands for a space within an argument, so that commands can be read as they would be typed
			args = append(args, strings.ReplaceAll(strings.ReplaceAll(a, "~", " "), "FILE", file))
		}
		if c.query != "" {
			args = append(args, "--output", "text", "--query", c.query)
		} else {
			args = append(args, "--output", "json")
		}
		cmd := exec.CommandContext(m.t.Context(), path, args...)
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "AWS_") }),
			"AWS_ACCESS_KEY_ID="+account, "AWS_SECRET_ACCESS_KEY=x", "AWS_MAX_ATTEMPTS=1", "AWS_CONFIG_FILE=/dev/null",
			"AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		switch {
		case c.fails != "":
			if err == nil || !strings.Contains(stderr.String(), c.fails) {
				m.t.Errorf("aws %s: got %q %q, want the error %s", c.command, stdout.String(), stderr.String(), c.fails)
			}
		case err != nil:
			m.t.Errorf("aws %s: %v: %s", c.command, err, stderr.String())
		case c.query != "":
			if got := strings.Join(strings.Fields(stdout.String()), " "); got != c.want {
				m.t.Errorf("aws %s: %s is %q, want %q", c.command, c.query, got, c.want)
			}
		}
	}
}

func TestCLIOfIAMAndSTS(t *testing.T) {
	t.Parallel()
	const (
		role   = "arn:aws:iam::111111111111:role/team/ci"
		trusts = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"999999999999"},"Action":"sts:AssumeRole"}]}`
		reads  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:Get*","Resource":"*"}]}`
	)
	newSim(t).awsCLI([]awsCall{
		{command: "sts get-caller-identity", query: "[Account,Arn]", want: "111111111111 arn:aws:iam::111111111111:root"},
		{command: "sts get-caller-identity", account: "333333333333", query: "Account", want: "333333333333"},
		{command: "iam create-role --role-name ci --path /team/ --max-session-duration 7200 --assume-role-policy-document " + trusts, query: "Role.Arn", want: role},
		{command: "iam create-role --role-name ci --assume-role-policy-document " + trusts, fails: "(EntityAlreadyExists)"},
		{command: "iam get-role --role-name ci", query: "Role.[MaxSessionDuration,AssumeRolePolicyDocument.Statement[0].Principal.AWS]", want: "7200 999999999999"},
		{command: "iam get-role --role-name none", fails: "(NoSuchEntity)"},
		{command: "iam list-roles --path-prefix /team/", query: "Roles[].RoleName", want: "ci"},
		{command: "iam update-role --role-name ci --max-session-duration 3600"},
		{command: "iam update-assume-role-policy --role-name ci --policy-document " + trusts},
		{command: "iam update-assume-role-policy --role-name ci --policy-document {}", fails: "(MalformedPolicyDocument)"},
		{command: "iam put-role-policy --role-name ci --policy-name read --policy-document " + reads},
		{command: "iam get-role-policy --role-name ci --policy-name read", query: "PolicyDocument.Statement[0].Action", want: "iam:Get*"},
		{command: "iam list-role-policies --role-name ci", query: "PolicyNames", want: "read"},
		{command: "iam create-policy --policy-name own --policy-document " + reads, query: "Policy.Arn", want: "arn:aws:iam::111111111111:policy/own"},
		{command: "iam attach-role-policy --role-name ci --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess"},
		{command: "iam list-attached-role-policies --role-name ci", query: "AttachedPolicies[].PolicyName", want: "ReadOnlyAccess"},
		{command: "sts assume-role --role-arn " + role + " --role-session-name me", account: "AKIA", query: "AssumedRoleUser.Arn", want: "arn:aws:sts::111111111111:assumed-role/ci/me"},
		{command: "sts assume-role --role-arn " + role + " --role-session-name me", account: accountB, fails: "(AccessDenied) when calling the AssumeRole operation: User: arn:aws:iam::222222222222:root is not authorized to perform: sts:AssumeRole on resource: " + role},
		{command: "iam detach-role-policy --role-name ci --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess"},
		{command: "iam delete-role --role-name ci", fails: "(DeleteConflict)"},
		{command: "iam delete-role-policy --role-name ci --policy-name read"},
		{command: "iam delete-role --role-name ci"},
	})
}

func TestCLIOfOrganizations(t *testing.T) {
	t.Parallel()
	const m = ManagementAccount
	newSim(t).awsCLI([]awsCall{
		{account: m, command: "organizations describe-organization", query: "Organization.[Id,MasterAccountId]", want: organizationID + " " + m},
		{account: m, command: "organizations list-roots", query: "Roots[].Id", want: rootID},
		{account: m, command: "organizations create-organizational-unit --parent-id r-demu --name prod", query: "OrganizationalUnit.Id", want: "ou-demu-00000001"},
		{account: m, command: "organizations describe-organizational-unit --organizational-unit-id ou-demu-00000001", query: "OrganizationalUnit.Name", want: "prod"},
		{account: m, command: "organizations describe-organizational-unit --organizational-unit-id ou-demu-00000002", fails: "(OrganizationalUnitNotFoundException)"},
		{account: m, command: "organizations list-organizational-units-for-parent --parent-id r-demu", query: "OrganizationalUnits[].Name", want: "prod"},
		{account: m, command: "organizations create-account --email a@example.com --account-name new", query: "CreateAccountStatus.[State,AccountId]", want: "SUCCEEDED 100000000001"},
		{account: m, command: "organizations describe-create-account-status --create-account-request-id car-00000000000000000000000000000001", query: "CreateAccountStatus.State", want: "SUCCEEDED"},
		{account: m, command: "organizations move-account --account-id 100000000001 --source-parent-id r-demu --destination-parent-id ou-demu-00000001"},
		{account: m, command: "organizations describe-account --account-id 100000000001", query: "Account.[State,Status,Paths[0]]", want: "ACTIVE ACTIVE o-demurrage01/r-demu/ou-demu-00000001/100000000001/"},
		{account: m, command: "organizations list-accounts", query: "Accounts[].Id", want: m + " " + accountA + " " + accountB + " 100000000001"},
		{account: m, command: "organizations list-accounts-for-parent --parent-id ou-demu-00000001", query: "Accounts[].Id", want: "100000000001"},
		{account: m, command: "organizations list-children --parent-id ou-demu-00000001 --child-type ACCOUNT", query: "Children[].Id", want: "100000000001"},
		{account: m, command: "organizations list-parents --child-id 100000000001", query: "Parents[].Id", want: "ou-demu-00000001"},
		{account: m, command: "organizations tag-resource --resource-id 100000000001 --tags Key=team,Value=web Key=env,Value=prod"},
		{account: m, command: "organizations untag-resource --resource-id 100000000001 --tag-keys env"},
		{account: m, command: "organizations list-tags-for-resource --resource-id 100000000001", query: "Tags[].[Key,Value]", want: "team web"},
		{account: m, command: "organizations register-delegated-administrator --account-id 111111111111 --service-principal account.amazonaws.com"},
		{account: m, command: "organizations list-delegated-administrators", query: "DelegatedAdministrators[].Id", want: accountA},
		{account: m, command: "organizations close-account --account-id 100000000001"},
		{account: m, command: "organizations describe-account --account-id 100000000001", query: "Account.[State,Status]", want: "CLOSED SUSPENDED"},
		{account: accountB, command: "organizations list-accounts", fails: "(AccessDeniedException)"},
		{account: m, command: "organizations list-policies --filter SERVICE_CONTROL_POLICY", fails: "(UnknownOperationException)"},
	})
}

func TestCLIOfRegions(t *testing.T) {
	t.Parallel()
	newSim(t).awsCLI([]awsCall{
		{command: "account list-regions --region-opt-status-contains DISABLED", query: "Regions[].RegionName", want: "af-south-1 ap-east-1 eu-central-2 eu-south-1 il-central-1 me-south-1"},
		{command: "account get-region-opt-status --region-name eu-south-1", query: "RegionOptStatus", want: "DISABLED"},
		{command: "account enable-region --region-name eu-south-1"},
		{command: "account get-region-opt-status --region-name eu-south-1", query: "RegionOptStatus", want: "ENABLED"},
		{command: "ec2 describe-regions --filters Name=opt-in-status,Values=opted-in,opt-in-not-required", query: "length(Regions)", want: "18"},
		{command: "ec2 describe-regions --all-regions", query: "length(Regions)", want: "23"},
		{command: "ec2 describe-regions --region-names eu-south-1 us-east-1", query: "Regions[].[RegionName,OptInStatus,Endpoint]", want: "eu-south-1 opted-in ec2.eu-south-1.amazonaws.com us-east-1 opt-in-not-required ec2.us-east-1.amazonaws.com"},
		{command: "ec2 describe-instances", fails: "(InvalidAction)"},
		{command: "account disable-region --region-name eu-south-1"},
		{command: "account disable-region --region-name eu-west-1", fails: "(ValidationException)"},
		{command: "account list-regions --account-id 222222222222", fails: "(AccessDeniedException)"},
	})
}

func TestCLIOfS3(t *testing.T) {
	t.Parallel()
	newSim(t).awsCLI([]awsCall{
		{command: "s3api create-bucket --bucket store", query: "Location", want: "/store"},
		{command: "s3api head-bucket --bucket store"},
		{command: "s3api head-bucket --bucket none", fails: "(404)"},
		{command: "s3api list-buckets", query: "Buckets[].Name", want: "store"},
		{command: "s3api get-bucket-location --bucket store", query: "LocationConstraint", want: "None"},
		{command: "s3api put-object --bucket store --key a/b~c --body FILE --if-none-match *", query: "ETag", want: `"552e21cd4cd9918678e3c1a0df491bc3"`},
		{command: "s3api put-object --bucket store --key a/b~c --body FILE --if-none-match *", fails: "(PreconditionFailed)"},
		{command: "s3api get-object --bucket store --key a/b~c FILE.2", query: "ContentLength", want: "9"},
		{command: "s3api head-object --bucket store --key a/b~c", query: "ContentLength", want: "9"},
		{command: "s3api get-object --bucket store --key none FILE.2", fails: "(NoSuchKey)"},
		{command: "s3 cp FILE s3://store/a/other --quiet"},
		{command: "s3api list-objects-v2 --bucket store --prefix a/", query: "Contents[].[Key,Size]", want: "a/b c 9 a/other 9"},
		{command: "s3api list-objects-v2 --bucket store --delimiter /", query: "CommonPrefixes[].Prefix", want: "a/"},
		{command: "s3api list-objects-v2 --bucket store", account: accountB, fails: "(AccessDenied)"},
		{command: "s3api create-multipart-upload --bucket store --key big", query: "Key", want: "big"},
		{command: "s3api upload-part --bucket store --key big --upload-id none --part-number 1 --body FILE", fails: "(NoSuchUpload)"},
		{command: "s3api delete-bucket --bucket store", fails: "(BucketNotEmpty)"},
		{command: "s3api delete-object --bucket store --key a/other"},
		{command: "s3api delete-objects --bucket store --delete Objects=[{Key=a/b~c}]", query: "Deleted[].Key", want: "a/b c"},
		{command: "s3api get-bucket-acl --bucket store", fails: "(NotImplemented)"},
		{command: "s3api delete-bucket --bucket store"},
	})
}
