package assume

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
)

// HubError is why the hub has no identity, so that nothing can be done.
type HubError struct {
	Doing string
	Err   error
}

func (e *HubError) Unwrap() error { return e.Err }

// Error is one line: some of the SDK's texts, and what a proxy answers in place of AWS, are long.
func (e *HubError) Error() string {
	text := e.Err.Error()
	if api, ok := errors.AsType[smithy.APIError](e.Err); ok {
		if _, own := errors.AsType[*Error](e.Err); !own {
			text = api.ErrorCode() + ": " + api.ErrorMessage()
		}
	} else if op, ok := errors.AsType[*smithy.OperationError](e.Err); ok {
		text = "STS " + op.OperationName + ": " + op.Err.Error()
	}
	text = strings.Join(strings.Fields(text), " ")
	if most := 800; len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	text = e.Doing + ": " + text
	if hint := e.Hint(); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// Hint says what to do about it, "" where the error itself does.
func (e *HubError) Hint() string {
	if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](e.Err); ok {
		return "set AWS_PROFILE to a profile of ~/.aws/config or ~/.aws/credentials, or unset it"
	}
	if _, ok := errors.AsType[*Error](e.Err); ok {
		return "" // it has its own
	}
	if api, ok := errors.AsType[smithy.APIError](e.Err); ok {
		switch code := api.ErrorCode(); {
		case strings.HasPrefix(code, "ExpiredToken"), code == "RequestExpired":
			return "the credentials have expired: sign in again (aws sso login), or set fresh AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
		case code == "SignatureDoesNotMatch", code == "RequestTimeTooSkewed", code == "InvalidSignatureException":
			return "the secret key is not that of the access key, or this machine's clock is wrong: AWS refuses more than 5 minutes of difference"
		case code == "InvalidClientTokenId", code == "UnrecognizedClientException", code == "AuthFailure":
			return "AWS does not know the access key: set credentials that exist, of the partition that AWS_REGION is in, and enable the region if it is an opt-in one"
		case code == "RegionDisabledException":
			return "STS is not active in this region: set AWS_REGION to a region that is enabled by default"
		case strings.Contains(code, "Throttl"), code == "TooManyRequestsException":
			return "AWS is throttling the account: try again later, and leave AWS_MAX_ATTEMPTS unset"
		case strings.HasPrefix(code, "AccessDenied"):
			return "a policy denies even sts:GetCallerIdentity: ask whoever keeps the policies of the account or its organization"
		case api.ErrorFault() == smithy.FaultServer:
			return "STS is out of order: try again later"
		}
		return ""
	}
	dns, isDNS := errors.AsType[*net.DNSError](e.Err)
	response, answered := errors.AsType[*awshttp.ResponseError](e.Err)
	text := e.Err.Error()
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nobody listens there: check AWS_ENDPOINT_URL, HTTPS_PROXY and the network"
	case isDNS && dns.IsNotFound:
		return "there is no host " + dns.Name + ": check AWS_REGION, AWS_ENDPOINT_URL and the network's name resolution"
	case isDNS:
		return "names cannot be resolved: check the network"
	case strings.Contains(text, "Invalid region"), strings.Contains(text, "not a valid host label"), strings.Contains(text, "invalid input region"):
		return "AWS_REGION is not a region: set it as in us-east-1"
	case strings.Contains(text, "no EC2 IMDS role found"), strings.Contains(text, "get credentials"), strings.Contains(text, "failed to refresh cached credentials"):
		return "give credentials: aws sso login with AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine or task it runs on"
	case answered && response.HTTPStatusCode() > 0:
		return "what answers is not AWS, a proxy or a login page perhaps: check AWS_ENDPOINT_URL and HTTPS_PROXY"
	case errors.Is(e.Err, context.Canceled):
		return ""
	}
	return "check AWS_REGION, AWS_ENDPOINT_URL, HTTPS_PROXY and the network"
}
