package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"demurrage/internal/cost"
)

// The sheets that explain the others.

func (b *book) assumptions() error {
	f, run := b.facts, b.run
	type row struct {
		topic string
		value any
	}
	var list []row
	say := func(topic string, value any) { list = append(list, row{topic, value}) }

	say("Run", run.ID)
	say("Generated (UTC)", run.GeneratedAt.UTC().Format("2006-01-02 15:04"))
	if run.WhatIf {
		say("What if", "Ages are counted from the time above, which is not when the run was made.")
	}
	say("Grain", "Month × account × region × repository. All sheets add up the same facts, in millionths of the currency and in bytes; amounts are rounded for display only.")
	if f.bill.known() {
		say("Billed: metric", run.Bill.Metric+" of Cost Explorer, read on "+date(run.Bill.AsOf)+", in "+run.Bill.Currency)
		month := f.bill.month
		if f.bill.provisional {
			month += ", provisional: AWS still estimates it"
		}
		if f.bill.month != f.month {
			month += "; nothing is billed yet for " + f.month + ", the month of the run"
		}
		say("Billed: month", month)
		say("Billed: allocation", "The bill knows accounts and regions, not repositories. What an account is billed for storage in a region is allocated to its repositories by the bytes that they store at the time of the run, by largest remainder, so that the parts are the whole. What lies in no repository that was scanned is "+cost.NotScanned+"; what is not storage is "+cost.NotStorage+".")
		say("Billed: change", "Against the month before, allocated by what is stored now.")
	} else {
		say("Billed", "There is no bill: "+f.bill.missing+". Amounts are list prices.")
	}
	prices := run.Prices
	say("List price: source", prices.Source+", as of "+date(prices.AsOf)+", in "+cmp.Or(prices.Listed, prices.Currency))
	for _, region := range slices.Sorted(maps.Keys(prices.PerGBMonth)) {
		price, _ := prices.Monthly(region, cost.GB)
		say("List price: "+region+" ("+f.currency+" per GB-month)", styled{kindRate, price})
	}
	say("Stored bytes", cmp.Or(run.Layers, "Sums of the sizes of images: an upper bound, since layers that images share are stored and billed once, and are counted here once for each image."))
	say("Layers known", number(f.total.exact)+" of "+count(f.total.repositories, "repository")+": elsewhere a saving is known as an upper bound only")
	say("Saving, low", "The bytes of layers that no image that stays refers to, at list price: what will really go. Only where the layers are known.")
	say("Saving, high", "The sum of the sizes of the images that go, at list price: an upper bound. A saving is a projection and in no billed amount.")
	say("Realised saving", "What journals say was deleted in the month and is not stored any more, at list price; the sizes of images where layers are not known, which is an upper bound.")
	say("GB", "1 GB = 2^30 bytes, 1 TB = 1,024 GB, 1 MB = 2^20 bytes.")
	say("Currency", f.currency)
	if prices.Converted() {
		say("Exchange rate: "+f.currency+" for one "+prices.Listed, styled{kindRate, cost.Money(prices.Rate)})
		say("Exchange rate: source", cmp.Or(strings.TrimPrefix(strings.TrimSuffix(run.Finance.RateSource+", "+date(run.Finance.RateDate), ", "), ", "), "the configuration"))
	}
	start := run.Finance.FiscalStart
	if start == 0 {
		start = time.January
	}
	say("Fiscal year", "Begins in "+start.String()+"; named for the calendar year in which it ends.")
	say("Cost centre", "Of the configuration, else of an account's tag, else of a repository's tag. Tag keys: "+strings.Join(run.costCenterKeys(), ", "))
	say("Owner", "Of the configuration, else of an account's tag, else of a repository's tag. Tag keys: "+strings.Join(run.ownerKeys(), ", "))
	say("Deletable", "Only what nothing uses, where everything that could use it was looked at. What could not be looked at blocks what it could use (sheets Blocked and Coverage).")
	say("Added (GB)", "By how much more is stored than in the month before, and what was deleted since. Below zero where others deleted.")
	attested := run.Plan.Attestations
	if len(attested) == 0 {
		say("Attestations in force", "none")
	}
	for i := range attested {
		a := &attested[i]
		say("Attestation in force until "+date(a.Expires), "Uses no images: "+scope(&a.Attestation)+". Reason: "+a.Reason)
	}
	say("Configuration (SHA-256)", run.ConfigSHA256)
	say("Version", "demurrage "+run.Version)

	s, err := b.plain(sheetAssumptions, []field{{"Assumption", kindWrap, 50}, {"Value", kindWrap, 110}}, len(list))
	if err != nil {
		return err
	}
	for _, r := range list {
		if err := s.add(r.topic, r.value); err != nil {
			return err
		}
	}
	return s.close()
}

var terms = [][3]string{
	{"Billed", "What AWS has billed for Amazon ECR, by Cost Explorer. Allocated to repositories by stored bytes.", "BilledCost"},
	{"List cost", "Stored bytes at AWS's public price, a month.", "ListCost"},
	{"Price", "Of a GB of standard storage for a month.", "ListUnitPrice"},
	{"Account", "An AWS account: what is billed apart within an organization.", "SubAccountId"},
	{"Account name", "What the organization calls it.", "SubAccountName"},
	{"Region", "Where AWS keeps the data.", "RegionId"},
	{"Repository", "A named collection of images, in an account and a region.", "ResourceId"},
	{"Month", "A calendar month, by its first day.", "BillingPeriodStart"},
	{"Fiscal period", "The same month in the fiscal year of this organization.", "(none)"},
	{"Cost centre, owner", "Who pays for it and who answers for it.", "Tags"},
	{"Stored (GB)", "What is kept and billed: every layer of a repository once, or the sizes of its images where layers are not known.", "ConsumedQuantity"},
	{"Sum of sizes (GB)", "The sizes of all images, as if they shared nothing.", "(none)"},
	{"Reclaimable (GB)", "What goes if the plan is applied: the layers that nothing else refers to, or the sizes of the images where layers are not known.", "x_ReclaimableQuantity"},
	{"Saving, low", "Reclaimable layers at list price: what will really be saved. A projection, not a charge.", "x_SavingLow"},
	{"Saving, high", "The sizes of the images that go at list price: no more than that will be saved. A projection, not a charge.", "x_SavingHigh"},
	{"Realised saving", "What was deleted and is not stored any more, at list price.", "x_SavingRealised"},
	{"Blocked", "What would go, but something that could use it was not looked at. It is kept.", "(none)"},
	{"Broken reference", "Something that uses an image which is gone: live if it runs or can start at any time, latent if it is an old definition.", "(none)"},
	{"Final, provisional", "Provisional: something was not looked at, or AWS still estimates the bill. Final: neither.", "(none)"},
	{cost.NotScanned, "Storage that is billed where no repository was scanned.", "BilledCost"},
	{cost.NotStorage, "What is billed besides storage.", "BilledCost"},
	{untagged, "What no cost centre is known of.", "Tags"},
}

func (b *book) glossary() error {
	s, err := b.plain(sheetGlossary, []field{{"Term", kindWrap, 34}, {"Meaning", kindWrap, 100}, {"FOCUS column", kindWrap, 24}}, len(terms))
	if err != nil {
		return err
	}
	for _, t := range terms {
		if err := s.add(t[0], t[1], t[2]); err != nil {
			return err
		}
	}
	return s.close()
}
