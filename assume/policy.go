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
		text, err := json.Marshal(policy{Version: "2012-10-17", Statement: []statement{{"Allow", actions, "*"}}})
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

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect   string
	Action   []string
	Resource string
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
