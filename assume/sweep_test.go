package assume

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"demurrage/accounts"
)

const deleteImages = "ecr:BatchDeleteImage"

func arnOf(account, region, repo string) string {
	return "arn:aws:ecr:" + region + ":" + account + ":repository/" + repo
}

func allowOn(t *testing.T, arns ...string) string {
	t.Helper()
	grants, err := AllowOn(deleteImages, arns)
	if err != nil || len(grants) != 1 {
		t.Fatalf("AllowOn = %d grants, %v", len(grants), err)
	}
	return grants[0].Policy
}

// push makes a repository with an image that is tagged v1.
func (w *world) push(account, region, repo string) {
	w.t.Helper()
	cfg := w.as(account)
	cfg.Region = region
	api := ecr.NewFromConfig(cfg)
	if _, err := api.CreateRepository(w.t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo}); err != nil {
		w.t.Fatal(err)
	}
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	_, err := api.PutImage(w.t.Context(), &ecr.PutImageInput{RepositoryName: &repo, ImageTag: aws.String("v1"), ImageManifest: aws.String(
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + empty + `","size":0},"layers":[]}`)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// deleteImage deletes v1 and fails unless exactly that went.
func deleteImage(t *testing.T, cfg aws.Config, repo string) error {
	out, err := ecr.NewFromConfig(cfg).BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{
		RepositoryName: &repo, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}},
	})
	if err == nil && (len(out.ImageIds) != 1 || len(out.Failures) != 0) {
		return fmt.Errorf("deleted %v, failures %v", out.ImageIds, out.Failures)
	}
	return err
}

// The role may do everything; the session only what it is for.
func TestSessionDeletesThereAlone(t *testing.T) {
	w := newWorld(t)
	for _, repo := range []string{"app/a", "app/b", "app/c"} {
		w.push(member, "us-east-1", repo)
	}
	w.push(member, "eu-west-1", "app/a")
	a := accounts.Account{ID: member, SweepRole: w.role(member, "/", "Sweep", trustHub)}
	p := provider(t, Options{Role: SweepRole, Everywhere: true})
	policy := allowOn(t, arnOf(member, "us-east-1", "app/b"), arnOf(member, "us-east-1", "app/a"))
	if err := p.CheckSession(t.Context(), a, policy); err != nil {
		t.Fatal(err)
	}
	here := p.Session(a, "us-east-1", policy)
	for name, call := range map[string]func(*ecr.Client, *string) error{
		"DeleteRepository": func(api *ecr.Client, repo *string) error {
			_, err := api.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: repo, Force: true})
			return err
		},
		"PutLifecyclePolicy": func(api *ecr.Client, repo *string) error {
			_, err := api.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: repo, LifecyclePolicyText: aws.String(
				`{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`)})
			return err
		},
		"SetRepositoryPolicy": func(api *ecr.Client, repo *string) error {
			_, err := api.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: repo, PolicyText: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:*"}]}`)})
			return err
		},
		"DescribeImages": func(api *ecr.Client, repo *string) error {
			_, err := api.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: repo})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantDenied(t, call(ecr.NewFromConfig(here), aws.String("app/a"))) })
	}
	wantDenied(t, deleteImage(t, here, "app/c"))
	wantDenied(t, deleteImage(t, p.Session(a, "eu-west-1", policy), "app/a"))
	for _, repo := range []string{"app/a", "app/b"} {
		if err := deleteImage(t, here, repo); err != nil {
			t.Errorf("%s: %v", repo, err)
		}
	}
	// The role itself could.
	if err := deleteImage(t, p.Config(a, "us-east-1"), "app/c"); err != nil {
		t.Error(err)
	}
}

func TestOneSessionPerPolicy(t *testing.T) {
	w := newWorld(t)
	a := accounts.Account{ID: member, SweepRole: w.role(member, "/", "Sweep", trustHub)}
	p := provider(t, Options{Role: SweepRole, Everywhere: true})
	repos := []string{"app/a", "app/b"}
	policies := map[string]string{}
	for _, repo := range repos {
		w.push(member, "us-east-1", repo)
		policies[repo] = allowOn(t, arnOf(member, "us-east-1", repo), arnOf(member, "eu-west-1", repo))
	}
	for range 2 {
		for _, repo := range repos {
			if err := p.CheckSession(t.Context(), a, policies[repo]); err != nil {
				t.Fatal(err)
			}
			for _, region := range []string{"us-east-1", "eu-west-1"} {
				if _, err := caller(t, p.Session(a, region, policies[repo])); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if all, failed := w.calls("AssumeRole"); all != 2 || failed != 0 {
		t.Errorf("%d AssumeRole calls, %d failed; want one for each of two policies", all, failed)
	}
	wantDenied(t, deleteImage(t, p.Session(a, "us-east-1", policies["app/a"]), "app/b"))
	wantDenied(t, deleteImage(t, p.Session(a, "us-east-1", policies["app/b"]), "app/a"))
}

// A session whose policy would not hold is none: no call leaves, not even to STS.
func TestSessionIsNeverWider(t *testing.T) {
	w := newWorld(t)
	for _, account := range []string{member, hub} {
		w.push(account, "us-east-1", "app/a")
	}
	a := accounts.Account{ID: member, SweepRole: w.role(member, "/", "Sweep", trustHub)}
	central := accounts.Account{ID: hub, SweepRole: w.role(hub, "/", "Sweep", trustHub)}
	good := allowOn(t, arnOf(hub, "us-east-1", "app/a"))
	for name, tt := range map[string]struct {
		account accounts.Account
		opts    Options
		policy  string
		want    string
	}{
		"no policy":          {a, Options{}, "", "account 111111111111: no session policy would hold"},
		"no policy, central": {central, Options{Everywhere: true}, "", "account 999999999999: no session policy would hold"},
		"the provider's":     {a, Options{Policy: good}, "", "account 111111111111: no session policy would hold"},
		"no JSON":            {a, Options{}, " ", "account 111111111111: session policy: it is not JSON"},
		"too long":           {a, Options{}, `"` + strings.Repeat("x", 2047) + `"`, "account 111111111111: session policy: it has 2049 characters, and STS takes 2048"},
		"on ambient credentials": {central, Options{}, good,
			"account 999999999999: no session policy would hold (none can be put on the hub's own credentials: set sweep_role in its [[accounts]] entry)"},
		"no role": {accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/Read"}, Options{}, good,
			"account 111111111111: no role is configured (set sweep_role under [assume], or in its [[accounts]] entry)"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.opts.Role = SweepRole
			p := provider(t, tt.opts)
			err := p.CheckSession(t.Context(), tt.account, tt.policy)
			var e *Error
			if !errors.As(err, &e) || err.Error() != tt.want {
				t.Errorf("CheckSession = %v\nwant %s", err, tt.want)
			}
			if err := deleteImage(t, p.Session(tt.account, "us-east-1", tt.policy), "app/a"); !errors.As(err, &e) || e.Error() != tt.want {
				t.Errorf("a call: %v", err)
			}
		})
	}
	for _, operation := range []string{"AssumeRole", "BatchDeleteImage"} {
		if all, _ := w.calls(operation); all != 0 {
			t.Errorf("%d calls of %s", all, operation)
		}
	}
	// What the same account and policy gave without restriction is not given out as a session.
	p := provider(t, Options{Policy: good})
	if err := p.Check(t.Context(), central); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckSession(t.Context(), central, good); !errors.Is(err, ErrNoPolicy) {
		t.Errorf("err = %v", err)
	}
}

func TestEverywhere(t *testing.T) {
	w := newWorld(t)
	for _, repo := range []string{"app/a", "app/b"} {
		w.push(hub, "us-east-1", repo)
	}
	w.role(hub, "/", "Hub", trustHub)
	w.role(hub, "/", "Own", trustHub)
	sweep := w.role(hub, "/", "Sweep", trustHub)
	policy := allowOn(t, arnOf(hub, "us-east-1", "app/a"))
	for name, opts := range map[string]Options{"ambient": {}, "by a hub role": {HubRole: "Hub"}} {
		t.Run(name, func(t *testing.T) {
			opts.Role, opts.Everywhere = SweepRole, true
			p := provider(t, opts)
			for _, tt := range []struct {
				account   accounts.Account
				principal string
			}{
				{accounts.Account{ID: hub, SweepRole: sweep}, sweep},
				{accounts.Account{ID: hub, SweepRole: "arn:{partition}:iam::999999999999:role/Sweep"}, sweep},
				{accounts.Account{ID: hub, SweepRole: "arn:aws:iam::999999999999:role/Own", SweepRoleOwn: true}, "arn:aws:iam::999999999999:role/Own"},
			} {
				if got := p.Principal(tt.account); got != tt.principal {
					t.Errorf("Principal = %q, want %q", got, tt.principal)
				}
				want := "arn:aws:sts::999999999999:assumed-role/" + tt.principal[strings.LastIndex(tt.principal, "/")+1:] + "/demurrage"
				for _, cfg := range []aws.Config{p.Config(tt.account, "us-east-1"), p.Session(tt.account, "us-east-1", policy)} {
					if got, err := caller(t, cfg); err != nil || got != want {
						t.Errorf("caller = %s, %v, want %s", got, err, want)
					}
				}
				wantDenied(t, deleteImage(t, p.Session(tt.account, "us-east-1", policy), "app/b"))
			}
			none := accounts.Account{ID: hub, Role: "arn:aws:iam::999999999999:role/Own", RoleOwn: true}
			for _, err := range []error{p.Check(t.Context(), none), p.CheckSession(t.Context(), none, policy)} {
				if !errors.Is(err, ErrNoRole) || err.Error() != "account 999999999999: no role is configured (set sweep_role under [assume], or in its [[accounts]] entry)" {
					t.Errorf("err = %v", err)
				}
			}
			if got := p.Principal(none); got != "" {
				t.Errorf("Principal = %q without a role", got)
			}
		})
	}
	p := provider(t, Options{Role: SweepRole, Everywhere: true})
	if err := deleteImage(t, p.Session(accounts.Account{ID: hub, SweepRole: sweep}, "us-east-1", policy), "app/a"); err != nil {
		t.Error(err)
	}
}

func TestAllowOn(t *testing.T) {
	one, err := AllowOn(deleteImages, []string{arnOf(member, "us-east-1", "a")})
	if err != nil || len(one) != 1 {
		t.Fatal(one, err)
	}
	if want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:BatchDeleteImage"],"Resource":"arn:aws:ecr:us-east-1:111111111111:repository/a"}]}`; one[0].Policy != want {
		t.Errorf("policy = %s", one[0].Policy)
	}
	two := allowOn(t, arnOf(member, "us-east-1", "b"), arnOf(member, "us-east-1", "a"), arnOf(member, "us-east-1", "b"))
	if want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:BatchDeleteImage"],"Resource":["arn:aws:ecr:us-east-1:111111111111:repository/a","arn:aws:ecr:us-east-1:111111111111:repository/b"]}]}`; two != want {
		t.Errorf("policy = %s", two)
	}
}

func TestAllowOnMany(t *testing.T) {
	var arns []string
	for i := range 300 {
		repo := fmt.Sprintf("%s%03d", strings.Repeat("x", 57), i*7%300)
		arns = append(arns, arnOf(member, []string{"us-east-1", "eu-west-1"}[i%2], repo))
	}
	given := slices.Clone(arns)
	grants, err := AllowOn(deleteImages, arns)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(arns, given) {
		t.Error("the caller's list was changed")
	}
	if len(grants) < 2 || len(grants) > 20 {
		t.Errorf("%d grants", len(grants))
	}
	var all []string
	for i, g := range grants {
		if len(g.Policy) > 2048 {
			t.Errorf("grant %d has %d characters", i, len(g.Policy))
		}
		if i+1 < len(grants) {
			if more := len(g.Policy) + len(grants[i+1].Resources[0]) + len(`"",`); more <= 2048 {
				t.Errorf("grant %d could hold another: %d characters", i, more)
			}
		}
		var named []string
		for _, r := range g.Resources {
			if strings.Contains(g.Policy, `"`+r+`"`) {
				named = append(named, r)
			}
		}
		if got := strings.Count(g.Policy, "arn:"); got != len(named) || got != len(g.Resources) {
			t.Errorf("grant %d names %d ARNs, %d of its %d resources", i, got, len(named), len(g.Resources))
		}
		all = append(all, g.Resources...)
	}
	slices.Sort(given)
	if !slices.Equal(all, given) {
		t.Error("the grants are not for exactly what was asked, in order")
	}
}

func TestAllowOnRefuses(t *testing.T) {
	a := arnOf(member, "us-east-1", "a")
	for name, tt := range map[string]struct {
		action string
		arns   []string
		want   string
	}{
		"nothing":         {deleteImages, nil, "session policy: it would allow nothing"},
		"all":             {deleteImages, []string{a, "*"}, `"*" is not the ARN of one resource`},
		"star":            {deleteImages, []string{a + "*"}, "is not the ARN of one resource"},
		"question mark":   {deleteImages, []string{"arn:aws:ecr:us-east-?:111111111111:repository/a"}, "is not the ARN of one resource"},
		"variable":        {deleteImages, []string{arnOf(member, "us-east-1", "${aws:PrincipalTag/x}")}, "is not the ARN of one resource"},
		"empty":           {deleteImages, []string{""}, `"" is not the ARN of one resource`},
		"fewer parts":     {deleteImages, []string{"arn:aws:ecr:us-east-1"}, "is not the ARN of one resource"},
		"empty part":      {deleteImages, []string{"arn:aws:ecr::111111111111:repository/a"}, "is not the ARN of one resource"},
		"a name":          {deleteImages, []string{"a"}, `"a" is not the ARN of one resource`},
		"too long":        {deleteImages, []string{a, arnOf(member, "us-east-1", strings.Repeat("x", 2000))}, "does not fit into the 2048 characters that STS takes"},
		"several actions": {"ecr:BatchDelete*", []string{a}, `"ecr:BatchDelete*" is not one action`},
		"any action":      {"*", []string{a}, `"*" is not one action`},
		"no action":       {"", []string{a}, `"" is not one action`},
		"no service":      {"BatchDeleteImage", []string{a}, `"BatchDeleteImage" is not one action`},
	} {
		t.Run(name, func(t *testing.T) {
			grants, err := AllowOn(tt.action, tt.arns)
			if err == nil || grants != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("AllowOn = %v, %v, want %q", grants, err, tt.want)
			}
		})
	}
}
