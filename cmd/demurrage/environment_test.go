package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"

	"demurrage/internal/orgsim"
)

// environment is one in which a run cannot be made, or not be whole.
type environment struct {
	name        string
	set         func(w *world) (env []string)
	check, plan int    // exit codes; 0: that command is none the worse
	remedy      string // what check says to do about it
	planned     string // the same of plan; "": remedy
}

func configured(edit func(string) string) func(*world) []string {
	return func(w *world) []string { w.config(edit(worldConfig)); return nil }
}

func faulty(f orgsim.Fault, env ...string) func(*world) []string {
	return func(w *world) []string { w.SetFaults([]orgsim.Fault{f}); return env }
}

func setting(env ...string) func(*world) []string {
	return func(*world) []string { return env }
}

// withDiscovery is run in the management account, with an organization.
func withDiscovery(config string) string {
	return strings.Replace(config, "[scan]", "[organization]\ndiscover = true\n\n[scan]", 1)
}

func withStore(url string) func(*world) []string {
	return configured(func(c string) string { return c + "\n[store]\nurl = \"" + url + "\"\n" })
}

// deny lets the role of B do all but some actions.
func deny(actions ...string) func(*world) []string {
	return func(w *world) []string {
		done(iam.NewFromConfig(w.as(accountB, virginia)).PutRolePolicy(w.Context(), &iam.PutRolePolicyInput{
			RoleName: aws.String("DemurrageRead"), PolicyName: aws.String("all"), PolicyDocument: aws.String(
				`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "NotAction": ["` + strings.Join(actions, `", "`) + `"], "Resource": "*"}]}`)}))(w)
		return nil
	}
}

// answering has something before AWS that answers some requests.
func answering(which func(*http.Request) bool, contentType string, status int, body string) func(*world) []string {
	return func(w *world) []string {
		w.front = func(rw http.ResponseWriter, r *http.Request) bool {
			if !which(r) {
				return false
			}
			rw.Header().Set("Content-Type", contentType)
			rw.WriteHeader(status)
			fmt.Fprint(rw, body)
			return true
		}
		return nil
	}
}

func everything(*http.Request) bool { return true }

func removeRole(accounts ...string) func(*world) []string {
	return func(w *world) []string {
		for _, id := range accounts {
			c, name := iam.NewFromConfig(w.as(id, virginia)), aws.String("DemurrageRead")
			done(c.DeleteRolePolicy(w.Context(), &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("all")}))(w)
			done(c.DeleteRole(w.Context(), &iam.DeleteRoleInput{RoleName: name}))(w)
		}
		return nil
	}
}

const trustStatement = `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::333333333333:`

// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
const scpText = "User: arn:aws:sts::222222222222:assumed-role/DemurrageRead/demurrage is not authorized to perform: ecs:ListTaskDefinitions on resource: * with an explicit deny in a service control policy"

var environments = []environment{
	{"no credentials", setting("AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="), 1, 1, "give credentials: aws sso login", ""},
	{"half of the credentials", setting("AWS_SECRET_ACCESS_KEY="), 1, 1, "give credentials: aws sso login", ""},
	{"expired credentials", faulty(orgsim.Fault{Service: "sts", Code: "ExpiredToken", Status: 403}), 1, 1, "sign in again", ""},
	{"unknown access key", faulty(orgsim.Fault{Service: "sts", Code: "InvalidClientTokenId", Status: 403}), 1, 1, "does not know the access key", ""},
	{"clock skew", faulty(orgsim.Fault{Service: "sts", Code: "SignatureDoesNotMatch", Status: 403}), 1, 1, "clock is wrong", ""},
	{"unknown profile", setting("AWS_PROFILE=nobody"), 1, 1, "set AWS_PROFILE to a profile", ""},
	{"no region of AWS", setting("AWS_REGION=us-easy-1"), 1, 1, "AWS_REGION", ""},
	{"malformed region", setting("AWS_REGION=us east/1", "AWS_ENDPOINT_URL="), 1, 1, "AWS_REGION is not a region", ""},
	{"endpoint down", setting("AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_MAX_ATTEMPTS="), 1, 1, "nobody listens there", ""},
	{"endpoint without a name", setting("AWS_ENDPOINT_URL=http://nowhere.invalid", "AWS_MAX_ATTEMPTS="), 1, 1, "AWS_ENDPOINT_URL", ""},
	{"endpoint hangs", func(w *world) []string {
		w.front = func(_ http.ResponseWriter, r *http.Request) bool {
			_ = readAll(r) // a server only sees that the client is gone when it has read all
			<-r.Context().Done()
			return true
		}
		return nil
	}, 1, 1, "not answered within", ""},
	{"endpoint is a login page", answering(everything, "text/html", 200, "<html><body>Sign in</body></html>"), 1, 1, "what answers is not AWS", ""},
	{"endpoint is a proxy that fails", answering(everything, "text/html", 403, "<html><body>Blocked\x1b[31m</body></html>"), 1, 1, "what answers is not AWS", ""},
	{"throttled for ever", faulty(orgsim.Fault{Service: "sts", Code: "Throttling", Status: 400}, "AWS_MAX_ATTEMPTS=1"), 1, 1, "throttling", ""},
	{"a service is throttled for ever", faulty(orgsim.Fault{Service: "ecs", Operation: "ListTaskDefinitions", Code: "ThrottlingException"}, "AWS_MAX_ATTEMPTS=1"), 2, 2, "check again", "ThrottlingException"},
	{"a service is out of order", faulty(orgsim.Fault{Service: "lambda", Operation: "ListFunctions", Code: "ServiceException", Status: 500}, "AWS_MAX_ATTEMPTS=1"), 2, 2, "check again", "ServiceException"},
	{"role missing in one account", removeRole(accountB), 2, 2, trustStatement, "the role does not exist there"},
	{"all accounts refuse", removeRole(accountA, accountB), 1, 1, trustStatement, "demurrage check says what to add"},
	{"external id wrong", configured(func(c string) string { return strings.Replace(c, externalID, "another-one", 1) }), 1, 1, `"sts:ExternalId":"another-one"`, "demurrage check says what to add"},
	{"hub role missing", configured(func(c string) string { return strings.Replace(c, "[assume]", "[assume]\nhub_role = \"Hub\"", 1) }), 1, 1, "the role does not exist there", ""},
	{"sweep role missing", configured(func(c string) string {
		c = strings.Replace(c, "[assume]", "[assume]\nsweep_role = \"DemurrageSweep\"", 1)
		return strings.Replace(c, "name = \"alpha\"", "name = \"alpha\"\nenforce = true", 1)
	}), 2, 0, "permissions --role sweep", ""},
	{"no region of the configuration is on", configured(func(c string) string { return strings.Replace(c, `["us-east-1"]`, `["me-south-1"]`, 1) }), 1, 1, "aws account enable-region", "none of the regions of the configuration is enabled"},
	{"a permission is missing", deny("ecs:ListTaskDefinitions", "lambda:ListFunctions"), 2, 2, `{"Effect":"Allow","Action":["ecs:ListTaskDefinitions","lambda:ListFunctions"],"Resource":"*"}`, "ecs:ListTaskDefinitions"},
	{"regions may not be listed", deny("account:ListRegions", "ec2:DescribeRegions"), 2, 2, `"Action":["account:ListRegions","ec2:DescribeRegions"]`, "ec2:DescribeRegions"},
	{"an SCP denies", answering(func(r *http.Request) bool { return operationOf(r) == "ListTaskDefinitions" }, "application/x-amz-json-1.1", 400,
		`{"__type": "AccessDeniedException", "message": "`+scpText+`"}`), 2, 2, "[[attestations]] entry", "service control policy"},
	{"Organizations denied", configured(withDiscovery), 1, 1, "delegated administrator", ""},
	{"an account is closed", func(w *world) []string {
		w.config(withDiscovery(worldConfig))
		w.policy("app", pullPolicy) // what it could pull is blocked
		w.hub = orgsim.ManagementAccount
		for _, id := range []string{accountA, accountB, accountHub} {
			if id == accountHub {
				w.role(id, w.hub)
			} else {
				w.trust(id, w.hub, externalID)
			}
		}
		done(organizations.NewFromConfig(w.as(w.hub, virginia)).CloseAccount(w.Context(), &organizations.CloseAccountInput{AccountId: aws.String(accountB)}))(w)
		return []string{"AWS_ACCESS_KEY_ID=" + w.hub}
	}, 2, 2, "remove its [[accounts]] entry", "its state in the organization is not ACTIVE"},
	{"a cluster that cannot be reached", func(w *world) []string {
		cluster(w, &ekstypes.VpcConfigRequest{EndpointPublicAccess: aws.Bool(false), EndpointPrivateAccess: aws.Bool(true)})
		return nil
	}, 2, 2, "demurrage uses import --covers eks:222222222222/us-east-1/main", ""},
	{"a cluster that does not let the role in", func(w *world) []string { cluster(w, &ekstypes.VpcConfigRequest{}); return nil }, 2, 2,
		"aws eks create-access-entry --region us-east-1 --cluster-name main --principal-arn arn:aws:iam::222222222222:role/DemurrageRead", ""},
	{"the store cannot be written", withStore("/proc/demurrage"), 1, 1, "set url under [store]", ""},
	{"the store is a file", func(w *world) []string {
		if err := os.WriteFile(filepath.Join(w.dir, "data"), nil, 0o600); err != nil {
			w.Fatalf("%v", err)
		}
		return withStore("data")(w)
	}, 1, 1, "something on the way there is a file", ""},
	{"the bucket is missing", withStore("s3://missing-bucket/demurrage"), 1, 1, "make the bucket", ""},
	{"the bucket is forbidden", func(w *world) []string {
		withStore("s3://forbidden-bucket/demurrage")(w)
		return answering(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/forbidden-bucket") }, "application/xml", 403,
			`<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)(w)
	}, 1, 1, "s3:PutObject", ""},
	{"no configuration", func(w *world) []string { _ = os.Remove(filepath.Join(w.dir, "accounts.toml")); return nil }, 1, 1, "`demurrage generate` makes one", ""},
	{"a configuration with a mistake", configured(func(c string) string { return strings.Replace(c, "regions", "region", 1) }), 1, 1, "regions", ""},
}

// cluster makes a cluster of B that knows nobody but whoever made it.
func cluster(w *world, vpc *ekstypes.VpcConfigRequest) {
	w.Helper()
	vpc.SubnetIds = []string{"subnet-1", "subnet-2"}
	done(eks.NewFromConfig(w.as(accountB, virginia)).CreateCluster(w.Context(), &eks.CreateClusterInput{
		Name: aws.String("main"), RoleArn: aws.String("arn:aws:iam::" + accountB + ":role/eks"), ResourcesVpcConfig: vpc,
		AccessConfig: &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi},
	}))(w)
	done(eks.NewFromConfig(w.as(accountB, virginia)).DescribeCluster(w.Context(), &eks.DescribeClusterInput{Name: aws.String("main")}))(w)
}

// An environment that is wrong is told with what to do, by check and by plan.
func TestWrongEnvironments(t *testing.T) {
	t.Parallel()
	if len(environments) < 20 {
		t.Errorf("%d environments", len(environments))
	}
	for _, tt := range environments {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, virginia)
			w.push(accountA, virginia, w.seededRepository(), "old")
			env := tt.set(w)
			before := w.Calls()
			var both sync.WaitGroup // side by side, for where nothing answers they wait long
			for command, want := range map[string]int{"check": tt.check, "plan": tt.plan} {
				remedy := tt.remedy
				if command == "plan" && tt.planned != "" {
					remedy = tt.planned
				}
				both.Go(func() { w.fails(t, command, env, want, remedy) })
			}
			both.Wait()
			for call := range w.called(before) {
				read := slices.ContainsFunc([]string{"List", "Describe", "Get", "Batch", "Head", "list ", "get "}, func(word string) bool { return strings.HasPrefix(call.Operation, word) })
				if !read && call.Operation != "AssumeRole" && call.Service != "s3" {
					t.Errorf("%+v was called", call)
				}
			}
		})
	}
}

// fails runs a command that is to end by itself with a code, and to say what to do.
func (w *world) fails(t *testing.T, command string, env []string, want int, remedy string) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd, stdout, stderr := w.command(command)
	cmd.Env = append(cmd.Env, env...)
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	_ = cmd.Run()
	stop()
	said := stdout.String() + stderr.String()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("%s: exit code %d instead of %d\n%.3000s", command, code, want, said)
	}
	if flat := strings.Join(strings.Fields(said), " "); want != 0 && !strings.Contains(flat, remedy) {
		t.Errorf("%s does not say %q:\n%.4000s", command, remedy, said)
	}
	for _, dump := range []string{"goroutine ", "panic", "%!", "&{", "0xc0", "\x1b"} {
		if strings.Contains(said, dump) {
			t.Errorf("%s: %q in\n%.3000s", command, dump, said)
		}
	}
}

// seededRepository is a repository of A.
func (w *world) seededRepository() string {
	w.Helper()
	w.repository(accountA, virginia, "app")
	return "app"
}

// TestCheckClosed: a closed account holds back what it may pull until somebody attests that it uses nothing, so that a check
// that passed would promise a run that is complete, and it is not.
func TestCheckClosed(t *testing.T) {
	t.Parallel()
	w := startWorld(t, t.TempDir(), virginia)
	t.Cleanup(w.serve())
	w.hub = orgsim.ManagementAccount
	for _, account := range []string{accountA, accountB, accountHub} {
		w.role(account, orgsim.ManagementAccount)
	}
	w.AddAccount(accountC, "closed")
	done(organizations.NewFromConfig(w.as(orgsim.ManagementAccount, virginia)).CloseAccount(t.Context(), &organizations.CloseAccountInput{AccountId: aws.String(accountC)}))(w)
	config := strings.Replace(worldConfig, "[scan]", "[organization]\ndiscover = true\n\n[scan]", 1)
	w.config(config)
	if o := w.must(exitIncomplete, "check"); !strings.Contains(o.stdout, accountC) || !strings.Contains(o.stdout, "[[attestations]]") {
		t.Errorf("%s", o.stdout)
	}
	if o := w.must(exitOK, "check", "--account", accountA); strings.Contains(o.stdout, accountC) {
		t.Errorf("a check of another account:\n%s", o.stdout)
	}
	until := func(day string) string {
		return "\n[[attestations]]\naccounts = [\"" + accountC + "\"]\nreason = \"all gone\"\nexpires = \"" + day + "\"\n"
	}
	w.config(config + until("2099-01-01"))
	if o := w.must(exitOK, "check"); strings.Contains(o.stdout, "write an [[attestations]]") || strings.Contains(o.stdout, "ended") {
		t.Errorf("attested:\n%s", o.stdout)
	}
	// One that has run out is named: who wrote it believes that it holds.
	w.config(config + until("2026-01-01"))
	for command, code := range map[string]int{"check": exitIncomplete, "plan": exitOK} { // there is nothing that it could block
		if o := w.must(code, command); !strings.Contains(o.stdout, "(all gone)") || !strings.Contains(o.stdout, "ended on 2026-01-01") {
			t.Errorf("%s:\n%s", command, o.stdout)
		}
	}
	// Nobody listed C, nor the hub, nor the management account.
	w.config(worldConfig)
	if o := w.must(exitOK, "check"); !strings.Contains(o.stdout, accountC) || !strings.Contains(o.stdout, "set discover = true") {
		t.Errorf("accounts outside:\n%s", o.stdout)
	}
	if o := w.must(exitOK, "check", "--account", accountA); strings.Contains(o.stdout, accountC) {
		t.Errorf("accounts outside, of a check of another account:\n%s", o.stdout)
	}
}
