package advice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

func repository(name string) image.Repository {
	return image.Repository{Registry: image.Registry{Account: "111111111111", Region: "us-east-1"}, Name: name}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"app": true, "prod/app": true, "a.json/b": true, "a-b_c.d/e__f": false, "..": false, "../x": false, "a/../b": false, "/a": false, "a/": false,
		"A": false, "a//b": false, `a\b`: false, "a\x00": false, "": false, "a b": false, "a$(b)": false, strings.Repeat("a", 241): false, strings.Repeat("a", 240): true,
		strings.Repeat("a/", 150) + "a": false,
	} {
		if got := refused(repository(name)) == ""; got != ok {
			t.Errorf("%q: %t", name, got)
		}
	}
	for _, r := range []image.Repository{
		{Registry: image.Registry{Account: "..", Region: "us-east-1"}, Name: "app"},
		{Registry: image.Registry{Account: "111111111111", Region: "../.."}, Name: "app"},
	} {
		if refused(r) == "" {
			t.Errorf("%+v is not refused", r)
		}
	}
}

// TestOfUnused: of a repository that nothing uses, a policy takes the last image only where the configuration lets it become
// empty; and never what the configuration keeps by its tag, though nothing has such a tag today.
func TestOfUnused(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	inv := &image.Inventory{Repository: repository("job")}
	for n := range 3 {
		inv.Images = append(inv.Images, image.Image{Digest: image.Digest(fmt.Sprintf("sha256:%064x", n)), Bytes: 1, PushedAt: now.AddDate(0, 0, -100+n), MediaType: image.MediaTypeOCIManifest, Tags: []string{fmt.Sprint("rel-", n)}})
	}
	for _, tt := range []struct {
		allowEmpty bool
		keep       string
		rules      []string
	}{
		{true, "", []string{"rel-*"}},
		{true, "rel-*-lts", []string{"rel-*-lts", "rel-*"}},
		{false, "", nil},
	} {
		rule := planner.RepositoryRule{Name: image.Glob("*"), Expires: 30 * 24 * time.Hour, AllowEmpty: tt.allowEmpty}
		if tt.keep != "" {
			rule.KeepTags = []image.Pattern{image.Glob(tt.keep)}
		}
		a := Of(planner.Merge(planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{rule}}, now, planner.Usage{}).Repository(inv), now)
		var got []string
		if a.Policy != "" {
			p, _ := lifecycle.Parse(a.Policy)
			for _, r := range p.Rules {
				got = append(got, r.TagPatterns...)
			}
		}
		if !slices.Equal(got, tt.rules) || strings.Contains(strings.Join(a.Why, ";"), "allow_empty") != !tt.allowEmpty {
			t.Errorf("%+v: %q, %q", tt, got, a.Why)
		}
	}
}

// TestOf: a repository whose service runs an image that is tagged prod-… beside dev-…, with old builds and new ones. The
// policy takes old builds, though the newest of them are kept for now; where somebody who was not looked at may use them
// too, there is none.
func TestOf(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	digest := func(n int) image.Digest { return image.Digest(fmt.Sprintf("sha256:%064x", n)) }
	for name, c := range map[string]struct {
		unscanned []planner.Unscanned
		newest    int // age in days of the newest build
		keeps     int
		rules     []string // tags of the rules
		why       string
	}{
		"new builds":             {newest: 2, rules: []string{"prod-*", "dev-*"}},
		"the newest are counted": {newest: 2, keeps: 3, rules: []string{"prod-*", "dev-*"}, why: "keep_count"},
		"all are old":            {newest: 100, keeps: 3, rules: []string{"prod-*", "dev-*"}, why: "keep_count"},
		"not all was looked at":  {newest: 2, unscanned: []planner.Unscanned{{Account: "111111111111", State: "ACTIVE", Why: "for the test"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inv := &image.Inventory{Repository: repository("app")}
			for n := range 20 {
				img := image.Image{Digest: digest(n), Bytes: 1, PushedAt: now.AddDate(0, 0, -c.newest-10*(19-n)), MediaType: image.MediaTypeOCIManifest, Tags: []string{fmt.Sprint("dev-", n)}}
				if n == 1 {
					img.Tags = append(img.Tags, "prod-1")
				}
				inv.Images = append(inv.Images, img)
			}
			use := image.Use{Ref: image.Ref{Repository: inv.Repository, Digest: digest(1)}, Source: "ecs-task", Account: "111111111111", Region: "us-east-1", Resource: "arn:task"}
			rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 30 * 24 * time.Hour, KeepCount: c.keeps}}}
			plan := planner.Merge(rules, now, planner.Usage{Uses: []image.Use{use}, Unscanned: c.unscanned}).Repository(inv)
			a := Of(plan, now)
			if (a.Policy != "") != (len(c.rules) > 0) {
				t.Fatalf("policy %q, %q", a.Policy, a.Why)
			}
			if a.Policy == "" {
				return
			}
			p, problems := lifecycle.Parse(a.Policy)
			if p == nil {
				t.Fatalf("%+v", problems)
			}
			var tags []string
			for _, r := range p.Rules {
				tags = append(tags, slices.Concat(r.TagPatterns, r.TagPrefixes)...)
			}
			if !slices.Equal(tags, c.rules) {
				t.Errorf("rules for %q", tags)
			}
			for i, f := range p.Evaluate(inv.Images, now) {
				if f.Now != (plan.Decisions[i].Action == planner.Delete) {
					t.Errorf("image %d: %+v, while the plan says %s", i, f, plan.Decisions[i].Action)
				}
			}
			if said := strings.Join(a.Why, " "); !strings.Contains(said, c.why) || c.why == "" && strings.Contains(said, "keep_count") {
				t.Errorf("why: %q", said)
			}
		})
	}
}

// TestOfBroken: a service whose image is gone gets it pushed again, and no policy may take it then.
func TestOfBroken(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	inv := &image.Inventory{Repository: repository("app")}
	for n, tag := range []string{"prod-1", "prod-2", "dev-1", "dev-2", ""} {
		img := image.Image{Digest: image.Digest(fmt.Sprintf("sha256:%064x", n)), Bytes: 1, PushedAt: now.AddDate(0, 0, -100), MediaType: image.MediaTypeOCIManifest}
		if tag != "" {
			img.Tags = []string{tag}
		}
		inv.Images = append(inv.Images, img)
	}
	rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 30 * 24 * time.Hour}}}
	for _, live := range []bool{true, false} {
		use := image.Use{Ref: image.Ref{Repository: inv.Repository, Tag: "prod-9"}, Source: "ecs-service", Account: "111111111111", Region: "us-east-1", Resource: "arn:service", Live: live}
		plan := planner.Merge(rules, now, planner.Usage{Uses: []image.Use{use, use}}).Repository(inv)
		a := Of(plan, now)
		p, problems := lifecycle.Parse(a.Policy)
		if p == nil {
			t.Fatalf("%+v %q", problems, a.Why)
		}
		pushed := image.Image{Digest: image.Digest(fmt.Sprintf("sha256:%064x", 99)), PushedAt: now, MediaType: image.MediaTypeOCIManifest, Tags: []string{"prod-9"}}
		fates := p.Evaluate(append(slices.Clone(inv.Images), pushed), now.AddDate(2, 0, 0))
		if taken := fates[len(fates)-1].Now; taken == live {
			t.Errorf("live %t: it takes the image that is pushed again: %t\n%s", live, taken, a.Policy)
		}
	}
}

// TestOfRestored: an image that was restored from the archive is old to a plan and young to a policy, so that one made of its
// age would take images at once that the plan keeps.
func TestOfRestored(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for _, keeps := range []int{0, 3} {
		inv := &image.Inventory{Repository: repository("app")}
		add := func(days int, tags ...string) *image.Image {
			inv.Images = append(inv.Images, image.Image{Digest: image.Digest(fmt.Sprintf("sha256:%064x", len(inv.Images))), Bytes: 1,
				PushedAt: now.AddDate(0, 0, -days), MediaType: image.MediaTypeOCIManifest, Tags: tags})
			return &inv.Images[len(inv.Images)-1]
		}
		add(200, "dev-1").ActivatedAt = now.AddDate(0, 0, -10)
		add(190, "dev-2")
		add(60, "dev-3")
		add(20, "dev-4")
		add(5, "prod-1")
		use := image.Use{Ref: image.Ref{Repository: inv.Repository, Tag: "prod-1"}, Source: "ecs-task", Account: "111111111111", Region: "us-east-1", Resource: "arn:task"}
		rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 30 * 24 * time.Hour, KeepCount: keeps}}}
		plan := planner.Merge(rules, now, planner.Usage{Uses: []image.Use{use}}).Repository(inv)
		a := Of(plan, now)
		if a.Policy == "" {
			continue
		}
		p, problems := lifecycle.Parse(a.Policy)
		if p == nil {
			t.Fatalf("%+v", problems)
		}
		for i, f := range p.Evaluate(inv.Images, now) {
			if d := &plan.Decisions[i]; f.Now && d.Action != planner.Delete {
				t.Errorf("keep_count %d: it takes %v, which the plan keeps: %q", keeps, d.Image.Tags, a.Why)
			}
		}
	}
}

// hostile is a policy whose text means something to Terraform, CloudFormation and YAML.
const hostile = `{
  "rules": [
    {
      "description": "${file(\"/etc/passwd\")} %{ for x in y } $${z} ${AWS::AccountId} \\n \" # : - POLICY é 🚢"
    }
  ]
}`

// TestTexts: what a reader of each format gets is the policy, and nothing in it means anything.
func TestTexts(t *testing.T) {
	a := &Advice{Repository: repository("prod/app.x"), Policy: hostile}
	texts := a.texts()
	var want, got any
	if err := json.Unmarshal([]byte(hostile), &want); err != nil {
		t.Fatal(err)
	}
	same := func(name, text string) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		x, _ := json.Marshal(want)
		if y, _ := json.Marshal(got); string(x) != string(y) {
			t.Errorf("%s: %s", name, y)
		}
	}
	for _, text := range texts {
		if strings.ContainsFunc(text, func(r rune) bool { return r > 0x7e || r < 0x20 && r != '\n' }) {
			t.Errorf("not plain ASCII: %q", text)
		}
	}
	same("JSON", texts[0])

	_, body, _ := strings.Cut(texts[1], "<<POLICY\n")
	body, rest, ok := strings.Cut(body, "\nPOLICY\n")
	if !ok || rest != "}\n" {
		t.Fatalf("the here document: %s", texts[1])
	}
	// A template begins with ${ or %{, unless its sign is doubled.
	for i := range body {
		if i > 0 && body[i] == '{' && strings.ContainsRune("$%", rune(body[i-1])) && (i < 2 || body[i-2] != body[i-1]) {
			t.Errorf("a template at %q", body[i-1:min(len(body), i+9)])
		}
	}
	same("Terraform", strings.NewReplacer("$${", "${", "%%{", "%{").Replace(body))
	if !strings.Contains(texts[1], `resource "aws_ecr_lifecycle_policy" "ecr_prod_app_x_`) || !strings.Contains(texts[1], `repository = "prod/app.x"`) {
		t.Errorf("%s", texts[1])
	}

	_, block, _ := strings.Cut(texts[2], "LifecyclePolicyText: |\n")
	var lines []string
	for line := range strings.Lines(block) {
		inner, ok := strings.CutPrefix(line, "          ")
		if !ok {
			t.Fatalf("outside of the block: %q", line)
		}
		lines = append(lines, inner)
	}
	same("CloudFormation", strings.Join(lines, ""))
	if strings.Contains(texts[2], "Fn::Sub") || !strings.Contains(texts[2], "  RepositoryProdAppX") || !strings.Contains(texts[2], `RegistryId: "111111111111"`) {
		t.Errorf("%s", texts[2])
	}
}

// TestLabels: repositories whose names differ in separators alone are different resources.
func TestLabels(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"a/b", "a-b", "a.b", "a_b"} {
		for _, s := range []string{label(repository(name)), logicalID(repository(name))} {
			if seen[s] {
				t.Errorf("%s twice", s)
			}
			seen[s] = true
		}
	}
	if id := logicalID(repository(strings.Repeat("a/", 100) + "a")); len(id) > 255 {
		t.Errorf("a logical id of %d characters", len(id))
	}
}

// fill writes a directory for these repositories, with policies for some of them.
func fill(t *testing.T, dir string, policies map[string]bool) []*Advice {
	t.Helper()
	var all []image.Repository
	for name := range policies {
		all = append(all, repository(name))
	}
	slices.SortFunc(all, image.CompareRepositories)
	f, err := Open(dir, all)
	if err != nil {
		t.Fatal(err)
	}
	var list []*Advice
	for _, r := range all {
		a := &Advice{Repository: r}
		if policies[r.Name] {
			a.Policy, a.Expires = hostile, planner.Tally{Images: 1}
		}
		if err := f.Put(a); err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	files, err := f.Finish()
	if err != nil {
		t.Fatal(err)
	}
	err = f.Write(Summary, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(map[string]any{"schema": Schema, "files": files})
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return list
}

func files(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir {
			name, _ := filepath.Rel(dir, path)
			list = append(list, strings.TrimPrefix(filepath.ToSlash(name), "111111111111/us-east-1/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

// TestFolder: what an earlier run has left goes where it is not written again, and what others have put there stays.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	fill(t, dir, map[string]bool{"a": true, "b/c": true, "d": false})
	if got := files(t, dir); got != "111111111111 111111111111/us-east-1 a.cfn.yaml a.json a.tf b b/c.cfn.yaml b/c.json b/c.tf summary.json" {
		t.Errorf("%s", got)
	}
	own := filepath.Join(dir, "111111111111", "us-east-1", "provider.tf")
	if err := os.WriteFile(own, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, map[string]bool{"a": true, "b/c": false, "d": true})
	if got := files(t, dir); got != "111111111111 111111111111/us-east-1 a.cfn.yaml a.json a.tf d.cfn.yaml d.json d.tf provider.tf summary.json" {
		t.Errorf("%s", got)
	}
	fill(t, dir, nil)
	if got := files(t, dir); got != "111111111111 111111111111/us-east-1 provider.tf summary.json" {
		t.Errorf("%s", got)
	}
}

// TestHandWritten: a file that somebody has put where a repository's would be is neither removed nor replaced.
func TestHandWritten(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]bool{"a": true})
	own := filepath.Join(dir, "111111111111", "us-east-1", "b.json")
	if err := os.WriteFile(own, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []bool{false, true, false} {
		list := fill(t, dir, map[string]bool{"a": true, "b": policy})
		if got, _ := os.ReadFile(own); string(got) != "mine" {
			t.Fatalf("policy %t: %q", policy, got)
		}
		if policy && (len(list[1].Files) > 0 || len(list[1].Why) != 1) {
			t.Errorf("%+v", list[1])
		}
	}
	f, err := Open(dir, []image.Repository{repository("a"), repository("b")})
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close() // interrupted
	fill(t, dir, map[string]bool{"a": true, "b": false})
	if got, _ := os.ReadFile(own); string(got) != "mine" {
		t.Errorf("after an interruption: %q", got)
	}
}

// TestInterrupted: a run that was killed leaves files that the next one knows.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(dir, []image.Repository{repository("a"), repository("b")})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Put(&Advice{Repository: repository("a"), Policy: hostile}); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	fill(t, dir, map[string]bool{"b": true})
	if got := files(t, dir); strings.Contains(got, "a.json") || !strings.Contains(got, "b.json") {
		t.Errorf("%s", got)
	}
}

func TestForeign(t *testing.T) {
	for name, content := range map[string]string{"main.tf": "", "summary.json": `{"schema": "another/1"}`, "README.md": "# mine"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, nil); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != content {
			t.Errorf("%s was overwritten", name)
		}
	}
	if err := Check(filepath.Join(t.TempDir(), "new")); err != nil {
		t.Error(err)
	}
}

// TestNothingOutside: neither a listed file nor a link leads out of the directory.
func TestNothingOutside(t *testing.T) {
	top := t.TempDir()
	dir, other := filepath.Join(top, "out"), filepath.Join(top, "other")
	victim := filepath.Join(other, "a.json")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(other, 0o755), os.WriteFile(victim, []byte("mine"), 0o644),
		os.WriteFile(filepath.Join(dir, Summary), []byte(`{"schema": "`+Schema+`", "files": ["../other/a.json", "/etc/passwd", "111111111111/us-east-1/../../../other/a.json", "mine.json"]}`), 0o644),
		os.WriteFile(filepath.Join(dir, "mine.json"), nil, 0o644), os.Mkdir(filepath.Join(dir, "111111111111"), 0o755)); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, nil)
	for _, name := range []string{victim, filepath.Join(dir, "mine.json")} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "111111111111")), os.Mkdir(filepath.Join(dir, "111111111111"), 0o755), os.Symlink(other, filepath.Join(dir, "111111111111", "us-east-1"))); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, []image.Repository{repository("a")})
	if err != nil {
		t.Fatal(err)
	}
	a := &Advice{Repository: repository("a"), Policy: hostile}
	err = f.Put(a)
	_ = f.Close()
	if data, _ := os.ReadFile(victim); string(data) != "mine" {
		t.Errorf("a link was followed (%v)", err)
	}
	if err == nil && len(a.Files) > 0 {
		t.Error("nothing says that it could not be written")
	}
}

// TestObstructed: "a" has a file where "a.json/b" needs a directory.
func TestObstructed(t *testing.T) {
	list := fill(t, t.TempDir(), map[string]bool{"a": true, "a.json/b": true})
	if len(list[0].Files) != 3 || len(list[1].Files) != 0 || len(list[1].Why) != 1 || list[1].Expires.Images != 0 {
		t.Errorf("%+v %+v", list[0], list[1])
	}
}
