package delivery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// bucket is a prefix in a bucket.
type bucket struct{ name, prefix string } // prefix is "" or ends with a slash

const (
	maxKey    = 1024    // bytes
	maxObject = 5 << 30 // bytes that S3 takes in one piece
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)
)

func parseBucket(rest string) (Destination, error) {
	name, prefix, _ := strings.Cut(rest, "/")
	if !bucketName.MatchString(name) {
		return nil, fmt.Errorf("%q is not the name of a bucket", name)
	}
	if prefix == "" {
		return bucket{name: name}, nil
	}
	prefix = strings.TrimSuffix(prefix, "/")
	// What S3 advises against in keys, and what a policy takes for a wildcard.
	if strings.ContainsAny(prefix, "\\{}^%`[]\"<>~#|?*") || !plain(prefix) {
		return nil, fmt.Errorf("the prefix %q has characters that do not belong into a key", prefix)
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." {
			return nil, fmt.Errorf("the prefix %q has an empty part, or one of dots", prefix)
		}
	}
	if len(prefix) > maxKey-maxFileName {
		return nil, errors.New("the prefix is too long")
	}
	return bucket{name, prefix + "/"}, nil
}

func (b bucket) String() string { return "s3://" + b.name + "/" + b.prefix }

func (b bucket) location(name string) string { return b.String() + name }

func (b bucket) actions() []string { return []string{"s3:PutObject"} }

func (b bucket) deliver(ctx context.Context, cfg aws.Config, m Message) error {
	if err := needsRegion(cfg); err != nil {
		return err
	}
	for _, f := range m.Files {
		err := b.put(ctx, cfg, cfg.Region, f)
		if region := elsewhere(err); region != "" && region != cfg.Region {
			err = b.put(ctx, cfg, region, f)
		}
		if err != nil {
			return advise(fmt.Errorf("put %s: %w", b.prefix+f.Name, err), map[string]string{
				"AccessDenied": "allow s3:PutObject on the objects " + b.name + "/" + b.prefix +
					"*, in the bucket's policy too where it is another account's, and kms:GenerateDataKey where a KMS key encrypts them",
				"NoSuchBucket":                 "make the bucket, or correct its name",
				"PermanentRedirect":            "the bucket is in another region: set AWS_REGION to it",
				"AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION to it",
			})
		}
	}
	return nil
}

// put stores one file, whatever was there before: a month is drawn again under the same name.
func (b bucket) put(ctx context.Context, cfg aws.Config, region string, f File) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxObject {
		return fmt.Errorf("the file has %s: more than the 5 GB that S3 takes in one piece", megabytes(info.Size()))
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.Region = region
		// Stand-ins for S3 have no DNS name for each bucket.
		o.UsePathStyle = o.BaseEndpoint != nil || os.Getenv("AWS_ENDPOINT_URL") != ""
	})
	_, err = client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: aws.String(b.prefix + f.Name), Body: file, ContentType: aws.String(f.contentType()),
	})
	return err
}

// elsewhere is the region that S3 names when it is asked in another than the bucket's.
func elsewhere(err error) string {
	var e *smithyhttp.ResponseError
	if !errors.As(err, &e) || e.Response == nil {
		return ""
	}
	// It becomes part of a host's name.
	if region := e.Response.Header.Get("X-Amz-Bucket-Region"); regionName.MatchString(region) {
		return region
	}
	return ""
}
