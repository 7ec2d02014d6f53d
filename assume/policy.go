package assume

import (
	"encoding/json"
	"fmt"
	"slices"
)

// policyLimit is the length in characters that STS accepts.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const policyLimit = 2048

// AllowActions makes a session policy that allows these IAM actions ("ecr:DescribeImages", "ecs:List*") on
// everything, as far as the role allows them too, and nothing else. The text is compact and the same for the same
// actions in any order. No action at all, or more than fit into 2,048 characters, is an error.
func AllowActions(actions []string) (string, error) {
	if len(actions) == 0 {
		return "", fmt.Errorf("session policy: it would allow nothing")
	}
	actions = slices.Compact(slices.Sorted(slices.Values(actions)))
	text, err := json.Marshal(policy{Version: "2012-10-17", Statement: []statement{{"Allow", actions, "*"}}})
	if err != nil {
		return "", fmt.Errorf("session policy: %w", err)
	}
	return string(text), checkPolicy(string(text))
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
