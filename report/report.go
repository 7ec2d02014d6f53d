// Package report shows one run: as text on a terminal, JSON, CSV, Markdown and an Excel workbook, and explains
// single images. Every output is made of the same facts, so that all totals agree to the last digit.
//
// It decides nothing, and must never talk to anybody: no AWS SDK, no configuration, no store, no clock. Text that
// comes from AWS is never trusted: each format escapes it in its own way.
package report

import (
	"time"

	"demurrage/internal/cost"
	"demurrage/planner"
)

// Run is a planned run with what the report says beyond the plan.
type Run struct {
	Plan         *planner.Plan
	ID           string
	ConfigSHA256 string
	Version      string             // of demurrage
	GeneratedAt  time.Time          // what ages are counted from
	WhatIf       bool               // GeneratedAt is not when the run was made (--now): nothing may be deleted by such a plan
	Accounts     map[string]Account // by id; an account that is missing has no name
	Prices       cost.Prices
	Hints        []string // commands to go on with, shown last on the terminal
}

// Account is what the configuration and the organization say about an account.
type Account struct {
	ID         string
	Name       string
	Owner      string
	CostCenter string
	OU         string
	Tags       map[string]string
}
