package delivery

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	gocmp "github.com/google/go-cmp/cmp"
)

const (
	aTopic  = "arn:aws:sns:eu-west-1:111111111111:reports"
	aLetter = "mailto:finance@example.com,cto@example.com?from=reports@example.com"
	aBucket = "s3://finance-reports/ecr/"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Destination{
		"s3://finance-reports":        bucket{name: "finance-reports"},
		"s3://finance-reports/":       bucket{name: "finance-reports"},
		"s3://finance-reports/ecr":    bucket{"finance-reports", "ecr/"},
		"s3://finance-reports/a/b=1/": bucket{"finance-reports", "a/b=1/"},
		aTopic:                        topic{aTopic, "eu-west-1"},
		"sns:" + aTopic:               topic{aTopic, "eu-west-1"},
		"arn:aws-us-gov:sns:us-gov-west-1:111111111111:a_b-c": topic{"arn:aws-us-gov:sns:us-gov-west-1:111111111111:a_b-c", "us-gov-west-1"},
		aLetter: letter{"reports@example.com", "finance@example.com,cto@example.com"},
		"mailto:a+b@x.example?from=c+d@y-z.example": letter{"c+d@y-z.example", "a+b@x.example"},
	} {
		got, err := Parse(in)
		if err != nil || got != want {
			t.Errorf("%s: %#v, %v", in, got, err)
			continue
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%s: String gives %s: %v", in, got, err)
		}
	}
	many := strings.TrimSuffix(strings.Repeat("a@x.example,", 51), ",")
	for in, want := range map[string]string{
		"":                               "none of",
		"report.xlsx":                    "none of",
		"https://example.com":            "none of",
		"ses:a@x.example":                "mailto:",
		"s3://":                          "name of a bucket",
		"s3://A":                         "name of a bucket",
		"s3://Bucket/x":                  "name of a bucket",
		"s3://user:pass@bucket/x":        "name of a bucket",
		"s3://bucket//":                  "empty part",
		"s3://bucket/a//b":               "empty part",
		"s3://bucket/../b":               "dots",
		"s3://bucket/a?region=eu-west-1": "do not belong",
		"s3://bucket/*":                  "do not belong",
		"s3://bucket/a\nb":               "do not belong",
		"s3://bucket/a\u202eb":           "do not belong",
		"s3://bucket/a\xffb":             "do not belong",
		"s3://bucket/" + strings.Repeat("x", 1000): "too long",
		"sns:reports":                                                       "none of",
		"arn:aws:sqs:eu-west-1:111111111111:q":                              "ARN of a topic",
		"arn:aws:sns:eu-west-1:111111111111":                                "ARN of a topic",
		aTopic + ":0f7e":                                                    "subscription",
		aTopic + ".fifo":                                                    "FIFO",
		aTopic + "\r\n":                                                     "name of a topic",
		"arn:azure:sns:eu-west-1:111111111111:t":                            "partition",
		"arn:aws:sns::111111111111:t":                                       "region",
		"arn:aws:sns:evil.example/:111111111111:t":                          "region",
		"arn:aws:sns:eu-west-1:1111:t":                                      "12 digits",
		"mailto:":                                                           "who sends it",
		"mailto:a@x.example":                                                "who sends it",
		"mailto:a@x.example?from=":                                          "missing",
		"mailto:?from=a@x.example":                                          "missing",
		"mailto:a@x.example,?from=a@x.example":                              "missing",
		"mailto:a@x.example?from=a@x.example&cc=b@x.example":                `"cc" is not known`,
		"mailto:a@x.example?from=a@x.example&from=b@x.example":              "two senders",
		"mailto:a@x.example?from=reports":                                   "from: ",
		"mailto:A <a@x.example>?from=a@x.example":                           "not a bare",
		"mailto:a@x.example\r\nBcc: b@x.example?from=a@x.example":           "not a bare",
		"mailto:a@x.example?from=a@x.example\r\nBcc:b@x.example":            "not a bare",
		"mailto:\"a\\\r\n b\"@x.example?from=a@x.example":                   "not a bare",
		"mailto:a%40x.example?from=a@x.example":                             "not a bare",
		"mailto:a%0d@x.example?from=a@x.example":                            "character",
		"mailto:ä@x.example?from=a@x.example":                               "character",
		"mailto:a@localhost?from=a@x.example":                               "on the internet",
		"mailto:a@[127.0.0.1]?from=a@x.example":                             "on the internet",
		"mailto:" + many + "?from=a@x.example":                              "51 recipients",
		"mailto:" + strings.Repeat("a", 65) + "@x.example?from=a@x.example": "on the internet",
	} {
		if d, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %#v, %v; want %q", in, d, err, want)
		}
	}
}

// FuzzParse: whatever Parse takes is one line that it takes again, with nothing in it that would have to be escaped.
func FuzzParse(f *testing.F) {
	for _, s := range []string{aTopic, aLetter, aBucket, "sns:" + aTopic, "mailto:\"a b\"@x.example?from=<c@x.example>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		d, err := Parse(in)
		if err != nil {
			return
		}
		s := d.String()
		if again, err := Parse(s); err != nil || again != d {
			t.Errorf("%q gives %q, which gives %#v, %v", in, s, again, err)
		}
		if strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) || strings.ContainsAny(s, "<>\"%*") {
			t.Errorf("%q gives %q", in, s)
		}
		if l, ok := d.(letter); ok {
			header, err := mail.ReadMessage(strings.NewReader("From: " + l.from + "\r\nTo: " + l.to + "\r\n\r\n"))
			if err != nil || len(header.Header) != 2 {
				t.Fatalf("%q: header %v, %v", in, header, err)
			}
			if to, err := header.Header.AddressList("To"); err != nil || len(to) != strings.Count(l.to, ",")+1 {
				t.Errorf("%q: to %v, %v", in, to, err)
			}
		}
	})
}

func TestActions(t *testing.T) {
	t.Parallel()
	for dest, want := range map[string][]string{
		aBucket: {"s3:PutObject"}, aTopic: {"sns:Publish"}, aLetter: {"ses:SendEmail", "ses:SendRawEmail"},
	} {
		if got := Actions(parsed(t, dest)); !slices.Equal(got, want) {
			t.Errorf("%s: %q", dest, got)
		}
	}
}

func parsed(t testing.TB, dest string) Destination {
	t.Helper()
	d, err := Parse(dest)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func file(t testing.TB, name string, data []byte) File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made-here")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return File{Name: name, Path: path}
}

// request is what a stand-in for AWS was sent.
type request struct {
	service, region, method, path string
	header                        http.Header
	body                          []byte
}

// standIn is an AWS that answers as a test wants, and remembers what it was sent.
type standIn struct {
	mu       sync.Mutex
	requests []request
	cfg      aws.Config
}

// serve answers a request if answer does not.
func serve(t testing.TB, answer func(http.ResponseWriter, request) bool) *standIn {
	s := &standIn{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		// AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …
		scope := strings.Split(r.Header.Get("Authorization"), "/")
		if len(scope) < 4 {
			t.Errorf("the request is not signed: %v", r.Header)
			return
		}
		req := request{scope[3], scope[2], r.Method, r.URL.Path, r.Header, body}
		s.mu.Lock()
		s.requests = append(s.requests, req)
		s.mu.Unlock()
		switch {
		case answer != nil && answer(w, req):
		case req.service == "sns":
			fmt.Fprint(w, `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
		case req.service == "ses":
			fmt.Fprint(w, `{"MessageId": "1"}`)
		}
	}))
	t.Cleanup(server.Close)
	s.cfg = config(server.URL)
	return s
}

func config(endpoint string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "testing", SecretAccessKey: "testing"}, nil
		}),
	}
}

// refuse answers an error in the way of the service.
func refuse(status int, code, message string) func(http.ResponseWriter, request) bool {
	return func(w http.ResponseWriter, r request) bool {
		if r.service == "ses" {
			w.Header().Set("X-Amzn-ErrorType", code)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
			return true
		}
		format := "<Error><Code>%s</Code><Message>%s</Message></Error>"
		if r.service == "sns" {
			format = "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>"
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, code, message)
		return true
	}
}

// TestErrors: they say what, where and what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dest   string
		status int
		code   string
		want   []string
	}{
		{aBucket, 403, "AccessDenied", []string{"put ecr/report.xlsx", "allow s3:PutObject", "finance-reports/ecr/*", "kms:GenerateDataKey"}},
		{aBucket, 404, "NoSuchBucket", []string{"make the bucket"}},
		{aBucket, 301, "PermanentRedirect", []string{"another region", "AWS_REGION"}},
		{aTopic, 403, "AuthorizationError", []string{"allow sns:Publish", "topic's policy"}},
		{aTopic, 404, "NotFound", []string{"make the topic"}},
		{aTopic, 400, "KMSAccessDenied", []string{"kms:GenerateDataKey", "kms:Decrypt"}},
		{aTopic, 400, "InvalidParameter", []string{"InvalidParameter"}},
		{aLetter, 403, "AccessDeniedException", []string{"allow ses:SendEmail and ses:SendRawEmail"}},
		{aLetter, 400, "MessageRejected", []string{"verify reports@example.com or example.com in SES in us-east-1", "sandbox"}},
		{aLetter, 400, "MailFromDomainNotVerifiedException", []string{"DNS", "example.com"}},
		{aLetter, 429, "TooManyRequestsException", []string{"quota"}},
	} {
		s := serve(t, refuse(test.status, test.code, "as AWS says"))
		m := Message{Subject: "s", Text: "t", Files: []File{file(t, "report.xlsx", []byte("x"))}}
		err := Deliver(t.Context(), s.cfg, parsed(t, test.dest), m)
		if err == nil {
			t.Errorf("%s: %s is no error", test.dest, test.code)
			continue
		}
		for _, want := range append(test.want, "deliver to "+test.dest, test.code, "as AWS says") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: %v\nwant %q", test.dest, test.code, err, want)
			}
		}
	}
}

// TestCheck: what cannot be delivered is found before anything is sent.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	names := map[string]string{}
	for i := range 6 {
		names[fmt.Sprint(i)] = "1"
	}
	more := map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"}
	for want, m := range map[string]Message{
		"11 attributes":           {Attributes: names, Numbers: more},
		"a name that SNS":         {Attributes: map[string]string{"run id": "1"}},
		`"AWS.x" is not`:          {Attributes: map[string]string{"AWS.x": "1"}},
		"not a decimal":           {Numbers: map[string]string{"saving": "1e3"}},
		"both a text":             {Numbers: map[string]string{"saving": "1"}, Attributes: map[string]string{"saving": "1"}},
		"is not the name":         {Files: []File{{Name: "../x"}}},
		`"a\nb" is not`:           {Files: []File{{Name: "a\nb"}}},
		"two files":               {Files: []File{{Name: "a"}, {Name: "a"}}},
		"is not a type":           {Files: []File{{Name: "a", ContentType: "text/plain\r\nBcc: x"}}},
		"no region is configured": {Files: []File{file(t, "a", nil)}},
		"no such file":            {Files: []File{{Name: "a", Path: filepath.Join(t.TempDir(), "gone")}}},
	} {
		for _, dest := range []string{aBucket, aTopic, aLetter} {
			cfg := s.cfg
			switch want {
			case "no region is configured":
				cfg.Region = ""
				fallthrough
			case "no such file":
				if dest == aTopic {
					continue
				}
			}
			if err := Deliver(t.Context(), cfg, parsed(t, dest), m); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q", dest, err, want)
			}
		}
	}
	if len(s.requests) > 0 {
		t.Errorf("%d requests were sent", len(s.requests))
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	m := Message{Files: []File{
		file(t, "report-2026-10.xlsx", []byte("workbook")), file(t, "report-2026-10.html", []byte("page")),
		{Name: "images.csv", Path: file(t, "", []byte("csv")).Path, ContentType: "text/csv; header=present"},
	}}
	if err := Deliver(t.Context(), s.cfg, parsed(t, aBucket), m); err != nil {
		t.Fatal(err)
	}
	var got [][4]string
	for _, r := range s.requests {
		got = append(got, [4]string{r.method, r.path, r.header.Get("Content-Type"), string(r.body)})
		for _, name := range []string{"X-Amz-Server-Side-Encryption", "X-Amz-Acl", "If-None-Match"} {
			if v := r.header.Get(name); v != "" {
				t.Errorf("%s: %s", name, v)
			}
		}
	}
	if diff := gocmp.Diff([][4]string{
		{"PUT", "/finance-reports/ecr/report-2026-10.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "workbook"},
		{"PUT", "/finance-reports/ecr/report-2026-10.html", "text/html; charset=utf-8", "page"},
		{"PUT", "/finance-reports/ecr/images.csv", "text/csv; header=present", "csv"},
	}, got); diff != "" {
		t.Error(diff)
	}
	// The news of a failed run is nothing for a bucket.
	s.requests = nil
	if err := Deliver(t.Context(), s.cfg, parsed(t, aBucket), Message{Subject: "failed", Text: "failed"}); err != nil || len(s.requests) > 0 {
		t.Errorf("%v after %d requests", err, len(s.requests))
	}
}

// TestBucketElsewhere: the bucket is in another region than the configuration.
func TestBucketElsewhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		region, named string
		ok            bool
		calls         int
	}{
		{"eu-west-1", "eu-west-1", true, 2},
		{"eu-west-1", "evil.example/", false, 1},
		{"eu-west-1", "us-east-1", false, 1}, // no end of it
		{"eu-west-1", "eu-west-3", false, 2},
	} {
		var stored string
		s := serve(t, func(w http.ResponseWriter, r request) bool {
			if r.region == test.region {
				stored = string(r.body)
				return false
			}
			w.Header().Set("X-Amz-Bucket-Region", test.named)
			return refuse(301, "PermanentRedirect", "elsewhere")(w, r)
		})
		err := Deliver(t.Context(), s.cfg, parsed(t, aBucket), Message{Files: []File{file(t, "report.xlsx", []byte("workbook"))}})
		if (err == nil) != test.ok || len(s.requests) != test.calls || test.ok && stored != "workbook" {
			t.Errorf("%+v: %v after %d requests, stored %q", test, err, len(s.requests), stored)
		}
	}
}

const hostile = "a\r\nBcc: x@evil.example\x00\x1b[31m\u202e =?utf-8?q?=0d=0aBcc:_x?= \uFFFE\xff – é 𝔸"

func TestTopicInput(t *testing.T) {
	t.Parallel()
	d := parsed(t, aTopic).(topic)
	in := d.input(Message{
		Subject: hostile + strings.Repeat(" long", 100), Text: hostile,
		Attributes: map[string]string{"outcome": hostile, "empty": "\x00 ", "complete": "true"}, Numbers: map[string]string{"saving": "-12.5"},
		Files: []File{{Name: "report.xlsx", Location: "s3://b/report.xlsx"}, {Name: "not-put.csv"}},
	})
	if want := "a Bcc: x@evil.example[31m =?utf-8?q?=0d=0aBcc:_x?= ? - ? ? long long long long long long long..."; !strings.HasPrefix(*in.Subject, want[:60]) ||
		len(*in.Subject) > 99 || !strings.HasSuffix(*in.Subject, "...") {
		t.Errorf("subject %q", *in.Subject)
	}
	if want := "a\nBcc: x@evil.example[31m =?utf-8?q?=0d=0aBcc:_x?= \uFFFD – é 𝔸\nreport.xlsx: s3://b/report.xlsx"; *in.Message != want {
		t.Errorf("message %q", *in.Message)
	}
	got := map[string][2]string{}
	for name, a := range in.MessageAttributes {
		got[name] = [2]string{*a.DataType, *a.StringValue}
	}
	if diff := gocmp.Diff(map[string][2]string{
		"outcome": {"String", "a Bcc: x@evil.example[31m =?utf-8?q?=0d=0aBcc:_x?= \uFFFD – é 𝔸"}, "complete": {"String", "true"}, "saving": {"Number", "-12.5"},
	}, got); diff != "" {
		t.Error(diff)
	}

	in = d.input(Message{Subject: "\n\x00", Text: " \x00"})
	if in.Subject != nil || strings.TrimSpace(*in.Message) == "" || in.MessageAttributes != nil {
		t.Errorf("of nothing: %+v", in)
	}
}

// TestTopicSize: text and attributes of any size come to no more than SNS takes, and a cut is said.
func TestTopicSize(t *testing.T) {
	t.Parallel()
	d := parsed(t, aTopic).(topic)
	for _, letter := range []string{"x", "é", "語", "😀"} {
		for _, extra := range []int{-9, -3, -2, -1, 0, 1, 2, 3, 200} {
			text := strings.Repeat(letter, (maxTopicMessage+extra)/len(letter))
			in := d.input(Message{
				Subject: text, Text: text, Attributes: map[string]string{"a": text, "b": text}, Numbers: map[string]string{"c": "1"},
				Files: []File{{Name: "report.xlsx", Location: "s3://b/report.xlsx"}},
			})
			size := len(*in.Message)
			for name, a := range in.MessageAttributes {
				size += len(name) + len(*a.DataType) + len(*a.StringValue)
			}
			if size > 262144 || size < 262144-200 || !utf8.ValidString(*in.Message) ||
				!strings.Contains(*in.Message, "[cut:") || !strings.HasSuffix(*in.Message, "s3://b/report.xlsx") {
				t.Fatalf("%s%+d: %d bytes, …%q", letter, extra, size, (*in.Message)[len(*in.Message)-100:])
			}
		}
	}
	whole := strings.Repeat("x", maxTopicMessage)
	if in := d.input(Message{Text: whole}); *in.Message != whole {
		t.Error("a message that fits was cut")
	}
}

// TestTopicRegion: a topic is called where it is.
func TestTopicRegion(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	if err := Deliver(t.Context(), s.cfg, parsed(t, aTopic), Message{Subject: "s", Text: "t"}); err != nil {
		t.Fatal(err)
	}
	if len(s.requests) != 1 || s.requests[0].region != "eu-west-1" || s.requests[0].service != "sns" {
		t.Errorf("%+v", s.requests)
	}
}

// letterRead is a mail as its reader's program takes it apart.
type letterRead struct {
	header mail.Header
	text   string
	files  map[string][]byte
	types  map[string]string
}

func readLetter(t *testing.T, raw []byte) letterRead {
	t.Helper()
	for line := range bytes.SplitSeq(bytes.TrimSuffix(raw, []byte("\r\n")), []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") || !isASCII(line) {
			t.Fatalf("a line of the mail is %q", line)
		}
	}
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	got := letterRead{header: msg.Header, files: map[string][]byte{}, types: map[string]string{}}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("%s: %v", kind, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for {
		part, err := parts.NextPart() // decodes quoted-printable
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = part
		if part.Header.Get("Content-Transfer-Encoding") == "base64" {
			r = base64.NewDecoder(base64.StdEncoding, part)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if name := part.FileName(); name != "" {
			got.files[name], got.types[name] = data, part.Header.Get("Content-Type")
		} else {
			got.text = string(data)
		}
	}
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

func TestLetter(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	workbook := make([]byte, maxAttached-10)
	for i := range workbook {
		workbook[i] = byte(i * 7)
	}
	d := parsed(t, "mailto:"+strings.Repeat("someone.with.a.long.name@department.example.com,", 49)+"b@x.example?from=reports@example.com")
	put := file(t, "images.csv", make([]byte, 11))
	put.Location = "s3://b/images.csv"
	m := Message{Subject: hostile, Text: hostile + "\n.\n" + strings.Repeat("x", 2000), Files: []File{
		file(t, "Bericht ä.xlsx", workbook), put, file(t, "more.csv", make([]byte, 2<<20)), file(t, "page.html", []byte("page")),
	}}
	if err := Deliver(t.Context(), s.cfg, d, m); err != nil {
		t.Fatal(err)
	}
	var sent struct {
		FromEmailAddress string
		Destination      struct{ ToAddresses, CcAddresses, BccAddresses []string }
		Content          struct{ Raw struct{ Data []byte } }
	}
	if len(s.requests) != 1 {
		t.Fatalf("%d requests", len(s.requests))
	}
	if r := s.requests[0]; r.path != "/v2/email/outbound-emails" || r.region != "us-east-1" {
		t.Errorf("%s in %s", r.path, r.region)
	}
	if err := json.Unmarshal(s.requests[0].body, &sent); err != nil {
		t.Fatal(err)
	}
	if to := sent.Destination.ToAddresses; sent.FromEmailAddress != "reports@example.com" || len(to) != 50 || to[49] != "b@x.example" ||
		len(sent.Destination.CcAddresses)+len(sent.Destination.BccAddresses) > 0 {
		t.Errorf("from %s, to %+v", sent.FromEmailAddress, sent.Destination)
	}
	got := readLetter(t, sent.Content.Raw.Data)
	names := []string{}
	for name := range got.header {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"Auto-Submitted", "Content-Type", "From", "Mime-Version", "Subject", "To"}) {
		t.Errorf("the header has %q", names)
	}
	if to, err := got.header.AddressList("To"); err != nil || len(to) != 50 {
		t.Errorf("to %v, %v", to, err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.header.Get("Subject"))
	if want := "a Bcc: x@evil.example[31m = ?utf-8?q?=0d=0aBcc:_x?= \uFFFD – é 𝔸"; err != nil || subject != want {
		t.Errorf("subject %q, %v", subject, err)
	}
	want := "a\nBcc: x@evil.example[31m =?utf-8?q?=0d=0aBcc:_x?= \uFFFD – é 𝔸\n.\n" + strings.Repeat("x", 2000) +
		"\nimages.csv (0.0 MB) is too large to be attached. It is here: s3://b/images.csv\n" +
		"\nmore.csv (2.0 MB) is too large to be attached. Deliver it to a bucket too: --to s3://BUCKET/PREFIX/\n"
	if text := strings.ReplaceAll(got.text, "\r\n", "\n"); text != want {
		t.Error(gocmp.Diff(want, text))
	}
	if len(got.files) != 2 || !bytes.Equal(got.files["Bericht ä.xlsx"], workbook) || string(got.files["page.html"]) != "page" {
		t.Errorf("attached %v", got.types)
	}
	if kind := got.types["Bericht ä.xlsx"]; kind != "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" {
		t.Errorf("it has the type %s", kind)
	}
}

// TestDeliverAll: the bucket's turn is first, and one that fails leaves the others alone.
func TestDeliverAll(t *testing.T) {
	t.Parallel()
	m := Message{Subject: "s", Text: "t", Files: []File{file(t, "report.xlsx", make([]byte, maxAttached+1))}}
	to := []Destination{parsed(t, aTopic), parsed(t, aLetter), parsed(t, aBucket)}
	for _, broken := range []string{"", "s3", "sns", "ses"} {
		s := serve(t, func(w http.ResponseWriter, r request) bool {
			return r.service == broken && refuse(403, "No", "as AWS says")(w, r)
		})
		err := DeliverAll(t.Context(), s.cfg, to, m)
		if (err == nil) != (broken == "") || err != nil && strings.Count(err.Error(), "deliver to") != 1 {
			t.Errorf("%s: %v", broken, err)
		}
		var services []string
		for _, r := range s.requests {
			services = append(services, r.service)
			place := "s3://finance-reports/ecr/report.xlsx"
			switch r.service {
			case "sns":
				if told := strings.Contains(string(r.body), "report.xlsx%3A+s3%3A%2F%2Ffinance-reports%2Fecr%2Freport.xlsx"); told != (broken != "s3") {
					t.Errorf("%s: the message says where the file is: %v", broken, told)
				}
			case "ses":
				raw := struct {
					Content struct{ Raw struct{ Data []byte } }
				}{}
				if err := json.Unmarshal(r.body, &raw); err != nil {
					t.Fatal(err)
				}
				if told := strings.Contains(readLetter(t, raw.Content.Raw.Data).text, place); told != (broken != "s3") {
					t.Errorf("%s: the mail says where the file is: %v", broken, told)
				}
			}
		}
		if !slices.Equal(services, []string{"s3", "sns", "ses"}) {
			t.Errorf("%s: %q", broken, services)
		}
	}
	if m.Files[0].Location != "" {
		t.Error("the caller's message was changed")
	}
}
