package main

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// useCase is a way in which account B uses an image of account A, so that nothing else tells of it.
type useCase struct {
	name string
	// use seeds it and returns the digest of the image that is used, and the ARN of B's resource. The repository is
	// made, and empty but for an image that nothing uses.
	use func(w *world, repository string) (digest, resource string)
}

// TestUsedByAnotherAccountIsKept: each of these images would go if the one thing that B has were not seen or not
// understood. The numbers are those of the ways to lose an image in use that are known from other programs.
func TestUsedByAnotherAccountIsKept(t *testing.T) {
	t.Parallel()
	push := func(w *world, repository string, tags ...string) string {
		return w.push(accountA, virginia, repository, repository+" in use", tags...)
	}
	// moved pushes another image under a tag, so that the one before has none any more.
	moved := func(w *world, repository, tag string) {
		w.push(accountA, virginia, repository, repository+" of later", tag)
	}
	ref := func(repository string) string { return host(virginia) + "/" + repository }
	written := func(host, repository, rest string) string { return host + "/" + repository + rest }
	task := func(host, tag string) func(*world, string) (string, string) {
		return func(w *world, repository string) (string, string) {
			d := push(w, repository, "v1", "latest")
			return d, w.task(virginia, family(repository), written(host, repository, strings.Replace(tag, "DIGEST", d, 1)))
		}
	}
	classic := host(virginia)
	testUses(t, newWorld(t, virginia), virginia, []useCase{
		{"task/tag", task(classic, ":v1")},
		{"task/digest", task(classic, "@DIGEST")},
		{"01-tag-and-digest/task", task(classic, ":v1@DIGEST")},
		{"01-tag-and-digest/definition-whose-tag-moved", func(w *world, repository string) (string, string) {
			d := push(w, repository, "v1")
			definition := w.register(virginia, family(repository), ref(repository)+":v1@"+d)
			moved(w, repository, "v1")
			return d, definition
		}},
		{"02-host/fips", task(accountA+".dkr.ecr-fips.us-east-1.amazonaws.com", ":v1")},
		{"02-host/dual-stack", task(accountA+".dkr-ecr.us-east-1.on.aws", ":v1")},
		{"02-host/dual-stack-fips", task(accountA+".dkr-ecr-fips.us-east-1.on.aws", ":v1")},
		{"04-lambda-tag-moved/latest", func(w *world, repository string) (string, string) {
			d := push(w, repository, "v1")
			arn := w.function(family(repository), ref(repository)+":v1", false)
			moved(w, repository, "v1")
			return d, arn + ":$LATEST"
		}},
		{"04-lambda-tag-moved/aliased-version", func(w *world, repository string) (string, string) {
			d, name := push(w, repository, "v1"), family(repository)
			arn := w.function(name, ref(repository)+":v1", true)
			done(w.lambda(accountB, virginia).CreateAlias(w.Context(), &lambda.CreateAliasInput{
				FunctionName: &name, Name: aws.String("prod"), FunctionVersion: aws.String("1"),
			}))(w)
			moved(w, repository, "v1")
			w.update(accountB, virginia, name, ref(repository)+":v1")
			return d, strings.TrimSuffix(arn, ":1") + ":1"
		}},
		{"05-no-tag-is-latest/task", task(classic, "")},
		{"05-no-tag-is-latest/definition", func(w *world, repository string) (string, string) {
			d := push(w, repository, "latest")
			return d, w.register(virginia, family(repository), ref(repository))
		}},
		{"06-task-set-only/code-deploy", func(w *world, repository string) (string, string) {
			d, name := push(w, repository, "v1"), family(repository)
			used := w.register(virginia, name, ref(repository)+":v1")
			primary := w.register(virginia, name, "docker.io/library/other")
			arn := w.service(name, primary, 0, ecstypes.DeploymentControllerTypeCodeDeploy)
			w.taskSet(accountB, virginia, name, used, 0)
			w.deregister(accountB, virginia, used)
			return d, arn
		}},
		{"06-task-set-only/external", func(w *world, repository string) (string, string) {
			d, name := push(w, repository, "v1"), family(repository)
			used := w.register(virginia, name, ref(repository)+":v1")
			arn := w.service(name, "", 0, ecstypes.DeploymentControllerTypeExternal)
			w.taskSet(accountB, virginia, name, used, 0)
			w.deregister(accountB, virginia, used)
			return d, arn
		}},
		{"07-service-at-zero-whose-tag-moved", func(w *world, repository string) (string, string) {
			d, name := push(w, repository, "v1"), family(repository)
			arn := w.service(name, w.register(virginia, name, ref(repository)+":v1"), 0, "")
			moved(w, repository, "v1")
			return d, arn
		}},
		{"08-old-revision-pinned-by-service", func(w *world, repository string) (string, string) {
			d, name := push(w, repository, "v1"), family(repository)
			old := w.register(virginia, name, ref(repository)+":v1")
			// A CODE_DEPLOY service has no service revision that would know the digest.
			arn := w.service(name, old, 0, ecstypes.DeploymentControllerTypeCodeDeploy)
			for range 6 {
				w.register(virginia, name, "docker.io/library/other")
			}
			return d, arn
		}},
		{"09-region-that-no-config-names", func(w *world, repository string) (string, string) {
			d := push(w, repository, "v1")
			return d, w.task(ireland, family(repository), ref(repository)+":v1")
		}},
		{"13-index-of-a-used-child", func(w *world, repository string) (string, string) {
			child := push(w, repository)
			index := w.put(accountA, virginia, repository, indexOf(child), "multi")
			w.put(accountA, virginia, repository, indexOf(index), "nested")
			return index, w.task(virginia, family(repository), ref(repository)+"@"+child)
		}},
		{"13-child-of-a-used-nested-index", func(w *world, repository string) (string, string) {
			child := push(w, repository)
			inner := w.put(accountA, virginia, repository, indexOf(child))
			w.put(accountA, virginia, repository, indexOf(inner), "v1")
			return child, w.task(virginia, family(repository), ref(repository)+":v1")
		}},
	})
}

// TestUsedByAnotherAccountIsKeptInChina: the hosts of that partition have other suffixes.
func TestUsedByAnotherAccountIsKeptInChina(t *testing.T) {
	t.Parallel()
	task := func(host string) func(*world, string) (string, string) {
		return func(w *world, repository string) (string, string) {
			d := w.push(accountA, beijing, repository, repository+" in use", "v1")
			return d, w.task(beijing, family(repository), host+"/"+repository+":v1")
		}
	}
	w := newWorld(t, beijing)
	w.config(strings.Replace(worldConfig, virginia, beijing, 1))
	testUses(t, w, beijing, []useCase{
		{"02-host/china", task(accountA + ".dkr.ecr.cn-north-1.amazonaws.com.cn")},
		{"02-host/china-dual-stack", task(accountA + ".dkr-ecr.cn-north-1.on.amazonwebservices.com.cn")},
		{"09-other-region-of-china", func(w *world, repository string) (string, string) {
			d := w.push(accountA, beijing, repository, repository+" in use", "v1")
			return d, w.task("cn-northwest-1", family(repository), host(beijing)+"/"+repository+":v1")
		}},
	})
}

func family(repository string) string { return strings.ReplaceAll(repository, "/", "-") }

// testUses seeds all cases, plans once, and asks for each that the image is kept, that explain names the resource
// and its account, and that an image which nothing uses would go: it is the use, then, that keeps the other.
func testUses(t *testing.T, w *world, region string, cases []useCase) {
	for _, r := range []string{virginia, ireland, beijing, "cn-northwest-1"} {
		if (r[:3] == "cn-") == (region[:3] == "cn-") {
			w.cluster(accountB, r)
		}
	}
	type seeded struct{ used, unused, resource string }
	all := make([]seeded, len(cases))
	for i, c := range cases {
		repository := strings.ToLower(c.name)
		w.share(region, repository)
		all[i].unused = w.push(accountA, region, repository, repository+" not in use", "unused")
		all[i].used, all[i].resource = c.use(w, repository)
	}
	p := w.plan(0)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, repository := all[i], strings.ToLower(c.name)
			if got := p.action(repository, s.unused); got != "delete" {
				t.Errorf("what nothing uses: %q instead of delete", got)
			}
			img := p.image(repository, s.used)
			if img.Action != "keep" {
				t.Fatalf("what is used: %q instead of keep (%+v)", img.Action, img.Reasons)
			}
			if img.has("in-use", "") && !img.has("in-use", accountB) {
				t.Errorf("account %s is no reason: %+v", accountB, img.Reasons)
			}
			o := w.demurrage("explain", "--run", p.RunID, host(region)+"/"+repository+"@"+s.used)
			if o.code != 0 {
				t.Errorf("explain: exit code %d: %s", o.code, o.stderr)
			}
			want := []string{"decision: keep"}
			if img.has("in-use", "") { // otherwise it is a relative that is used
				want = append(want, "account "+accountB+" beta", s.resource)
			}
			for _, text := range want {
				if !strings.Contains(o.stdout, text) {
					t.Errorf("explain does not say %q:\n%s", text, o.stdout)
				}
			}
		})
	}
}
