package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	// ok is a rule that ECR takes; each case breaks it in one place.
	const ok = `{"rulePriority":1,"description":"d","selection":{"tagStatus":"tagged","tagPrefixList":["a"],"countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}`
	if p, problems := Parse(policyText(ok)); p == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	change := func(pairs ...string) string { return policyText(strings.NewReplacer(pairs...).Replace(ok)) }
	var many []string
	for i := range maxRules + 1 {
		many = append(many, rule(i+1, fmt.Sprintf("x%d", i), "1 images", "expire"))
	}
	tests := []struct{ name, text, code, says string }{
		{"nothing", "", "syntax", "not the JSON"},
		{"no JSON", "rules", "syntax", "not the JSON"},
		{"cut off", policyText(ok)[:50], "syntax", "not the JSON"},
		{"not UTF-8", "{\"rules\xff\":[]}", "syntax", "UTF-8"},
		{"more than one", policyText(ok) + "{}", "syntax", "follows"},
		{"nested without end", strings.Repeat("[", 10_000), "syntax", "too deeply"},
		{"a key twice", change(`"countNumber":14`, `"countNumber":14,"countNumber":15`), "syntax", "twice"},
		{"a list", "[]", "syntax", "no object"},
		{"no rules key", "{}", "missing", "has no rules"},
		{"rules is an object", `{"rules":{}}`, "syntax", "rules is not a list"},
		{"no rules", policyText(), "no-rules", "no rules"},
		{"51 rules", policyText(many...), "too-many-rules", "51 rules"},
		{"30,721 characters", policyText(ok) + strings.Repeat(" ", maxText+1-len(policyText(ok))), "too-long", "30721 characters"},
		{"a key of the policy", `{"version":1,` + policyText(ok)[1:], "unknown-key", `"version"`},
		{"a key of the rule", change(`"description"`, `"comment"`), "unknown-key", `rule 1 has the key "comment"`},
		{"a key of the selection", change(`"tagStatus"`, `"tagstatus"`), "unknown-key", `"tagstatus"`},
		{"a key of the action", change(`"type":"expire"`, `"type":"expire","x":1`), "unknown-key", `its action has the key "x"`},
		{"a rule is a string", policyText(`"x"`), "syntax", "rule number 1 is no object"},
		{"a rule is null", policyText(`null`), "syntax", "rule number 1 is no object"},
		{"no priority", change(`"rulePriority":1,`, ``), "missing", "rule number 1 has no rulePriority"},
		{"priority 0", change(`"rulePriority":1`, `"rulePriority":0`), "priority", "starts at 1"},
		{"priority in quotes", change(`"rulePriority":1`, `"rulePriority":"1"`), "syntax", "whole number"},
		{"priority with a fraction", change(`"rulePriority":1`, `"rulePriority":1.5`), "syntax", "whole number"},
		{"priority beyond all", change(`"rulePriority":1`, `"rulePriority":99999999999999999999`), "syntax", "whole number"},
		{"a priority twice", policyText(ok, rule(1, "b*", "1 images", "expire")), "priority", "two rules"},
		{"description is a number", change(`"d"`, `1`), "syntax", "not a string"},
		{"no selection", change(`"selection"`, `"selektion"`), "missing", "has no selection"},
		{"no action", change(`,"action":{"type":"expire"}`, ``), "missing", "has no action"},
		{"no tag status", change(`"tagStatus":"tagged",`, ``), "missing", "tagStatus"},
		{"a tag status that is none", change(`"tagged"`, `"TAGGED"`), "value", `"TAGGED"`},
		{"tagged without a list", change(`"tagPrefixList":["a"],`, ``), "tag-lists", "neither"},
		{"tagged with an empty list", change(`["a"]`, `[]`), "tag-lists", "neither"},
		{"both lists", change(`"tagPrefixList"`, `"tagPatternList":["a*"],"tagPrefixList"`), "tag-lists", "one of them"},
		{"untagged with a list", change(`"tagged"`, `"untagged"`), "tag-lists", "tagged only"},
		{"any with a list", change(`"tagged"`, `"any"`), "tag-lists", "tagged only"},
		{"null in a list", change(`["a"]`, `["a",null]`), "syntax", "list of strings"},
		{"a list that is a string", change(`["a"]`, `"a"`), "syntax", "list of strings"},
		{"five wildcards", change(`"tagPrefixList":["a"]`, `"tagPatternList":["*a*b*c*d*"]`), "wildcards", "5 wildcards"},
		{"a count type that is none", change(`sinceImagePushed`, `sinceImageUsed`), "value", "sinceImageUsed"},
		{"no count type", change(`"countType":"sinceImagePushed",`, ``), "missing", "countType"},
		{"age without a unit", change(`"countUnit":"days",`, ``), "count-unit", "needs days"},
		{"age in hours", change(`"days"`, `"hours"`), "count-unit", "only days"},
		{"count with a unit", change(`sinceImagePushed`, `imageCountMoreThan`), "count-unit", "since… types only"},
		{"number 0", change(`14`, `0`), "count-number", "starts at 1"},
		{"number below 0", change(`14`, `-1`), "count-number", "starts at 1"},
		{"number is null", change(`14`, `null`), "syntax", "whole number"},
		{"no number", change(`,"countNumber":14`, ``), "missing", "countNumber"},
		{"an action that is none", change(`"expire"`, `"delete"`), "value", `"delete"`},
		{"a transition to nowhere", change(`"expire"`, `"transition"`), "action", "without the targetStorageClass"},
		{"a transition to a class that is none", change(`"expire"`, `"transition","targetStorageClass":"glacier"`), "value", "glacier"},
		{"expire with a target", change(`"expire"`, `"expire","targetStorageClass":"archive"`), "action", "transition only"},
		{"a target of null", change(`"expire"`, `"expire","targetStorageClass":null`), "syntax", "targetStorageClass is not a string"},
		{"expire by pulls", change(`sinceImagePushed`, `sinceImagePulled`), "action", "only transition"},
		{"archive by the push", change(`"countType"`, `"storageClass":"archive","countType"`), "storage-class", "sinceImageTransitioned only"},
		{"by the archive without the class", change(`sinceImagePushed`, `sinceImageTransitioned`, `14`, `90`), "storage-class", "needs the storageClass archive"},
		{"89 days in the archive", change(`"countType":"sinceImagePushed"`, `"storageClass":"archive","countType":"sinceImageTransitioned"`, `14`, `89`), "count-number", "90 days"},
		{"a transition in the archive", policyText(rule(1, "any", "90 days archived", "transition")), "action", "only expire"},
		{"a storage class that is none", change(`"countType"`, `"storageClass":"cold","countType"`), "value", "cold"},
		{"any is not the last", policyText(rule(1, "any", "1 images", "expire"), rule(2, "a*", "1 images", "expire")), "any", "highest rulePriority"},
		{"any twice", policyText(rule(1, "any", "1 images", "expire"), rule(2, "any", "3 days", "expire")), "any", "both for any"},
		{"untagged twice", policyText(rule(1, "untagged", "1 images", "expire"), rule(2, "untagged", "3 days", "expire")), "untagged", "both for untagged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, problems := Parse(tt.text)
			if p != nil {
				t.Errorf("taken: %+v", p)
			}
			if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Fatal && p.Code == tt.code && strings.Contains(p.Text, tt.says) }) {
				t.Errorf("%+v without %s: %s", problems, tt.code, tt.says)
			}
		})
	}
}

func TestParseTakes(t *testing.T) {
	longest := policyText(rule(1, "any", "1 images", "expire"))
	longest += strings.Repeat(" ", maxText-len(longest))
	for _, text := range []string{
		longest,
		policyText(rule(7, "untagged", "1 images", "expire"), rule(3, "a*b*c*d*", "1 days", "transition")),
		policyText(rule(1, "any", "30 days", "transition"), rule(2, "any", "365 days archived", "expire")),
		policyText(rule(2, "any", "30 days", "transition"), rule(1, "any", "365 days archived", "expire")),
		strings.Replace(policyText(rule(1, "any", "30 days", "expire")), `"countType"`, `"storageClass":"standard","countType"`, 1),
		strings.Replace(policyText(rule(1, "any", "30 days", "expire")), `"description":"Rule 1",`, "\n", 1),
	} {
		p, problems := Parse(text)
		if p == nil || len(problems) > 0 {
			t.Errorf("%v\n%s", problems, strings.TrimSpace(text))
			continue
		}
		if !slices.IsSortedFunc(p.Rules, func(a, b Rule) int { return a.Priority - b.Priority }) {
			t.Errorf("out of order: %+v", p.Rules)
		}
	}
}

func TestParseDoubts(t *testing.T) {
	prefixes := func(priority int, list string) string {
		return strings.Replace(rule(priority, list, "1 images", "expire"), "tagPatternList", "tagPrefixList", 1)
	}
	tests := []struct {
		name  string
		rules []string
		want  string // priority code, of each
	}{
		{"nothing", []string{rule(1, "prod*", "1 images", "expire"), rule(2, "dev*", "1 images", "expire"), rule(3, "any", "1 images", "expire")}, ""},
		{"OR was meant", []string{prefixes(1, "dev,qa")}, "1 and"},
		{"one prefix twice", []string{prefixes(1, "dev,dev")}, "1 duplicate"},
		{"a wildcard in a prefix", []string{prefixes(1, "dev*")}, "1 never-matches"},
		{"an empty prefix", []string{prefixes(1, "")}, "1 empty"},
		{"an empty pattern", []string{rule(1, "", "1 images", "expire")}, "1 never-matches"},
		{"the same", []string{prefixes(1, "dev"), rule(2, "dev*", "1 days", "expire")}, "2 duplicate"},
		{"narrower", []string{rule(1, "dev*", "1 images", "expire"), rule(2, "dev-web*", "1 days", "expire")}, "2 shadowed"},
		{"wider is not", []string{rule(1, "dev-web*", "1 images", "expire"), rule(2, "dev*", "1 days", "expire")}, ""},
		{"narrower by AND", []string{rule(1, "dev*", "1 images", "expire"), rule(2, "qa*,dev*", "1 days", "expire")}, "2 and 2 shadowed"},
		{"wider by AND is not", []string{rule(1, "qa*,dev*", "1 images", "expire"), rule(2, "dev*", "1 days", "expire")}, "1 and"},
		{"to the archive after it is gone", []string{rule(1, "dev*", "90 days", "expire"), rule(2, "dev*", "30 days", "transition")}, "2 contradictory"},
		{"nothing left for any", []string{rule(1, "*", "90 days", "expire"), rule(2, "untagged", "3 days", "expire"), rule(3, "any", "1 days", "expire")}, "3 shadowed"},
		{"another storage class", []string{rule(1, "any", "90 days", "transition"), rule(2, "dev*", "90 days archived", "expire")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, problems := Parse(policyText(tt.rules...))
			var got []string
			for _, problem := range problems {
				got = append(got, fmt.Sprintf("%d %s", problem.Priority, problem.Code))
			}
			if p == nil || strings.Join(got, " ") != tt.want {
				t.Errorf("%+v, want %s", problems, tt.want)
			}
		})
	}
}

// FuzzPolicy: whatever the text, nothing panics; a policy that is taken gives each image at most one rule, and the first that
// selects it shields it.
func FuzzPolicy(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		var rules []string
		for _, rule := range randomPolicy(r).Rules {
			rules = append(rules, ruleText(rule))
		}
		f.Add(policyText(rules...), seed)
	}
	for i, text := range []string{
		"", "{}", `{"rules":[]}`, `{"rules":null}`, `{"rules":[null,{}]}`, strings.Repeat("[", 100),
		policyText(rule(1, "any", "2147483647 days", "expire")),
		policyText(rule(1, "any", "2147483647 images", "expire")),
		policyText(rule(1, "a*b*c*d*", "1 images", "expire"), rule(2, ",", "1 days", "expire")),
		policyText(strings.Replace(rule(1, "*", "1 images", "expire"), "Pattern", "Prefix", 1)),
	} {
		f.Add(text, uint64(i))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		p, problems := Parse(text)
		fatal := slices.ContainsFunc(problems, func(p Problem) bool { return p.Fatal })
		if (p == nil) != fatal {
			t.Fatalf("%+v with %+v", p, problems)
		}
		if p == nil {
			return
		}
		images := repository(rand.New(rand.NewPCG(seed, 5)), int(seed%50))
		fates := p.Evaluate(images, now)
		if fault := faults(p, images, fates); fault != "" {
			t.Fatalf("%s\n%s", fault, text)
		}
	})
}

// ruleText is the JSON of a rule that randomPolicy made.
func ruleText(r Rule) string {
	tags := string(r.TagStatus)
	if r.TagStatus == Tagged {
		tags = strings.Join(r.TagPatterns, ",")
	}
	unit := map[CountType]string{ImageCountMoreThan: "images", SinceImagePushed: "days", SinceImagePulled: "days unpulled", SinceImageTransitioned: "days archived"}[r.CountType]
	return rule(r.Priority, tags, fmt.Sprintf("%d %s", r.CountNumber, unit), string(r.Action))
}
