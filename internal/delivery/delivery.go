// Package delivery sends a report to where people read it: files to a bucket (S3), a short message to a topic (SNS), a
// mail with the files attached (SES). It changes nothing else.
//
// What it sends has text from AWS in it, which is untrusted: no such text ends a header, controls a terminal or grows
// beyond what the receiver takes. A call whose answer is lost is made again, so that a message may come twice rather
// than never.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// Destination is where a report goes; Parse makes it.
type Destination interface {
	// String is what Parse takes.
	String() string

	actions() []string
	deliver(ctx context.Context, cfg aws.Config, m Message) error
}

// Message is a report, or the news that there is none.
type Message struct {
	Subject string // one line
	Text    string // plain text

	// Attributes and Numbers are for the filters of those who subscribe to a topic; other destinations have no use for
	// them. Numbers are decimal: -12.5. Together they are ten at most, since a queue that subscribes to raw messages loses those with more.
	Attributes map[string]string
	Numbers    map[string]string

	Files []File // none where a run failed
}

// File is a file of a report.
type File struct {
	Name        string // as the receiver sees it, without a directory
	Path        string // on this machine
	ContentType string // "": by the ending of Name
	Location    string // where it was put for others to fetch, if it was; DeliverAll fills it in
}

// Parse reads what a user wrote behind --to:
//
//	s3://BUCKET/PREFIX/                      the files, under their names
//	arn:aws:sns:REGION:ACCOUNT:TOPIC         the message without the files, to a standard topic; sns: may stand before it
//	mailto:TO,TO?from=FROM                   a mail with the files attached, by SES
//
// Addresses are bare, and nothing in them is escaped.
func Parse(dest string) (Destination, error) {
	d, err := parse(dest)
	if err != nil {
		return nil, fmt.Errorf("destination %q: %w", dest, err)
	}
	return d, nil
}

func parse(dest string) (Destination, error) {
	if rest, ok := strings.CutPrefix(dest, "s3://"); ok {
		return parseBucket(rest)
	}
	if rest, ok := strings.CutPrefix(dest, "mailto:"); ok {
		return parseMail(rest)
	}
	if arn := strings.TrimPrefix(dest, "sns:"); strings.HasPrefix(arn, "arn:") {
		return parseTopic(arn)
	}
	return nil, errors.New("it is none of s3://BUCKET/PREFIX/, arn:aws:sns:REGION:ACCOUNT:TOPIC and mailto:TO?from=FROM")
}

// Actions are the IAM actions that a delivery needs, sorted.
func Actions(d Destination) []string { return d.actions() }

// Deliver sends a message to one destination. SNS is called in the region of the topic, SES in that of cfg, S3 in
// that of cfg or else where S3 says that the bucket is. To a bucket, a message without files is nothing to send.
func Deliver(ctx context.Context, cfg aws.Config, d Destination, m Message) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("deliver to %s: %w", d, err)
	}
	if err := d.deliver(ctx, cfg, m); err != nil {
		return fmt.Errorf("deliver to %s: %w", d, err)
	}
	return nil
}

// DeliverAll sends a message to every destination, whatever becomes of the others. Buckets come first, so that the rest
// can say where the files are.
func DeliverAll(ctx context.Context, cfg aws.Config, to []Destination, m Message) error {
	var first, rest []Destination
	for _, d := range to {
		if _, ok := d.(bucket); ok {
			first = append(first, d)
		} else {
			rest = append(rest, d)
		}
	}
	m.Files = slices.Clone(m.Files)
	var errs []error
	for _, d := range slices.Concat(first, rest) {
		if err := Deliver(ctx, cfg, d, m); err != nil {
			errs = append(errs, err)
			continue
		}
		if b, ok := d.(bucket); ok {
			for i, f := range m.Files {
				if f.Location == "" {
					m.Files[i].Location = b.location(f.Name)
				}
			}
		}
	}
	return errors.Join(errs...)
}

const maxAttributes = 10

var (
	attributeName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	decimal       = regexp.MustCompile(`^-?[0-9]{1,18}(\.[0-9]{1,6})?$`)
)

// check finds what no destination is to see, before anything is sent.
func (m Message) check() error {
	if n := len(m.Attributes) + len(m.Numbers); n > maxAttributes {
		return fmt.Errorf("the message has %d attributes, at most %d are allowed", n, maxAttributes)
	}
	for name := range m.Attributes {
		if err := checkAttribute(name); err != nil {
			return err
		}
	}
	for name, value := range m.Numbers {
		if err := checkAttribute(name); err != nil {
			return err
		}
		if _, twice := m.Attributes[name]; twice {
			return fmt.Errorf("the attribute %q is both a text and a number", name)
		}
		if !decimal.MatchString(value) {
			return fmt.Errorf("the attribute %q is not a decimal number: %q", name, value)
		}
	}
	names := map[string]bool{}
	for _, f := range m.Files {
		if f.Name == "" || f.Name == "." || f.Name == ".." || len(f.Name) > maxFileName || strings.ContainsAny(f.Name, `/\`) || !plain(f.Name) {
			return fmt.Errorf("%q is not the name of a file", f.Name)
		}
		if _, _, err := mime.ParseMediaType(f.contentType()); err != nil || !plain(f.contentType()) {
			return fmt.Errorf("%s: %q is not a type of contents", f.Name, f.ContentType)
		}
		if names[f.Name] {
			return fmt.Errorf("there are two files %q", f.Name)
		}
		names[f.Name] = true
	}
	return nil
}

const maxFileName = 200 // bytes, which leave room for a prefix in a key and fit on a line of a mail's header

func checkAttribute(name string) error {
	lower := strings.ToLower(name)
	if len(name) > 256 || !attributeName.MatchString(name) || strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon.") {
		return fmt.Errorf("%q is not a name that SNS takes for an attribute", name)
	}
	return nil
}

// contentType does not ask the machine, which may know other types or none.
func (f File) contentType() string {
	if f.ContentType != "" {
		return f.ContentType
	}
	switch strings.ToLower(path.Ext(f.Name)) {
	case ".xlsx":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case ".html":
		return "text/html; charset=utf-8"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".json":
		return "application/json"
	case ".md":
		return "text/markdown; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// advise says what can be done about an error that AWS answered with, by its code.
func advise(err error, advice map[string]string) error {
	var e smithy.APIError
	if errors.As(err, &e) {
		if s := advice[e.ErrorCode()]; s != "" {
			return fmt.Errorf("%w: %s", err, s)
		}
	}
	return err
}

func needsRegion(cfg aws.Config) error {
	if cfg.Region == "" {
		return errors.New("no region is configured: set AWS_REGION")
	}
	return nil
}
