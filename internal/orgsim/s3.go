package orgsim

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bucket is an S3 bucket; only its owner's account may use it.
type bucket struct {
	name, owner, region string
	created             time.Time
	objects             map[string]*object
	uploads             map[string]*upload
}

// object is immutable: writing replaces it.
type object struct {
	body     []byte
	etag     string // with quotes
	header   http.Header
	modified time.Time
}

// upload is a multipart upload that is not complete.
type upload struct {
	key    string
	header http.Header
	parts  map[int]*object
}

// s3Service is the part of Amazon S3 that a store needs, path-style (and BUCKET.localhost).
// See https://docs.aws.amazon.com/AmazonS3/latest/API/
func s3Service() *service {
	s := &service{name: "s3", protocol: restXML}
	for name, f := range map[string]func(*s3Request) (*s3Output, error){
		"ListBuckets": s3ListBuckets, "CreateBucket": s3CreateBucket, "HeadBucket": s3HeadBucket, "DeleteBucket": s3DeleteBucket,
		"GetBucketLocation": s3GetBucketLocation, "ListObjectsV2": s3ListObjects, "PutObject": s3PutObject, "GetObject": s3GetObject,
		"HeadObject": s3GetObject, "DeleteObject": s3DeleteObject, "DeleteObjects": s3DeleteObjects,
		"CreateMultipartUpload": s3CreateUpload, "UploadPart": s3UploadPart, "CompleteMultipartUpload": s3CompleteUpload,
		"AbortMultipartUpload": s3AbortUpload,
	} {
		op(s, name, func(c *Call, in *s3Input) (*s3Output, error) {
			bucketName, key := s3Path(in.request.Request)
			return f(&s3Request{Call: c, request: in.request, bucketName: bucketName, key: key})
		}, selfAuthorized())
	}
	return s
}

type s3Input struct{ request *request }

type s3Request struct {
	*Call
	request         *request
	bucketName, key string
}

// s3Output is an answer: XML, an object, or only a status and headers.
type s3Output struct {
	status int
	header http.Header
	xml    any
	object *object
	head   *http.Request // with object
}

func (o *s3Output) write(w http.ResponseWriter) error {
	maps.Copy(w.Header(), o.header)
	switch {
	case o.object != nil:
		maps.Copy(w.Header(), o.object.header)
		w.Header().Set("Etag", o.object.etag)
		http.ServeContent(w, o.head, "", o.object.modified, bytes.NewReader(o.object.body)) // knows ranges and If-None-Match
		return nil
	case o.xml != nil:
		body, err := xml.Marshal(o.xml)
		if err != nil {
			return err
		}
		return writeBody(w, http.StatusOK, "application/xml", append([]byte(xml.Header), body...))
	default:
		w.WriteHeader(o.status)
		return nil
	}
}

// s3Path takes bucket and key from the path, or the bucket from a host like bucket.localhost.
func s3Path(r *http.Request) (bucketName, key string) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if b, ok := strings.CutSuffix(host, ".localhost"); ok {
		return b, path
	}
	bucketName, key, _ = strings.Cut(path, "/")
	return bucketName, key
}

// s3OperationName tells the operation from method, path and query string.
func s3OperationName(r *http.Request) string {
	bucketName, key := s3Path(r)
	q := r.URL.Query()
	switch {
	case bucketName == "":
		return map[string]string{"GET": "ListBuckets"}[r.Method]
	case key == "" && r.Method == "GET" && q.Has("location"):
		return "GetBucketLocation"
	case key == "" && r.Method == "GET" && q.Get("list-type") == "2":
		return "ListObjectsV2"
	case key == "" && r.Method == "POST" && q.Has("delete"):
		return "DeleteObjects"
	case key == "":
		if r.Method != "GET" && len(q) == 0 {
			return map[string]string{"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}[r.Method]
		}
		return ""
	case r.Method == "POST" && q.Has("uploads"):
		return "CreateMultipartUpload"
	case q.Has("uploadId"):
		return map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}[r.Method]
	case r.Header.Get("X-Amz-Copy-Source") != "" || q.Has("tagging") || q.Has("acl") || q.Has("attributes"):
		return ""
	default:
		return map[string]string{"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[r.Method]
	}
}

func s3Error(status int, code, message string) error {
	return &apiError{Code: code, Message: message, Status: status}
}

func encodeS3Error(e *apiError, resource, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<Error>")
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	element(&b, "Resource", resource)
	element(&b, "RequestId", requestID)
	b.WriteString("</Error>")
	return b.Bytes()
}

// bucket finds the request's bucket and authorizes action on it, or on the object if there is a key.
func (r *s3Request) bucket(action string) (*bucket, error) {
	b := r.Server.buckets[r.bucketName]
	if b == nil {
		return nil, s3Error(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	arn := "arn:" + r.Partition + ":s3:::" + r.bucketName
	if r.key != "" {
		arn += "/" + r.key
	}
	return b, r.authorize(action, arn, b.owner, nil)
}

type xmlBucket struct{ Name, CreationDate string }

type xmlOwner struct{ ID string }

func s3ListBuckets(r *s3Request) (*s3Output, error) {
	if err := r.authorize("s3:ListAllMyBuckets", "*", r.Account, nil); err != nil {
		return nil, err
	}
	out := struct {
		XMLName xml.Name    `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner   xmlOwner    `xml:"Owner"`
		Buckets []xmlBucket `xml:"Buckets>Bucket"`
	}{Owner: xmlOwner{r.Account}}
	for _, name := range slices.Sorted(maps.Keys(r.Server.buckets)) {
		if b := r.Server.buckets[name]; b.owner == r.Account {
			out.Buckets = append(out.Buckets, xmlBucket{name, s3Time(b.created)})
		}
	}
	return &s3Output{xml: out}, nil
}

func s3Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

var bucketNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func s3CreateBucket(r *s3Request) (*s3Output, error) {
	if err := r.authorize("s3:CreateBucket", "arn:"+r.Partition+":s3:::"+r.bucketName, r.Account, nil); err != nil {
		return nil, err
	}
	if !bucketNamePattern.MatchString(r.bucketName) {
		return nil, s3Error(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
	}
	if b := r.Server.buckets[r.bucketName]; b != nil {
		if b.owner == r.Account {
			return nil, s3Error(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
		}
		return nil, s3Error(http.StatusConflict, "BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users of the system.")
	}
	r.Server.buckets[r.bucketName] = &bucket{
		name: r.bucketName, owner: r.Account, region: r.Region, created: r.Now,
		objects: make(map[string]*object), uploads: make(map[string]*upload),
	}
	return &s3Output{status: http.StatusOK, header: http.Header{"Location": {"/" + r.bucketName}}}, nil
}

func s3HeadBucket(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:ListBucket")
	if err != nil {
		return nil, err
	}
	return &s3Output{status: http.StatusOK, header: http.Header{"X-Amz-Bucket-Region": {b.region}}}, nil
}

func s3DeleteBucket(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:DeleteBucket")
	if err != nil {
		return nil, err
	}
	if len(b.objects) > 0 {
		return nil, s3Error(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
	}
	delete(r.Server.buckets, b.name)
	return &s3Output{status: http.StatusNoContent}, nil
}

func s3GetBucketLocation(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:GetBucketLocation")
	if err != nil {
		return nil, err
	}
	out := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"`
	}{Region: b.region}
	if b.region == "us-east-1" { // which has no constraint
		out.Region = ""
	}
	return &s3Output{xml: out}, nil
}

type xmlContents struct {
	Key, LastModified, ETag string
	Size                    int
	StorageClass            string
}

type xmlPrefix struct{ Prefix string }

type xmlListResult struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	MaxKeys, KeyCount     int
	IsTruncated           bool
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	Contents              []xmlContents
	CommonPrefixes        []xmlPrefix
}

// s3ListObjects lists keys in order, those that share a prefix up to the delimiter as one. A token is the last
// key (or common prefix) of the page before.
func s3ListObjects(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:ListBucket")
	if err != nil {
		return nil, err
	}
	q := r.request.URL.Query()
	out := &xmlListResult{
		Name: b.name, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), EncodingType: q.Get("encoding-type"),
		StartAfter: q.Get("start-after"), MaxKeys: 1000, ContinuationToken: q.Get("continuation-token"),
	}
	if m := q.Get("max-keys"); m != "" {
		n, err := strconv.Atoi(m)
		if err != nil || n < 0 {
			return nil, s3Error(http.StatusBadRequest, "InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647")
		}
		out.MaxKeys = min(n, 1000)
	}
	after := out.StartAfter
	if out.ContinuationToken != "" {
		raw, err := hex.DecodeString(out.ContinuationToken)
		if err != nil {
			return nil, s3Error(http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect")
		}
		after = string(raw)
	}
	encode := func(s string) string { return s }
	if out.EncodingType == "url" {
		encode = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
	}
	last := ""
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		rest, ok := strings.CutPrefix(key, out.Prefix)
		if !ok {
			continue
		}
		entry := key
		if i := strings.Index(rest, out.Delimiter); out.Delimiter != "" && i >= 0 {
			entry = out.Prefix + rest[:i+len(out.Delimiter)]
		}
		if entry <= after || entry == last {
			continue
		}
		if out.KeyCount == out.MaxKeys {
			out.IsTruncated = out.MaxKeys > 0
			break
		}
		last = entry
		out.KeyCount++
		if entry != key {
			out.CommonPrefixes = append(out.CommonPrefixes, xmlPrefix{encode(entry)})
			continue
		}
		o := b.objects[key]
		out.Contents = append(out.Contents, xmlContents{encode(key), s3Time(o.modified), o.etag, len(o.body), "STANDARD"})
	}
	if out.IsTruncated {
		out.NextContinuationToken = hex.EncodeToString([]byte(last))
	}
	out.Prefix, out.Delimiter, out.StartAfter = encode(out.Prefix), encode(out.Delimiter), encode(out.StartAfter)
	return &s3Output{xml: out}, nil
}

// newObject reads an object from a request, and what of its headers comes back when it is read.
func (r *s3Request) newObject() (*object, error) {
	body, err := r.payload()
	if err != nil {
		return nil, s3Error(http.StatusBadRequest, "IncompleteBody", err.Error())
	}
	sum := md5.Sum(body)
	return &object{body: body, etag: `"` + hex.EncodeToString(sum[:]) + `"`, header: storedHeader(r.request.Header), modified: r.Now}, nil
}

func storedHeader(h http.Header) http.Header {
	out := http.Header{"Content-Type": {"binary/octet-stream"}}
	for name, v := range h {
		switch {
		case name == "Content-Type", name == "Cache-Control", name == "Content-Disposition", name == "Content-Language", strings.HasPrefix(name, "X-Amz-Meta-"):
			out[name] = v
		case name == "Content-Encoding":
			var kept []string // aws-chunked is about the transfer, not the object
			for e := range strings.SplitSeq(strings.Join(v, ","), ",") {
				if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
					kept = append(kept, e)
				}
			}
			if kept != nil {
				out.Set(name, strings.Join(kept, ","))
			}
		}
	}
	return out
}

// payload is the request's body without the aws-chunked framing that SDKs put around it for trailing checksums.
// See https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
func (r *s3Request) payload() ([]byte, error) {
	if !strings.HasPrefix(r.request.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") &&
		!strings.Contains(strings.Join(r.request.Header.Values("Content-Encoding"), ","), "aws-chunked") {
		return r.request.body, nil
	}
	return decodeChunked(r.request.body)
}

func decodeChunked(body []byte) ([]byte, error) {
	in := bufio.NewReader(bytes.NewReader(body))
	var out []byte
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("aws-chunked: %w", io.ErrUnexpectedEOF)
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || n > uint64(len(body)) { // do not make room for what cannot come
			return nil, fmt.Errorf("aws-chunked: bad chunk size %q", size)
		}
		if n == 0 {
			return out, nil // trailers: checksums are not verified
		}
		chunk := make([]byte, n+2) // with \r\n
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, fmt.Errorf("aws-chunked: %w", err)
		}
		out = append(out, chunk[:n]...)
	}
}

// precondition checks If-Match and If-None-Match of a write.
// See https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (r *s3Request) precondition(b *bucket) error {
	o := b.objects[r.key]
	failed := s3Error(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	if v := r.request.Header.Get("If-None-Match"); v != "" {
		if v != "*" {
			return s3Error(http.StatusNotImplemented, "NotImplemented", "If-None-Match must be *")
		}
		if o != nil {
			return failed
		}
	}
	if v := r.request.Header.Get("If-Match"); v != "" {
		switch {
		case o == nil:
			return errNoSuchKey()
		case strings.Trim(v, `"`) != strings.Trim(o.etag, `"`):
			return failed
		}
	}
	return nil
}

func errNoSuchKey() error {
	return s3Error(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
}

func s3PutObject(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:PutObject")
	if err != nil {
		return nil, err
	}
	if err := r.precondition(b); err != nil {
		return nil, err
	}
	o, err := r.newObject()
	if err != nil {
		return nil, err
	}
	b.objects[r.key] = o
	return &s3Output{status: http.StatusOK, header: http.Header{"Etag": {o.etag}}}, nil
}

func s3GetObject(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:GetObject")
	if err != nil {
		return nil, err
	}
	o := b.objects[r.key]
	if o == nil {
		return nil, errNoSuchKey()
	}
	return &s3Output{object: o, head: r.request.Request}, nil
}

func s3DeleteObject(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:DeleteObject")
	if err != nil {
		return nil, err
	}
	delete(b.objects, r.key)
	return &s3Output{status: http.StatusNoContent}, nil
}

func s3DeleteObjects(r *s3Request) (*s3Output, error) {
	var in struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	body, err := r.payload()
	if err == nil {
		err = xml.Unmarshal(body, &in)
	}
	if err != nil || len(in.Object) == 0 || len(in.Object) > 1000 {
		return nil, s3Error(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	type deleted struct{ Key string }
	type failure struct{ Key, Code, Message string }
	out := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
		Deleted []deleted
		Error   []failure
	}{}
	for _, o := range in.Object {
		one := *r
		one.key = o.Key
		b, err := one.bucket("s3:DeleteObject")
		if b == nil {
			return nil, err
		}
		if err != nil {
			e, _ := r.op.service.asAPIError(err)
			out.Error = append(out.Error, failure{o.Key, e.Code, e.Message})
			continue
		}
		delete(b.objects, o.Key)
		if !in.Quiet {
			out.Deleted = append(out.Deleted, deleted{o.Key})
		}
	}
	return &s3Output{xml: out}, nil
}
