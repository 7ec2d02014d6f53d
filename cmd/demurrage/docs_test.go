package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/urfave/cli/v2"

	"demurrage/accounts"
	"demurrage/internal/orgsim"
)

// TestCLIReference holds docs/cli.md to the program.
func TestCLIReference(t *testing.T) {
	t.Parallel()
	const path = "../../docs/cli.md"
	got := cliReference(newApp(nil, nil))
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the program says: go test ./cmd/demurrage -run TestCLIReference -update", path)
	}
}

func cliReference(app *cli.App) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, `# Command reference

Made from the program by its tests; `+"`demurrage COMMAND --help`"+` says the same.

Flags stand before arguments. Each can be given by the environment too; a flag outranks its variable. What the exit codes
mean, and what each command needs, is in the [README](../README.md#commands).

`)
	commands := allCommands(app)
	for _, c := range commands {
		fmt.Fprintf(&b, "- [`%s`](#%s): %s\n", c.path, strings.ReplaceAll(c.path, " ", "-"), c.Usage)
	}
	b.WriteString("\n## Flags of every command\n\nThey stand before or behind the command's name; behind it they win.\n\n")
	writeFlags(&b, app.Flags)
	for _, c := range commands {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", c.path, strings.ToUpper(c.Usage[:1])+c.Usage[1:])
		own := slices.DeleteFunc(slices.Clone(c.Flags), func(f cli.Flag) bool {
			categorized, ok := f.(cli.CategorizableFlag)
			return ok && categorized.GetCategory() == "shared" || !f.(cli.VisibleFlag).IsVisible()
		})
		synopsis := c.path
		if len(c.Subcommands) > 0 {
			synopsis += " COMMAND"
		}
		if len(own) > 0 {
			synopsis += " [flags]"
		}
		if c.ArgsUsage != "" {
			synopsis += " " + c.ArgsUsage
		}
		fmt.Fprintf(&b, "```text\n%s\n```\n", synopsis)
		writeDescription(&b, c.Description)
		if len(own) > 0 {
			b.WriteString("\n")
			writeFlags(&b, own)
		}
	}
	return b.Bytes()
}

// documented is a command with the names of those above it.
type documented struct {
	*cli.Command
	path string
}

// allCommands are the commands and theirs, sorted.
func allCommands(app *cli.App) []documented {
	var all []documented
	var add func(above string, commands []*cli.Command)
	add = func(above string, commands []*cli.Command) {
		for _, c := range commands {
			if !c.Hidden && c.Name != "help" {
				all = append(all, documented{c, above + c.Name})
				add(above+c.Name+" ", c.Subcommands)
			}
		}
	}
	add("", app.Commands)
	slices.SortFunc(all, func(a, b documented) int { return cmp.Compare(a.path, b.path) })
	return all
}

// remark is what stands behind an example, apart from it.
var remark = regexp.MustCompile(`^(\S.*?\S)(\s{3,})(\S.*)$`)

// writeDescription writes paragraphs as they are and examples, which are set in by two blanks, as code.
func writeDescription(b *bytes.Buffer, text string) {
	code := false
	fence := func(want bool) {
		if code != want {
			b.WriteString(map[bool]string{true: "\n```sh\n", false: "```\n"}[want])
			code = want
		}
	}
	paragraph := true
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		example, ok := strings.CutPrefix(line, "  ")
		switch {
		case line == "":
			fence(false)
			paragraph = true
		case ok:
			fence(true)
			if comment := strings.TrimLeft(example, " "); len(example)-len(comment) >= 8 { // goes on from the line above
				example = example[:len(example)-len(comment)] + "# " + comment
			}
			fmt.Fprintln(b, remark.ReplaceAllString(example, "$1$2# $3"))
		default:
			fence(false)
			if paragraph {
				b.WriteString("\n")
			}
			paragraph = false
			fmt.Fprintln(b, line)
		}
	}
	fence(false)
}

// writeFlags writes a table of flags, in the program's order.
func writeFlags(b *bytes.Buffer, flags []cli.Flag) {
	b.WriteString("| flag | default | environment | |\n| --- | --- | --- | --- |\n")
	for _, f := range flags {
		d := f.(cli.DocGenerationFlag)
		name, usage := "--"+f.Names()[0], d.GetUsage()
		if d.TakesValue() {
			value := "VALUE"
			if _, rest, ok := strings.Cut(usage, "`"); ok {
				value, _, _ = strings.Cut(rest, "`")
			}
			name += " " + value
		}
		fallback := ""
		switch f := f.(type) {
		case *cli.StringFlag:
			fallback = f.Value
		case *cli.StringSliceFlag:
			if f.Value != nil {
				fallback = strings.Join(f.Value.Value(), ", ")
			}
		case *cli.IntFlag:
			fallback = fmt.Sprint(f.Value)
		}
		var cells []string
		for _, cell := range []string{name, fallback, strings.Join(d.GetEnvVars(), ", ")} {
			if cell != "" {
				cell = "`" + cell + "`"
			}
			cells = append(cells, cell)
		}
		cells = append(cells, strings.ReplaceAll(strings.ReplaceAll(usage, "`", ""), "|", `\|`))
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

// TestHelpHasExamples asks each command for an example of itself.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	for _, c := range allCommands(newApp(nil, nil)) {
		if !regexp.MustCompile(`(?m)^  (.* && )?demurrage ` + c.path + `\b`).MatchString(c.Description) {
			t.Errorf("demurrage %s --help has no example", c.path)
		}
	}
}

// documents are the files whose command lines are run, and what has to be in their directory beside what all have.
func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatal("there are no documents", err)
	}
	return append(paths, "../../README.md")
}

// unconfigured are the documents that begin without an accounts.toml.
var unconfigured = []string{"getting-started.md"}

// docEdits are what a document tells its reader to do to a file before a line, which begins so.
var docEdits = map[string][]docEdit{
	"getting-started.md": {{before: "demurrage plan --out plan.json --accept-incomplete", file: "accounts.toml",
		pattern: `(id = "223344556677"\n(?:.+\n)*?enforce = )false`, with: "${1}true"}},
}

type docEdit struct{ before, file, pattern, with string }

// notRun are the lines of code that are not run as they stand, by a pattern, and why.
var notRun = map[string]string{
	`^go (build|test|run)\b`: "builds this program, or runs these tests",
	`(\./)?demurrage sim\b`:  "serves until it is interrupted: sim.txtar runs it",
	`^kubectl apply\b`:       "there is no cluster",
	`^aws eks\b`:             "there is no cluster: TestRealKubernetes has one",
	`^aws cloudformation\b`:  "CloudFormation is not simulated: moto creates the roles elsewhere",
	`\bmailto:|arn:aws:sns:`: "SES and SNS are not simulated: moto delivers elsewhere",
	`^demurrage demo\b`:      "takes long: demo.txtar and the README run it",
	`\baws ecr put-lifecycle-policy --registry-id 111111111111 `: "an example of a repository that there is not",
	`^curl\b`: "sets the simulation's clock, which other lines rely on",
}

// docExits are exit codes that the text says, and no remark behind the line.
var docExits = map[string]int{
	"demurrage delete": exitRefused, // nobody types the number
	"demurrage generate --hub-role arn:aws:iam::111111111111:role/DemurrageHub":                   exitIncomplete, // the roles ask for an external id
	"demurrage generate --account 111111111111 --account 222222222222 --region us-east-1 --out -": exitIncomplete, // so do these
}

// docLine is a line of code of a document, with those that continue it.
type docLine struct {
	number int
	text   string
	exit   int
}

var (
	exitRemark  = regexp.MustCompile(`#.*\bexits (\d+)`)
	listedCode  = regexp.MustCompile(`^ {4,}(\S.*)$`)
	programs    = regexp.MustCompile(`^([A-Z_]+=\S+ )*(\./)?(demurrage|go|aws|kubectl|export|curl|jq) `)
	commandName = regexp.MustCompile(`\bdemurrage((?: --?[a-z-]+(?:[= ][^ -][^ ]*)?)*) ([a-z]+)\b`)
	runID       = regexp.MustCompile(`\b\d{8}T\d{6}Z-[0-9a-f]{4}\b`)
)

// docLines are the lines of code: of blocks fenced as sh, and those that are set in and begin with a known program.
func docLines(t *testing.T, text string) (lines []docLine) {
	t.Helper()
	fence := ""
	var open *docLine
	for i, line := range strings.Split(text, "\n") {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "```") {
			if fence == "" {
				fence = cmp.Or(strings.TrimPrefix(trimmed, "```"), "none")
				if !slices.Contains([]string{"sh", "toml", "json", "text", "yaml"}, fence) {
					t.Errorf("line %d: a block of %q: name sh, which is run, toml, which is read, or json, text, yaml", i+1, fence)
				}
			} else {
				fence = ""
			}
			continue
		}
		code := strings.TrimSpace(line)
		if fence != "sh" && open == nil {
			if m := listedCode.FindStringSubmatch(line); fence != "" || m == nil || !programs.MatchString(m[1]) {
				continue
			}
		}
		if open == nil {
			if code == "" || strings.HasPrefix(code, "#") {
				continue
			}
			lines = append(lines, docLine{number: i + 1})
			open = &lines[len(lines)-1]
		}
		rest, goesOn := strings.CutSuffix(code, "\\")
		open.text += rest
		if m := exitRemark.FindStringSubmatch(rest); m != nil {
			open.exit, _ = strconv.Atoi(m[1])
		}
		if !goesOn {
			bare, _, _ := strings.Cut(open.text, "   ")
			if exit, ok := docExits[strings.TrimSpace(bare)]; ok {
				open.exit = exit
			}
			open = nil
		}
	}
	return lines
}

// docConfig is the accounts.toml of the documents that begin with one. The organization is a part of the demo's.
const docConfig = `[assume]
role        = "DemurrageRead"
sweep_role  = "DemurrageSweep"
external_id = "northquay-demurrage"

[organization]
discover = true

[scan]
regions = ["us-east-1"]

[billing]
cost_explorer = false

[[accounts]]
id      = "222222222222"
name    = "platform"

[[accounts]]
id      = "223344556677"
name    = "ci"
enforce = true

[[attestations]]
accounts = ["700000000001"]
reason   = "closed account"
expires  = "2045-12-31"

[[repositories]]
name_pattern = "*"
expires      = "30d"
keep_count   = 2
`

// docWorld is an organization of a few accounts, in which all that documents name is there, and a directory with the
// files that they name.
func docWorld(t *testing.T) *world {
	t.Helper()
	const ci, closed = "223344556677", "700000000001"
	w := &world{Server: orgsim.New(), reporter: t, dir: t.TempDir(), hub: accountA, region: virginia, callers: map[string]string{}}
	w.LimitRegions(virginia)
	for id, name := range map[string]string{accountA: "security-hub", accountB: "platform", ci: "ci", closed: "legacy-edi"} {
		w.AddAccount(id, name)
	}
	t.Cleanup(w.serve())
	management := organizations.NewFromConfig(w.as(orgsim.ManagementAccount, virginia))
	done(management.RegisterDelegatedAdministrator(t.Context(), &organizations.RegisterDelegatedAdministratorInput{
		AccountId: aws.String(accountA), ServicePrincipal: aws.String("account.amazonaws.com")}))(w)
	done(management.CloseAccount(t.Context(), &organizations.CloseAccountInput{AccountId: aws.String(closed)}))(w)
	for _, account := range []string{orgsim.ManagementAccount, accountB, ci} {
		for _, name := range []string{"DemurrageRead", "DemurrageSweep"} {
			w.namedRole(account, name, w.trustPolicy(accountA, "northquay-demurrage"))
		}
	}
	w.namedRole(accountA, "DemurrageHub", `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "111111111111"}}]}`)

	push := func(days int, account, repository string, tags ...string) {
		w.SetClock(ago(days))
		defer w.SetClock(time.Time{})
		for _, tag := range tags {
			done(w.ecr(account, virginia).PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &repository, ImageTag: &tag,
				ImageManifest: aws.String(manifest(fmt.Sprint(repository, days)))}))(w)
		}
	}
	w.repository(accountB, virginia, "platform/envoy-sidecar")
	w.repository(accountB, virginia, "prod/declare")
	w.repository(ci, virginia, "ci/build-cache")
	done(w.ecr(accountB, virginia).SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{
		RepositoryName: aws.String("platform/envoy-sidecar"), PolicyText: aws.String(strings.ReplaceAll(pullPolicy, accountB, closed))}))(w)
	for i := range 8 {
		push(400-40*i, accountB, "platform/envoy-sidecar", fmt.Sprintf("v1.%d.0", i))
		push(400-40*i, accountB, "prod/declare", fmt.Sprintf("dev-%d", i), fmt.Sprintf("prod-%d", i))
		push(400-40*i, ci, "ci/build-cache", fmt.Sprintf("build-%d", i))
	}
	const own = "222222222222.dkr.ecr.us-east-1.amazonaws.com/"
	w.cluster(accountB, virginia)
	w.service("lookup", w.register(virginia, "lookup", own+"platform/envoy-sidecar:v1.1.0"), 1, "")
	w.service("declare", w.register(virginia, "declare", own+"prod/declare:prod-2"), 1, "")
	for repository, selection := range map[string]string{
		"platform/envoy-sidecar": `"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5`,
		"prod/declare":           `"tagStatus": "tagged", "tagPrefixList": ["dev-"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30`,
	} {
		done(w.ecr(accountB, virginia).PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: &repository, LifecyclePolicyText: aws.String(
			`{"rules": [{"rulePriority": 1, "selection": {` + selection + `}, "action": {"type": "expire"}}]}`)}))(w)
	}
	for _, bucket := range []string{"finance-reports", "demurrage-111111111111"} {
		done(s3.NewFromConfig(w.as(accountA, virginia), func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}))(w)
	}
	const ref = "222222222222.dkr.ecr.us-east-1.amazonaws.com/platform/envoy-sidecar:v1.1.0"
	for name, text := range map[string]string{
		"hosts.txt": "# host 1\n" + ref + "\n", "rack1.txt": ref + "\n", "rack2.txt": ref + "\n",
		"images.json": `["` + ref + `"]`,
		"ecrm.yaml": `clusters: [{name_pattern: "*"}]
task_definitions: [{name_pattern: "*", keep_count: 5}]
lambda_functions: [{name_pattern: "*", keep_count: 5}]
repositories:
  - {name_pattern: "prod/*", expires: 90d, keep_count: 5, keep_tag_patterns: [latest]}
  - {name_pattern: "*", expires: 30d, keep_count: 5, keep_tag_patterns: [latest]}
`,
		// What kubectl prints.
		".kubectl": `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"name": "proxy", "namespace": "edge"}, "spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "` + ref + `"}]}}}}]}`,
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"} {
		if err := os.MkdirAll(filepath.Join(w.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// namedRole makes a role that may do everything.
func (w *world) namedRole(account, name, trust string) {
	w.Helper()
	c := iam.NewFromConfig(w.as(account, w.region))
	done(c.CreateRole(w.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}))(w)
	done(c.PutRolePolicy(w.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("all"), PolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)}))(w)
}

// TestDocs runs every line of code of the documents in order, each document in a directory and an organization of its
// own, and asks for the exit code that stands behind it ("# exits 2"), or 0.
func TestDocs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not here")
	}
	for _, path := range documents(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := docLines(t, string(text))
			if len(lines) == 0 {
				return
			}
			w := docWorld(t)
			d := docRun{world: w, app: newApp(nil, nil), configured: !slices.Contains(unconfigured, filepath.Base(path))}
			if d.configured {
				w.config(docConfig)
			}
			for _, line := range lines {
				for _, edit := range docEdits[filepath.Base(path)] {
					if strings.HasPrefix(line.text, edit.before) {
						d.edit(t, edit)
					}
				}
				d.run(t, line)
			}
		})
	}
}

// docRun is a document that is being run.
type docRun struct {
	*world
	exports    []string
	app        *cli.App
	configured bool // there is an accounts.toml from the beginning
}

func (d *docRun) edit(t *testing.T, e docEdit) {
	t.Helper()
	path := filepath.Join(d.dir, e.file)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	after := regexp.MustCompile(e.pattern).ReplaceAll(before, []byte(e.with))
	if bytes.Equal(after, before) {
		t.Fatalf("%s: there is nothing to edit for %q:\n%s", e.file, e.before, before)
	}
	if err := os.WriteFile(path, after, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *docRun) run(t *testing.T, line docLine) {
	t.Helper()
	for _, pattern := range slices.Sorted(maps.Keys(notRun)) {
		if regexp.MustCompile(pattern).MatchString(line.text) && !strings.HasPrefix(line.text, "go run ./cmd/demurrage ") {
			return
		}
	}
	text := strings.NewReplacer("go run ./cmd/demurrage", "demurrage", "./demurrage", "demurrage", "http://127.0.0.1:4566", d.url).Replace(line.text)
	if m := commandName.FindStringSubmatch(text); m != nil && d.app.Command(m[2]) == nil && m[2] != "help" {
		t.Errorf("line %d: %s: there is no command %s", line.number, line.text, m[2])
		return
	}
	for _, tool := range []string{"aws", "jq"} {
		if _, err := exec.LookPath(tool); err != nil && regexp.MustCompile(`\b`+tool+` `).MatchString(text) {
			return
		}
	}
	if runID.MatchString(text) {
		text = runID.ReplaceAllString(text, d.lastRun(t))
	}
	text = strings.ReplaceAll(text, "--month 2026-10", "--month "+time.Now().UTC().Format("2006-01"))
	if rest, ok := strings.CutPrefix(text, "export "); ok {
		d.exports = append(d.exports, strings.Fields(rest)...)
		return
	}
	dir := d.dir
	if d.configured && strings.HasPrefix(text, "demurrage generate ") && !strings.Contains(text, "--out") { // it overwrites nothing
		dir = t.TempDir()
		if err := os.Link(filepath.Join(d.dir, "ecrm.yaml"), filepath.Join(dir, "ecrm.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.ReplaceAll(text, "example-1234", "northquay-demurrage")
	cmd := exec.Command("bash", "-c", "set -o pipefail; kubectl() { cat .kubectl; }; "+text)
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "AWS_") || strings.HasPrefix(e, "DEMURRAGE_") })
	cmd.Env = append(cmd.Env, d.environment()...)
	cmd.Env = append(append(cmd.Env, "AWS_DEFAULT_REGION="+d.region, "AWS_PAGER="), d.exports...)
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if code := cmd.ProcessState.ExitCode(); code != line.exit {
		t.Errorf("line %d: %s: exit code %d instead of %d, %v\n%.3000s", line.number, line.text, code, line.exit, exit, out)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Logf("line %d: %s took %s", line.number, line.text, took.Round(time.Second))
	}
}

// lastRun is the id of the last run in the store, for the id that documents write.
func (d *docRun) lastRun(t *testing.T) string {
	t.Helper()
	runs, err := filepath.Glob(filepath.Join(d.dir, "demurrage-data", "runs", "*"))
	if err != nil || len(runs) == 0 {
		t.Fatal("no run is stored yet", err)
	}
	return runID.FindString(slices.Max(runs))
}

// TestDocsConfig reads every piece of configuration in the documents.
func TestDocsConfig(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```")
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range blocks.FindAllSubmatch(text, -1) {
			config := string(m[1])
			if !strings.Contains(config, "[assume]") {
				config += "\n[assume]\nrole = \"DemurrageRead\"\n"
			}
			if !strings.Contains(config, "[[accounts]]") && !strings.Contains(config, "discover") {
				config += "\n[[accounts]]\nid = \"222222222222\"\n"
			}
			if _, err := accounts.Parse(filepath.Base(path), []byte(config)); err != nil {
				t.Errorf("%s: %v\n%s", path, err, config)
			}
		}
	}
}

// TestTroubleshooting asks that every message of docs/troubleshooting.md, which stands in a heading or in the first column
// of a table, is one of the program's, unless it is AWS's.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	foreign := []string{
		"accounts.toml:12:1: …",                                 // a place
		"AccessDeniedException", "is not authorized to perform", // AWS
		"ThrottlingException", "TooManyRequestsException", "Rate exceeded", "no such host", // AWS, and the network
		"dial tcp", "context deadline exceeded",
	}
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, pattern := range []string{"*.go", "../../accounts/*.go", "../../assume/*.go", "../../planner/*.go", "../../internal/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "orgsim") {
				continue
			}
			code, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(code)
		}
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	messages := 0
	for line := range strings.Lines(string(text)) {
		var found [][]string
		if strings.HasPrefix(line, "### ") {
			found = quoted.FindAllStringSubmatch(line, -1)
		} else if strings.HasPrefix(line, "| `") {
			found = quoted.FindAllStringSubmatch(line, 1)
		}
		for _, m := range found {
			messages++
			if !slices.Contains(foreign, m[1]) && !strings.Contains(source.String(), m[1]) {
				t.Errorf("no message of the program has %q", m[1])
			}
		}
	}
	if messages < 40 {
		t.Errorf("%d messages were found", messages)
	}
}

// TestHelpFits asks that --help of each command fits 130 columns.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	for _, c := range allCommands(newApp(nil, nil)) {
		var help bytes.Buffer
		app := newApp(&help, &help)
		if err := app.Run(append(strings.Fields("demurrage "+c.path), "--help")); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(help.String(), "--config FILE") {
			t.Errorf("demurrage %s --help has no flags:\n%s", c.path, help.String())
		}
		for line := range strings.Lines(help.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 130 {
				t.Errorf("demurrage %s --help: %d columns: %s", c.path, n, line)
			}
		}
	}
}
