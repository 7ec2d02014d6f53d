package delivery

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// topic is a standard topic of SNS.
type topic struct{ arn, region string }

// The limits of Publish.
const (
	maxTopicSubject   = 99      // "less than 100 characters"
	maxTopicMessage   = 1 << 18 // bytes of the text and the attributes: their names, types and values
	maxAttributeValue = 256     // characters; ours, so that the text has room
)

var (
	partition = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountID = regexp.MustCompile(`^[0-9]{12}$`)
	topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
)

func parseTopic(arn string) (Destination, error) {
	p := strings.Split(arn, ":")
	switch {
	case len(p) < 6 || p[2] != "sns":
		return nil, errors.New("it is not the ARN of a topic: arn:aws:sns:REGION:ACCOUNT:TOPIC")
	case len(p) > 6:
		return nil, errors.New("it is not the ARN of a topic: one of a subscription has a part more")
	case !partition.MatchString(p[1]):
		return nil, fmt.Errorf("%q is not a partition", p[1])
	case !regionName.MatchString(p[3]):
		return nil, fmt.Errorf("%q is not a region", p[3])
	case !accountID.MatchString(p[4]):
		return nil, fmt.Errorf("%q is not an account id of 12 digits", p[4])
	case strings.HasSuffix(p[5], ".fifo"):
		return nil, errors.New("a FIFO topic takes no such messages: use a standard one")
	case !topicName.MatchString(p[5]):
		return nil, fmt.Errorf("%q is not the name of a topic", p[5])
	}
	return topic{arn, p[3]}, nil
}

func (t topic) String() string { return t.arn }

func (t topic) actions() []string { return []string{"sns:Publish"} }

func (t topic) deliver(ctx context.Context, cfg aws.Config, m Message) error {
	client := sns.NewFromConfig(cfg, func(o *sns.Options) { o.Region = t.region })
	if _, err := client.Publish(ctx, t.input(m)); err != nil {
		key := "allow kms:GenerateDataKey and kms:Decrypt on the key that encrypts the topic, in the key's policy too"
		return advise(err, map[string]string{
			"AuthorizationError": "allow sns:Publish on it, in the topic's policy too where it is another account's",
			"NotFound":           "make the topic, or correct the ARN",
			"KMSAccessDenied":    key,
			"KMSNotFound":        "the key that encrypts the topic does not exist",
			"KMSDisabled":        "the key that encrypts the topic is disabled",
		})
	}
	return nil
}

func (t topic) input(m Message) *sns.PublishInput {
	size := 0
	attributes := map[string]types.MessageAttributeValue{}
	add := func(name, kind, value string) {
		if value = oneLine(value, maxAttributeValue); value == "" {
			return // SNS takes no empty ones
		}
		attributes[name] = types.MessageAttributeValue{DataType: aws.String(kind), StringValue: aws.String(value)}
		size += len(name) + len(kind) + len(value)
	}
	for name, value := range m.Attributes {
		add(name, "String", value)
	}
	for name, value := range m.Numbers {
		add(name, "Number", value)
	}
	in := &sns.PublishInput{TopicArn: &t.arn}
	if len(attributes) > 0 {
		in.MessageAttributes = attributes
	}
	if subject := asciiLine(m.Subject, maxTopicSubject); subject != "" {
		in.Subject = &subject
		size += len(subject)
	}
	// The files' places come behind what is cut: they are what a reader cannot do without.
	var places strings.Builder
	for _, f := range m.Files {
		if f.Location != "" {
			fmt.Fprintf(&places, "\n%s: %s", f.Name, f.Location)
		}
	}
	message := cut(harmless(m.Text), maxTopicMessage-size-places.Len()) + places.String()
	if strings.TrimSpace(message) == "" {
		message = "(no text)" // SNS takes no empty one
	}
	in.Message = &message
	return in
}
