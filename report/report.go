// Package report shows one run: as text on a terminal, JSON, CSV, Markdown and an Excel workbook, and explains
// single images. Every output is made of the same facts, so that all totals agree to the last digit.
//
// It decides nothing, and must never talk to anybody: no AWS SDK, no configuration, no store, no clock. Text that
// comes from AWS is never trusted: each format escapes it in its own way.
package report

import (
	"time"

	"demurrage/internal/cost"
	"demurrage/internal/image"
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
	Prices       cost.Prices        // their currency is that of all amounts (see cost.Prices.In)
	Hints        []string           // commands to go on with, shown last on the terminal

	// Of the cost report. Without them the report shows list prices of the sizes of images, and says so.
	Stored      map[image.Repository]cost.Stored // what repositories store; one that is missing is not known
	Layers      string                           // how that was found out, in words
	Bill        *cost.Bill                       // nil: there is none, and BillMissing says why
	BillMissing string
	History     []Month              // what is remembered of earlier months, rising; a month that was missed is missing
	Deleted     MonthDeleted         // by sweeps of the month of the run
	Since       map[string]time.Time // by Place: what cannot be read, and could not be in all runs from then on; others since this run
	Finance     Finance
	Lifecycle   map[image.Repository]bool // whether repositories have a lifecycle policy; of one that is missing it is not known
	Workbook    string                    // where the workbook is, for messages; "": they do not say
}

// Finance is how a finance department wants its report. The zero value is: fiscal years that begin in January.
type Finance struct {
	RateDate       time.Time  // of the exchange rate that Prices were converted by; zero: not known
	RateSource     string     // who says so; "": not known
	FiscalStart    time.Month // first month of a fiscal year; 0: January
	OwnerKeys      []string   // of resource tags
	CostCenterKeys []string
}

// Month is what the store remembers of a month: the figures of its last complete run, or of its last one.
type Month struct {
	Month    string              `json:"month"` // 2026-10
	RunID    string              `json:"run_id"`
	At       time.Time           `json:"at"`
	Complete bool                `json:"complete"`
	Currency string              `json:"currency"`
	Accounts map[string]MonthSum `json:"accounts"`         // by id
	Deleted  MonthDeleted        `json:"deleted"`          // by sweeps of the month
	Failed   []string            `json:"failed,omitempty"` // what could not be read, by Place
}

// MonthSum are the figures of an account.
type MonthSum struct {
	Stored int64      `json:"stored"` // unique bytes, or the sum of sizes where these are not known
	Images int        `json:"images"`
	List   cost.Money `json:"list"`
	Low    cost.Money `json:"low"`
	High   cost.Money `json:"high"`
}

// MonthDeleted is what journals say.
type MonthDeleted struct {
	Images int        `json:"images"`
	Bytes  int64      `json:"bytes"` // sizes of images: an upper bound
	Saving cost.Money `json:"saving"`
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
