package store

import (
	"errors"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
)

// hinted is an error of a store that somebody has to mend, with how.
type hinted struct {
	error
	hint string
}

func (e *hinted) Error() string { return e.error.Error() + " (" + e.hint + ")" }
func (e *hinted) Unwrap() error { return e.error }

// Hint says what to do about it.
func (e *hinted) Hint() string { return e.hint }

// hint adds to an error what to do about it, where that is known and was not said before.
func hint(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*hinted](err); ok {
		return err
	}
	text := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "NoSuchBucket":
			text = "make the bucket, or mend url under [store]"
		case "AccessDenied", "Forbidden", "AllAccessDisabled":
			text = "the hub's identity needs s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on what is under the prefix, and the bucket's own policy and key must allow it too"
		case "PermanentRedirect", "AuthorizationHeaderMalformed", "MovedPermanently", "IllegalLocationConstraintException":
			text = "the bucket is in another region: set AWS_REGION to it"
		}
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case text != "":
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		text = "set url under [store] to a directory that can be written, or mend its permissions"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist), strings.HasSuffix(err.Error(), "is not a directory"): // fileblob's text
		text = "set url under [store] to a directory: something on the way there is a file"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		text = "the disk is full"
	case isDNS && dns.IsNotFound, errors.Is(err, syscall.ECONNREFUSED):
		text = "S3 cannot be reached: check AWS_REGION, AWS_ENDPOINT_URL and the network"
	default:
		return err
	}
	return &hinted{err, text}
}
