package delivery

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	gocmp "github.com/google/go-cmp/cmp"
)

// TestMoto delivers to moto (https://github.com/getmoto/moto), a stand-in for AWS that nobody here wrote.
//
//	pip install 'moto[server]==5.2.1'
func TestMoto(t *testing.T) {
	t.Parallel()
	endpoint := startMoto(t)
	workbook := make([]byte, 3<<20+1)
	random := rand.NewChaCha8([32]byte{5})
	_, _ = random.Read(workbook)
	m := Message{
		Subject: "ECR in October 2026 – 1,234.56 USD", Text: "Billed 1,234.56 USD\nSaving 12.50 – 99.00 USD\n",
		Attributes: map[string]string{"run_id": "20261120T224303Z-4f2a", "month": "2026-10", "complete": "false", "outcome": "incomplete"},
		Numbers:    map[string]string{"saving_low": "12.5", "saving_high": "99"},
		Files:      []File{file(t, "report-2026-10.xlsx", workbook)},
	}
	t.Run("S3", func(t *testing.T) { testMotoS3(t, endpoint, m, workbook) })
	t.Run("SNS", func(t *testing.T) { testMotoSNS(t, endpoint, m) })
	t.Run("SES", func(t *testing.T) { testMotoSES(t, endpoint, m, workbook) })
}

func testMotoS3(t *testing.T, endpoint string, m Message, workbook []byte) {
	client := s3.NewFromConfig(config(endpoint), func(o *s3.Options) { o.UsePathStyle = true })
	err := Deliver(t.Context(), config(endpoint), parsed(t, aBucket), m)
	if err == nil || !strings.Contains(err.Error(), "make the bucket") {
		t.Errorf("to no bucket: %v", err)
	}
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("finance-reports")}); err != nil {
		t.Fatal(err)
	}
	old := m
	old.Files = []File{file(t, m.Files[0].Name, []byte("drawn before"))}
	for _, m := range []Message{old, m} {
		if err := Deliver(t.Context(), config(endpoint), parsed(t, aBucket), m); err != nil {
			t.Fatal(err)
		}
	}
	got, err := client.GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("finance-reports"), Key: aws.String("ecr/report-2026-10.xlsx"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if data, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(data, workbook) {
		t.Errorf("the object has %d bytes, %v", len(data), err)
	}
	if kind := aws.ToString(got.ContentType); kind != m.Files[0].contentType() {
		t.Errorf("it has the type %s", kind)
	}
}

// testMotoSNS reads the message from queues that subscribe to the topic, one of them to what is incomplete and saves
// enough, one to what is complete.
func testMotoSNS(t *testing.T, endpoint string, m Message) {
	const region = "eu-west-1" // not that of the configuration
	client := sns.NewFromConfig(config(endpoint), func(o *sns.Options) { o.Region = region })
	d := parsed(t, "arn:aws:sns:eu-west-1:123456789012:reports")
	err := Deliver(t.Context(), config(endpoint), d, m)
	if err == nil || !strings.Contains(err.Error(), "make the topic") {
		t.Errorf("to no topic: %v", err)
	}
	if made, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("reports")}); err != nil || *made.TopicArn != d.String() {
		t.Fatalf("%+v, %v", made, err)
	}
	queues := map[string]string{
		"all": "", "few": `{"complete": ["true"]}`,
		"most": `{"complete": ["false"], "month": ["2026-10"], "saving_low": [{"numeric": [">", 12]}]}`,
	}
	for name, filter := range queues {
		sqs(t, endpoint, region, url.Values{"Action": {"CreateQueue"}, "QueueName": {name}})
		attributes := map[string]string{}
		if filter != "" {
			attributes["FilterPolicy"] = filter
		}
		if _, err := client.Subscribe(t.Context(), &sns.SubscribeInput{
			TopicArn: aws.String(d.String()), Protocol: aws.String("sqs"), Attributes: attributes,
			Endpoint: aws.String("arn:aws:sqs:eu-west-1:123456789012:" + name),
		}); err != nil {
			t.Fatal(err)
		}
	}
	m.Files[0].Location = "s3://finance-reports/ecr/report-2026-10.xlsx"
	if err := Deliver(t.Context(), config(endpoint), d, m); err != nil {
		t.Fatal(err)
	}
	type attribute struct{ Type, Value string }
	type notification struct {
		TopicArn, Subject, Message string
		MessageAttributes          map[string]attribute
	}
	want := notification{
		TopicArn: d.String(), Subject: "ECR in October 2026 - 1,234.56 USD",
		Message: m.Text + "\nreport-2026-10.xlsx: s3://finance-reports/ecr/report-2026-10.xlsx",
		MessageAttributes: map[string]attribute{
			"run_id": {"String", "20261120T224303Z-4f2a"}, "month": {"String", "2026-10"}, "complete": {"String", "false"},
			"outcome": {"String", "incomplete"}, "saving_low": {"Number", "12.5"}, "saving_high": {"Number", "99"},
		},
	}
	for name := range queues {
		var answer struct {
			Bodies []string `xml:"ReceiveMessageResult>Message>Body"`
		}
		data := sqs(t, endpoint, region, url.Values{
			"Action": {"ReceiveMessage"}, "MaxNumberOfMessages": {"10"}, "WaitTimeSeconds": {"0"},
			"QueueUrl": {endpoint + "/123456789012/" + name},
		})
		if err := xml.Unmarshal(data, &answer); err != nil {
			t.Fatal(err)
		}
		if name == "few" {
			if len(answer.Bodies) > 0 {
				t.Errorf("the queue for complete runs got %q", answer.Bodies)
			}
			continue
		}
		if len(answer.Bodies) != 1 {
			t.Errorf("%s: %d messages in %s", name, len(answer.Bodies), data)
			continue
		}
		var got notification
		if err := json.Unmarshal([]byte(answer.Bodies[0]), &got); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func testMotoSES(t *testing.T, endpoint string, m Message, workbook []byte) {
	err := Deliver(t.Context(), config(endpoint), parsed(t, aLetter), m)
	if err == nil || !strings.Contains(err.Error(), "verify reports@example.com") {
		t.Errorf("from nobody: %v", err)
	}
	if _, err := sesv2.NewFromConfig(config(endpoint)).CreateEmailIdentity(t.Context(),
		&sesv2.CreateEmailIdentityInput{EmailIdentity: aws.String("example.com")}); err != nil {
		t.Fatal(err)
	}
	if err := Deliver(t.Context(), config(endpoint), parsed(t, aLetter), m); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(endpoint + "/moto-api/data.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var data struct {
		SES struct {
			RawMessage []struct {
				Source       string   `json:"source"`
				Destinations []string `json:"destinations"`
				Raw          string   `json:"raw_data"`
			}
		} `json:"ses"`
	}
	if err := json.NewDecoder(res.Body).Decode(&data); err != nil {
		t.Fatal(err)
	}
	if len(data.SES.RawMessage) != 1 {
		t.Fatalf("%d mails", len(data.SES.RawMessage))
	}
	got := data.SES.RawMessage[0]
	// moto adds those of the header to those of the call.
	if to := []string{"finance@example.com", "cto@example.com"}; got.Source != "reports@example.com" ||
		!slices.Equal(got.Destinations, slices.Concat(to, to)) {
		t.Errorf("from %s to %q", got.Source, got.Destinations)
	}
	mail := readLetter(t, []byte(got.Raw))
	if strings.ReplaceAll(mail.text, "\r\n", "\n") != m.Text {
		t.Errorf("text %q", mail.text)
	}
	if len(mail.files) != 1 || !bytes.Equal(mail.files["report-2026-10.xlsx"], workbook) {
		t.Errorf("attached %v", mail.types)
	}
}

// sqs calls SQS, of which the module has no client. moto looks at the service and the region of the signature alone.
func sqs(t *testing.T, endpoint, region string, form url.Values) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint+"/", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=testing/20261120/"+region+"/sqs/aws4_request, SignedHeaders=host, Signature=none")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", form.Get("Action"), res.Status, err, data)
	}
	return data
}

// startMoto runs moto_server until the test ends, and gives its endpoint.
func startMoto(t *testing.T) string {
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed: pip install 'moto[server]==5.2.1'")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "moto.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-H", "127.0.0.1", "-p", port)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		_ = log.Close()
	})
	endpoint := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if res, err := http.Get(endpoint + "/moto-api/data.json"); err == nil {
			_ = res.Body.Close()
			return endpoint
		}
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("moto_server does not answer\n%s", said)
	return ""
}
