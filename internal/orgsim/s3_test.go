package orgsim

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestS3(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m.SetClock(at)
	c, other := s3.NewFromConfig(m.as(accountA)), s3.NewFromConfig(m.as(accountB))
	name := aws.String("store")
	put := func(key, body string, set func(*s3.PutObjectInput)) (string, error) {
		in := &s3.PutObjectInput{Bucket: name, Key: &key, Body: strings.NewReader(body), Metadata: map[string]string{"run": "1"}, ContentType: aws.String("text/plain")}
		if set != nil {
			set(in)
		}
		out, err := c.PutObject(ctx, in)
		if err != nil {
			return "", err
		}
		return *out.ETag, nil
	}
	_, err := put("a", "x", nil)
	wantCode(t, err, "NoSuchBucket")
	_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name})
	wantCode(t, err, "")
	_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name})
	wantCode(t, err, "BucketAlreadyOwnedByYou")
	_, err = other.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name})
	wantCode(t, err, "BucketAlreadyExists")
	_, err = other.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: name})
	wantCode(t, err, "AccessDenied")
	buckets, err := other.ListBuckets(ctx, nil)
	if err != nil || len(buckets.Buckets) != 0 {
		t.Errorf("the other account sees %v (%v)", buckets, err)
	}

	// Conditional writes.
	absent := func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
	etag, err := put("lock", "one", absent)
	wantCode(t, err, "")
	_, err = put("lock", "two", absent)
	wantCode(t, err, "PreconditionFailed")
	second, err := put("lock", "three", func(in *s3.PutObjectInput) { in.IfMatch = &etag })
	wantCode(t, err, "")
	_, err = put("lock", "four", func(in *s3.PutObjectInput) { in.IfMatch = &etag })
	wantCode(t, err, "PreconditionFailed")
	_, err = put("none", "x", func(in *s3.PutObjectInput) { in.IfMatch = &etag })
	wantCode(t, err, "NoSuchKey")

	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("lock")})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(got.Body)
	if string(body) != "three" || *got.ETag != second || !got.LastModified.Equal(at) || got.Metadata["run"] != "1" || *got.ContentType != "text/plain" {
		t.Errorf("got %q %s %v %v %s", body, *got.ETag, got.LastModified, got.Metadata, *got.ContentType)
	}
	part, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("lock"), Range: aws.String("bytes=1-2")})
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(part.Body); string(body) != "hr" {
		t.Errorf("range: %q", body)
	}
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: name, Key: aws.String("lock")})
	if err != nil || *head.ContentLength != 5 {
		t.Errorf("head: %+v %v", head, err)
	}
	_, err = c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: name, Key: aws.String("none")})
	wantCode(t, err, "NotFound")
	_, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("none")})
	wantCode(t, err, "NoSuchKey")

	// Over TLS the SDK sends aws-chunked frames with a checksum in the trailer.
	large := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	framed := false
	ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		framed = framed || r.Header.Get("X-Amz-Content-Sha256") == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
		m.ServeHTTP(w, r)
	}))
	defer ts.Close()
	cfg := m.as(accountA)
	cfg.BaseEndpoint, cfg.HTTPClient, cfg.RequestChecksumCalculation = aws.String(ts.URL), ts.Client(), aws.RequestChecksumCalculationWhenSupported
	if _, err := s3.NewFromConfig(cfg).PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("large"), Body: bytes.NewReader(large)}); err != nil {
		t.Fatal(err)
	}
	if !framed {
		t.Error("the SDK did not frame the body: this test tests nothing")
	}
	got, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("large")})
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(got.Body); !bytes.Equal(body, large) {
		t.Errorf("%d bytes came back of %d", len(body), len(large))
	}
}

func TestS3List(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	c := s3.NewFromConfig(m.as(accountA))
	name := aws.String("store")
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"2026-01", "2026-02", "2026-03"} {
		for i := range 5 {
			if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String(fmt.Sprintf("runs/%s/part %d", run, i)), Body: strings.NewReader("x")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := func(in s3.ListObjectsV2Input) (keys, prefixes []string, calls int) {
		t.Helper()
		in.Bucket = name
		pages := s3.NewListObjectsV2Paginator(c, &in)
		for pages.HasMorePages() {
			p, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			calls++
			for _, o := range p.Contents {
				keys = append(keys, *o.Key)
			}
			for _, o := range p.CommonPrefixes {
				prefixes = append(prefixes, *o.Prefix)
			}
		}
		return keys, prefixes, calls
	}
	if keys, _, calls := list(s3.ListObjectsV2Input{MaxKeys: aws.Int32(4)}); len(keys) != 15 || calls != 4 || !slices.IsSorted(keys) {
		t.Errorf("%d keys in %d calls: %v", len(keys), calls, keys)
	}
	keys, prefixes, calls := list(s3.ListObjectsV2Input{Prefix: aws.String("runs/"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)})
	if len(keys) != 0 || !slices.Equal(prefixes, []string{"runs/2026-01/", "runs/2026-02/", "runs/2026-03/"}) || calls != 2 {
		t.Errorf("delimited: %v %v in %d calls", keys, prefixes, calls)
	}
	if keys, _, _ := list(s3.ListObjectsV2Input{Prefix: aws.String("runs/2026-02/"), Delimiter: aws.String("/"), StartAfter: aws.String("runs/2026-02/part 2")}); !slices.Equal(keys, []string{"runs/2026-02/part 3", "runs/2026-02/part 4"}) {
		t.Errorf("after: %v", keys)
	}
	out, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: name, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("runs/2026-01/part 0")}, {Key: aws.String("not there")}}}})
	if err != nil || len(out.Deleted) != 2 || len(out.Errors) != 0 {
		t.Errorf("delete: %+v %v", out, err)
	}
	if keys, _, _ := list(s3.ListObjectsV2Input{}); len(keys) != 14 {
		t.Errorf("%d keys are left, want 14", len(keys))
	}
	_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name})
	wantCode(t, err, "BucketNotEmpty")
}

func TestS3Multipart(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	c := s3.NewFromConfig(m.as(accountA))
	name, key := aws.String("store"), aws.String("big/one")
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		t.Fatal(err)
	}
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: name, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for i, size := range []int{minPart, 100} {
		n := aws.Int32(int32(i + 1))
		out, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: name, Key: key, UploadId: up.UploadId, PartNumber: n, Body: bytes.NewReader(make([]byte, size))})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{ETag: out.ETag, PartNumber: n})
	}
	complete := &s3.CompleteMultipartUploadInput{Bucket: name, Key: key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}
	if _, err := c.CompleteMultipartUpload(ctx, complete); err != nil {
		t.Fatal(err)
	}
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: name, Key: key})
	if err != nil || *head.ContentLength != minPart+100 || !strings.HasSuffix(*head.ETag, `-2"`) {
		t.Errorf("head: %+v %v", head, err)
	}
	_, err = c.CompleteMultipartUpload(ctx, complete)
	wantCode(t, err, "NoSuchUpload")
}

func TestDecodeChunked(t *testing.T) {
	for name, tc := range map[string]struct {
		in, want string
		ok       bool
	}{
		"trailer":         {"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:abcd==\r\n\r\n", "hello world", true},
		"signed":          {"5;chunk-signature=00ff\r\nhello\r\n0;chunk-signature=11\r\n\r\n", "hello", true},
		"empty":           {"0\r\n\r\n", "", true},
		"cut off":         {"5\r\nhel", "", false},
		"no last chunk":   {"5\r\nhello\r\n", "", false},
		"not a size":      {"hello", "", false},
		"too large a one": {"FFFFFFFFFF\r\nhello\r\n", "", false},
	} {
		got, err := decodeChunked([]byte(tc.in))
		if (err == nil) != tc.ok || string(got) != tc.want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func FuzzDecodeChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("5;chunk-signature=0\r\nhello\r\n0\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if out, err := decodeChunked(body); err == nil && len(out) > len(body) {
			t.Errorf("%d bytes out of %d", len(out), len(body))
		}
	})
}
