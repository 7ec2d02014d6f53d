package assume

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// policyLimit is the length in characters that STS accepts.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const policyLimit = 2048

// AllowActions makes a session policy that allows these IAM actions ("ecr:DescribeImages") on everything, as far as
// the role allows them too, and nothing else. Where they do not fit into the 2,048 characters that STS takes, those of a
// service that begin with the same word of reading become one ("ecs:Describe*"), as few as need be. The text is compact
// and the same for the same actions in any order. No action at all, or more than fit even so, is an error.
func AllowActions(actions []string) (string, error) {
	if len(actions) == 0 {
		return "", fmt.Errorf("session policy: it would allow nothing")
	}
	actions = slices.Compact(slices.Sorted(slices.Values(actions)))
	for {
		text, err := json.Marshal(policy{Version: "2012-10-17", Statement: []statement{{"Allow", actions, resources{"*"}}}})
		if err != nil {
			return "", fmt.Errorf("session policy: %w", err)
		}
		if len(text) <= policyLimit {
			return string(text), nil
		}
		shorter := contract(actions)
		if shorter == nil {
			return string(text), checkPolicy(string(text))
		}
		actions = shorter
	}
}

// reading are the words that actions begin with which only read.
var reading = []string{"BatchDescribe", "BatchGet", "Describe", "Get", "List"}

// contract replaces the actions that share a service and a word of reading by one, where that saves most; nil if
// nothing can be saved any more.
func contract(actions []string) []string {
	length := map[string]int{}
	for _, a := range actions {
		if p := prefixOf(a); p != "" {
			length[p] += len(a) + len(`"",`)
		}
	}
	best, saved := "", 0
	for p, n := range length {
		if n -= len(p) + len(`*"",`); n > saved || n == saved && n > 0 && p < best {
			best, saved = p, n
		}
	}
	if saved == 0 {
		return nil
	}
	contracted := slices.DeleteFunc(slices.Clone(actions), func(a string) bool { return prefixOf(a) == best })
	contracted = append(contracted, best+"*")
	slices.Sort(contracted)
	return contracted
}

// prefixOf is the service and the word of reading that an action begins with, "" if it has none or stands for several.
func prefixOf(action string) string {
	service, name, _ := strings.Cut(action, ":")
	for _, word := range reading {
		if strings.HasPrefix(name, word) && !strings.HasSuffix(name, "*") {
			return service + ":" + word
		}
	}
	return ""
}

// Grant is a session policy and the resources that it is for.
type Grant struct {
	Policy    string
	Resources []string // ARNs, sorted
}

// AllowOn makes the session policies that allow one IAM action ("ecr:BatchDeleteImage") on exactly these resources, as
// far as the role allows it too, and nothing else: as few as fit into the 2,048 characters that STS takes. The ARNs
// are in order, and each is in one policy alone. No ARN at all, one that does not fit, one that lacks a part, and an
// action or ARN that may stand for several are errors.
func AllowOn(action string, arns []string) ([]Grant, error) {
	if _, name, _ := strings.Cut(action, ":"); name == "" || strings.ContainsAny(action, "*?") {
		return nil, fmt.Errorf("session policy: %q is not one action", action)
	}
	if len(arns) == 0 {
		return nil, fmt.Errorf("session policy: it would allow nothing")
	}
	for _, a := range arns {
		// IAM completes an ARN of fewer parts with wildcards, and fills in what stands in ${…}.
		if parts := strings.SplitN(a, ":", 6); len(parts) < 6 || parts[0] != "arn" || slices.Contains(parts, "") || strings.ContainsAny(a, "*?$") {
			return nil, fmt.Errorf("session policy: %q is not the ARN of one resource", a)
		}
	}
	var grants []Grant
	for rest := slices.Compact(slices.Sorted(slices.Values(arns))); len(rest) > 0; {
		var g Grant
		for n := 1; n <= len(rest); n++ {
			text, err := json.Marshal(policy{Version: "2012-10-17", Statement: []statement{{"Allow", []string{action}, rest[:n]}}})
			if err != nil {
				return nil, fmt.Errorf("session policy: %w", err)
			}
			if len(text) > policyLimit {
				break
			}
			g = Grant{string(text), rest[:n:n]}
		}
		if g.Policy == "" {
			return nil, fmt.Errorf("session policy: %.200q alone does not fit into the %d characters that STS takes", rest[0], policyLimit)
		}
		grants = append(grants, g)
		rest = rest[len(g.Resources):]
	}
	return grants, nil
}

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect   string
	Action   []string
	Resource resources
}

// resources are written as a list, and one alone as itself.
type resources []string

func (r resources) MarshalJSON() ([]byte, error) {
	if len(r) == 1 {
		return json.Marshal(r[0])
	}
	return json.Marshal([]string(r))
}

func checkPolicy(text string) error {
	if len(text) > policyLimit {
		return fmt.Errorf("session policy: it has %d characters, and STS takes %d", len(text), policyLimit)
	}
	if text != "" && !json.Valid([]byte(text)) {
		return fmt.Errorf("session policy: it is not JSON")
	}
	return nil
}
