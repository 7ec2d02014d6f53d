package orgsim

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// minPart is the least size of a part that is not the last.
const minPart = 5 << 20

func s3CreateUpload(r *s3Request) (*s3Output, error) {
	b, err := r.bucket("s3:PutObject")
	if err != nil {
		return nil, err
	}
	id := rand.Text()
	b.uploads[id] = &upload{key: r.key, header: storedHeader(r.request.Header), parts: make(map[int]*object)}
	return &s3Output{xml: struct {
		XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket, Key, UploadId string
	}{Bucket: b.name, Key: r.key, UploadId: id}}, nil
}

func (r *s3Request) upload() (*bucket, *upload, error) {
	b, err := r.bucket("s3:PutObject")
	if err != nil {
		return nil, nil, err
	}
	u := b.uploads[r.request.URL.Query().Get("uploadId")]
	if u == nil || u.key != r.key {
		return nil, nil, s3Error(http.StatusNotFound, "NoSuchUpload", "The specified multipart upload does not exist.")
	}
	return b, u, nil
}

func s3UploadPart(r *s3Request) (*s3Output, error) {
	_, u, err := r.upload()
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(r.request.URL.Query().Get("partNumber"))
	if err != nil || n < 1 || n > 10000 {
		return nil, s3Error(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
	}
	o, err := r.newObject()
	if err != nil {
		return nil, err
	}
	u.parts[n] = o
	return &s3Output{status: http.StatusOK, header: http.Header{"Etag": {o.etag}}}, nil
}

func s3CompleteUpload(r *s3Request) (*s3Output, error) {
	b, u, err := r.upload()
	if err != nil {
		return nil, err
	}
	if err := r.precondition(b); err != nil {
		return nil, err
	}
	var in struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(r.request.body, &in); err != nil || len(in.Part) == 0 {
		return nil, s3Error(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	o := &object{header: u.header, modified: r.Now}
	sums := md5.New()
	last := 0
	for i, p := range in.Part {
		part := u.parts[p.PartNumber]
		switch {
		case p.PartNumber <= last:
			return nil, s3Error(http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order.")
		case part == nil || strings.Trim(p.ETag, `"`) != strings.Trim(part.etag, `"`):
			return nil, s3Error(http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found.")
		case i < len(in.Part)-1 && len(part.body) < minPart:
			return nil, s3Error(http.StatusBadRequest, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
		}
		last = p.PartNumber
		o.body = append(o.body, part.body...)
		sum := md5.Sum(part.body)
		sums.Write(sum[:])
	}
	o.etag = fmt.Sprintf(`"%s-%d"`, hex.EncodeToString(sums.Sum(nil)), len(in.Part))
	b.objects[u.key] = o
	delete(b.uploads, r.request.URL.Query().Get("uploadId"))
	return &s3Output{xml: struct {
		XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
	}{Bucket: b.name, Key: u.key, ETag: o.etag}}, nil
}

func s3AbortUpload(r *s3Request) (*s3Output, error) {
	b, _, err := r.upload()
	if err != nil {
		return nil, err
	}
	delete(b.uploads, r.request.URL.Query().Get("uploadId"))
	return &s3Output{status: http.StatusNoContent}, nil
}
