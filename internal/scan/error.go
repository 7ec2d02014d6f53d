package scan

import (
	"context"
	"errors"
	"net"

	"github.com/aws/smithy-go"
)

// ScanError is one thing that could not be read.
type ScanError struct {
	Account, Region string
	Source          string
	Op              string // API operation
	Resource        string // ARN or name of what was asked about; "" where it was a list of everything
	Err             error
}

func (e *ScanError) Error() string { return e.Account + "/" + e.Region + ": " + e.what() }

// what is the error without the place, so that the same trouble in many regions reads the same.
func (e *ScanError) what() string {
	text := e.Source + " " + e.Op
	if e.Resource != "" {
		text += " " + e.Resource
	}
	return text + ": " + reason(e.Err)
}

func (e *ScanError) Unwrap() error { return e.Err }

// reason is an error's text without what the SDK repeats or makes up anew for each request.
func reason(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if api.ErrorMessage() == "" {
			return api.ErrorCode()
		}
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled.Error()
	}
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		err = op.Err
	}
	return requestID.ReplaceAllString(err.Error(), "")
}

// noSuchHost reports whether the name of a service's host does not exist.
func noSuchHost(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// errorCode is the AWS error code of err, "" if it is no answer of AWS.
func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}
