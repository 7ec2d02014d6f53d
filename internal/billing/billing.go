// Package billing reads what ECR costs: list prices from the Price List, and what was billed from Cost Explorer.
//
// It never writes, and never guesses: a price that is not listed stays missing, a usage type that tells no region that is
// known has none, and an answer that cannot be read is an error. Text from AWS is not trusted.
package billing

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"

	"github.com/aws/smithy-go"

	"demurrage/internal/cost"
	"demurrage/internal/image"
)

// Actions are the IAM actions that this package needs, sorted: GetProducts of any account, GetCostAndUsage of the one that
// pays.
func Actions() []string { return []string{"ce:GetCostAndUsage", "pricing:GetProducts"} }

// Region is where the Price List and Cost Explorer of a region's partition have their endpoint. The Price List of the aws
// partition has the prices of GovCloud too, and the bill of a GovCloud account comes with that of the account that pays for
// it; China has its own of both.
//
// https://docs.aws.amazon.com/general/latest/gr/billing.html
func Region(region string) string {
	if image.PartitionOf(region).ID == "aws-cn" {
		return "cn-northwest-1"
	}
	return "us-east-1"
}

// decimal is what AWS writes numbers as. The lengths are bounds: big.Rat would make a number of a gigabyte of 1e999999999.
var decimal = regexp.MustCompile(`^[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?$`)

func parseDecimal(text string) (*big.Rat, error) {
	if !decimal.MatchString(text) {
		return nil, fmt.Errorf("%.60q is not a number", text)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%.60q is not a number", text)
	}
	return r, nil
}

// scaled is a number times a factor, rounded half up to a whole one.
func scaled(r *big.Rat, factor int64) (int64, error) {
	r = new(big.Rat).Mul(r, new(big.Rat).SetInt64(factor))
	r.Add(r, big.NewRat(1, 2))
	n := new(big.Int).Div(r.Num(), r.Denom()) // Euclidean: towards minus infinity
	if !n.IsInt64() {
		return 0, errors.New("the number is too large")
	}
	return n.Int64(), nil
}

// millionths of a currency in one of it.
const millionths = 1_000_000

func parseMoney(text string) (cost.Money, error) {
	r, err := parseDecimal(text)
	if err != nil {
		return 0, err
	}
	n, err := scaled(r, millionths)
	return cost.Money(n), err
}

// errorCode is the AWS error code of err, "" if it is no answer of AWS.
func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// plain is what an error says without what is of no use in a report: ids of requests, names of operations. It is still that
// error.
func plain(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("%w: %s", plainError{err, api.ErrorCode()}, api.ErrorMessage())
	}
	return err
}

type plainError struct {
	error
	code string
}

func (e plainError) Error() string { return e.code }
func (e plainError) Unwrap() error { return e.error }
