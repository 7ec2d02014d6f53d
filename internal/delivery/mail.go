package delivery

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/aws-sdk-go-v2/service/sesv2/types"
)

// letter is a mail by SES.
type letter struct {
	from string
	to   string // addresses, separated by commas: the value stays comparable
}

const (
	maxRecipients  = 50      // of SES
	maxMailSubject = 200     // characters
	maxMailText    = 1 << 18 // bytes
	maxAttached    = 7 << 20 // bytes, which become 10 MB in the mail; many servers take no more
)

var domainName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)

func parseMail(rest string) (Destination, error) {
	list, query, _ := strings.Cut(rest, "?")
	var l letter
	for param := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(param, "=")
		switch {
		case param == "":
		case key != "from":
			return nil, fmt.Errorf("%q is not known behind the question mark: from=ADDRESS is", key)
		case l.from != "":
			return nil, errors.New("it has two senders")
		default:
			if err := checkAddress(value); err != nil {
				return nil, fmt.Errorf("from: %w", err)
			}
			l.from = value
		}
	}
	if l.from == "" {
		return nil, errors.New("it does not say who sends it: mailto:TO?from=ADDRESS, an address that SES has verified")
	}
	to := strings.Split(list, ",")
	if len(to) > maxRecipients {
		return nil, fmt.Errorf("it has %d recipients, SES takes %d: use a list's address", len(to), maxRecipients)
	}
	for _, a := range to {
		if err := checkAddress(a); err != nil {
			return nil, err
		}
	}
	l.to = list
	return l, nil
}

// checkAddress takes bare ASCII addresses, as SES does, without what would have to be escaped in a destination.
func checkAddress(s string) error {
	if s == "" {
		return errors.New("an address is missing")
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || a.Name != "" {
		return fmt.Errorf("%q is not a bare mail address", s)
	}
	local, domain, _ := strings.Cut(s, "@")
	for _, r := range local {
		if r <= ' ' || r > '~' || strings.ContainsRune(`"(),:;<>[\]%&?`, r) {
			return fmt.Errorf("%q has a character that is not taken in the name before the @: %q", s, r)
		}
	}
	if len(local) > 64 || len(s) > 254 || !domainName.MatchString(domain) {
		return fmt.Errorf("%q is not an address on the internet", s)
	}
	return nil
}

func (l letter) String() string { return "mailto:" + l.to + "?from=" + l.from }

// SES checks the second one where the mail is handed over as it is to be sent, which attachments need here.
func (l letter) actions() []string { return []string{"ses:SendEmail", "ses:SendRawEmail"} }

func (l letter) deliver(ctx context.Context, cfg aws.Config, m Message) error {
	if err := needsRegion(cfg); err != nil {
		return err
	}
	raw, err := l.raw(m)
	if err != nil {
		return err
	}
	_, err = sesv2.NewFromConfig(cfg).SendEmail(ctx, &sesv2.SendEmailInput{
		FromEmailAddress: &l.from,
		Destination:      &types.Destination{ToAddresses: strings.Split(l.to, ",")},
		Content:          &types.EmailContent{Raw: &types.RawMessage{Data: raw}},
	})
	if err != nil {
		_, domain, _ := strings.Cut(l.from, "@")
		verify := "verify " + l.from + " or " + domain + " in SES in " + cfg.Region +
			"; while the account is in the sandbox, every recipient too"
		return advise(err, map[string]string{
			"AccessDeniedException":              "allow ses:SendEmail and ses:SendRawEmail on the identity of " + l.from,
			"MessageRejected":                    verify,
			"NotFoundException":                  verify,
			"MailFromDomainNotVerifiedException": "SES cannot see the DNS records of the MAIL FROM domain of " + domain,
			"AccountSuspendedException":          "SES has suspended sending for the account in " + cfg.Region,
			"SendingPausedException":             "sending is paused for the account in " + cfg.Region,
			"LimitExceededException":             "the sending quota of SES in " + cfg.Region + " is used up",
			"TooManyRequestsException":           "the sending quota of SES in " + cfg.Region + " is used up",
		})
	}
	return nil
}

// raw is the mail as it goes over the wire. SES adds the date and the message's id.
func (l letter) raw(m Message) ([]byte, error) {
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)

	var attached []File
	var places strings.Builder
	var total int64
	for _, f := range m.Files {
		info, err := os.Stat(f.Path)
		if err != nil {
			return nil, fmt.Errorf("attach %s: %w", f.Name, err)
		}
		switch {
		case total+info.Size() <= maxAttached:
			attached = append(attached, f)
			total += info.Size()
		case f.Location != "":
			fmt.Fprintf(&places, "\n%s (%s) is too large to be attached. It is here: %s\n", f.Name, megabytes(info.Size()), f.Location)
		default:
			fmt.Fprintf(&places, "\n%s (%s) is too large to be attached. Deliver it to a bucket too: --to s3://BUCKET/PREFIX/\n",
				f.Name, megabytes(info.Size()))
		}
	}

	text, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type":              {"text/plain; charset=utf-8"},
		"Content-Transfer-Encoding": {"quoted-printable"},
	})
	if err != nil {
		return nil, err
	}
	qp := quotedprintable.NewWriter(text)
	if _, err := io.WriteString(qp, cut(harmless(m.Text), maxMailText-places.Len())+places.String()); err != nil {
		return nil, err
	}
	if err := qp.Close(); err != nil {
		return nil, err
	}
	for _, f := range attached {
		if err := attach(parts, f); err != nil {
			return nil, fmt.Errorf("attach %s: %w", f.Name, err)
		}
	}
	if err := parts.Close(); err != nil {
		return nil, err
	}

	// What looks like an encoded word would be decoded by the reader's program, to who knows what.
	subject := oneLine(strings.ReplaceAll(m.Subject, "=?", "= ?"), maxMailSubject)
	var raw bytes.Buffer
	for _, h := range [][2]string{
		{"From", l.from},
		{"To", strings.ReplaceAll(l.to, ",", ",\r\n ")}, // folded: a line has 998 characters at most
		{"Subject", mime.QEncoding.Encode("utf-8", subject)},
		{"Auto-Submitted", "auto-generated"}, // or else people's absences answer it
		{"MIME-Version", "1.0"},
		{"Content-Type", mime.FormatMediaType("multipart/mixed", map[string]string{"boundary": parts.Boundary()})},
	} {
		fmt.Fprintf(&raw, "%s: %s\r\n", h[0], h[1])
	}
	raw.WriteString("\r\n")
	_, err = body.WriteTo(&raw)
	return raw.Bytes(), err
}

func attach(parts *multipart.Writer, f File) error {
	data, err := os.ReadFile(f.Path)
	if err != nil {
		return err
	}
	part, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type":              {f.contentType()},
		"Content-Transfer-Encoding": {"base64"},
		"Content-Disposition":       {mime.FormatMediaType("attachment", map[string]string{"filename": f.Name})},
	})
	if err != nil {
		return err
	}
	var line []byte
	for chunk := range slices.Chunk(data, 57) { // 76 characters a line
		line = append(base64.StdEncoding.AppendEncode(line[:0], chunk), "\r\n"...)
		if _, err := part.Write(line); err != nil {
			return err
		}
	}
	return nil
}
