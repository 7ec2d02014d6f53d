package main

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/opencontainers/go-digest"
	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/internal/orgsim"
	"demurrage/internal/store"
)

// The cost report against the simulated organization: what a test knows of what it pushed, and what the organization
// bills, are the judges.

// billedConfig is sweepConfig with exact layers and a role in the account that pays.
const billedConfig = sweepConfig + `
[report]
layers = "exact"

[billing]
role = "arn:aws:iam::` + orgsim.ManagementAccount + `:role/DemurrageRead"
`

// monthStart is the first moment of a month: 0 is this one, -1 the last one.
func monthStart(months int) time.Time {
	now := time.Now().UTC()
	return time.Date(now.Year(), now.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
}

// billed is a world whose pushes are of five months ago, and what was pushed.
type billed struct {
	*world
	blobs map[image.Repository]map[string]map[string]int64 // by image: what it is stored as, by digest
	goes  map[image.Repository][]string                    // images that no use keeps
}

type layer struct {
	name string
	size int
}

// keep records what an image is stored as, which the test knows since it wrote the manifest.
func (b *billed) keep(r image.Repository, manifest string, goes bool) string {
	var m struct {
		Config *struct {
			Digest string
			Size   int64
		}
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		b.Fatalf("%v", err)
	}
	d := digest.FromString(manifest).String()
	blobs := map[string]int64{d: int64(len(manifest))}
	if m.Config != nil {
		blobs[m.Config.Digest] = m.Config.Size
	}
	for _, l := range m.Layers {
		blobs[l.Digest] = l.Size
	}
	if b.blobs[r] == nil {
		b.blobs[r] = map[string]map[string]int64{}
	}
	b.blobs[r][d] = blobs
	if goes {
		b.goes[r] = append(b.goes[r], d)
	}
	return d
}

// push puts an image five months ago.
func (b *billed) push(r image.Repository, manifest string, goes bool, tags ...string) string {
	b.Helper()
	b.SetClock(monthStart(-5))
	defer b.SetClock(time.Time{})
	in := &ecr.PutImageInput{RepositoryName: &r.Name, ImageManifest: &manifest}
	for _, tag := range append(tags, "")[:max(len(tags), 1)] {
		if tag != "" {
			in.ImageTag = &tag
		}
		done(b.ecr(r.Account, r.Region).PutImage(b.Context(), in))(b.world)
	}
	return b.keep(r, manifest, goes)
}

// of makes the manifest of an image of layers that others may have too.
func of(config string, subject map[string]any, layers ...layer) string {
	var list []any
	for _, l := range layers {
		list = append(list, descriptor("application/vnd.oci.image.layer.v1.tar+gzip", l.name, l.size))
	}
	m := map[string]any{
		"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest, "layers": list,
		"config": descriptor("application/vnd.oci.image.config.v1+json", "config of "+config, 1000+len(config)),
	}
	if subject != nil {
		m["subject"] = subject
	}
	text, _ := json.Marshal(m)
	return string(text)
}

func subjectOf(digest string) map[string]any {
	return map[string]any{"mediaType": image.MediaTypeOCIManifest, "digest": digest, "size": 500}
}

// expected is what a repository stores and what goes of it, by the test's own knowledge.
func (b *billed) expected(r image.Repository) (stored, freed int64) {
	all, left := map[string]int64{}, map[string]bool{}
	for d, blobs := range b.blobs[r] {
		for blob, size := range blobs {
			all[blob] = size
			if !slices.Contains(b.goes[r], d) {
				left[blob] = true
			}
		}
	}
	for blob, size := range all {
		stored += size
		if !left[blob] {
			freed += size
		}
	}
	return stored, freed
}

func at(account, name string) image.Repository {
	return image.Repository{Registry: image.Registry{Account: account, Region: virginia}, Name: name}
}

// newBilled makes repositories whose images share layers as real builds do: indexes with a child in common, an image of the
// same layer twice, referrers, untagged images, an archived one, and the same layers in other repositories.
func newBilled(t *testing.T) *billed {
	t.Helper()
	w := newWorld(t, virginia)
	w.sweepRole(accountA)
	w.sweepRole(accountB)
	w.role(orgsim.ManagementAccount, accountHub)
	w.config(billedConfig)
	b := &billed{world: w, blobs: map[image.Repository]map[string]map[string]int64{}, goes: map[image.Repository][]string{}}
	app, multi, frozen, own := at(accountA, "app"), at(accountA, "multi"), at(accountA, "frozen"), at(accountB, "own")
	w.share(virginia, app.Name)
	w.share(virginia, multi.Name)
	w.repository(accountA, virginia, frozen.Name)
	w.repository(accountB, virginia, own.Name)

	base, runtime := layer{"base", 73_400_321}, layer{"runtime", 181_403_977}
	b.push(app, of("one", nil, base, runtime, layer{"app one", 20_971_529}), true, "v1")
	b.push(app, of("two", nil, base, runtime, layer{"app two", 20_971_531}, layer{"app two", 20_971_531}), true) // untagged; a layer twice
	old := b.push(app, of("three", nil, base, layer{"older runtime", 160_000_003}, layer{"app three", 7}), true, "v3")
	b.push(app, of("signature of three", subjectOf(old), layer{"signature of three", 4_099}), true)
	used := b.push(app, of("four", nil, base, runtime, layer{"app four", 31_457_287}), false, "v4", "latest")
	b.push(app, of("signature of four", subjectOf(used), layer{"signature of four", 4_111}), false)

	amd := b.push(multi, of("amd", nil, base, layer{"amd", 50_000_017}), false)
	arm := b.push(multi, of("arm", nil, base, layer{"arm", 50_000_021}), true)
	newer := b.push(multi, of("arm, newer", nil, base, layer{"arm, newer", 50_000_023}), false)
	b.push(multi, indexOf(amd, arm), true, "m1")
	b.push(multi, indexOf(amd, newer), false, "m2")

	b.push(frozen, of("frozen", nil, base, layer{"frozen", 90_000_049}), true, "old")
	b.push(frozen, of("thawed", nil, base, layer{"thawed", 90_000_053}), true, "older")

	b.push(own, of("one", nil, base, runtime, layer{"app one", 20_971_529}), true, "v1") // as in app of the other account
	b.push(own, of("own", nil, base, layer{"own", 11}), true, "v2")

	w.SetClock(monthStart(-5).Add(time.Hour)) // what was pulled since a plan was made is not deleted
	defer w.SetClock(time.Time{})
	w.cluster(accountB, virginia)
	w.service("web", w.register(virginia, "web", host(virginia)+"/app:v4"), 1, "")
	w.service("multi", w.register(virginia, "multi", host(virginia)+"/multi:m2"), 1, "")
	return b
}

// table reads a table of facts of the directory as maps by the header.
func (w *world) table(dir, name string) []map[string]string {
	w.Helper()
	f, err := os.Open(filepath.Join(w.dir, dir, name+".csv"))
	if err != nil {
		w.Fatalf("%v", err)
	}
	defer func() { _ = f.Close() }()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		w.Fatalf("%s: %v", name, err)
	}
	var rows []map[string]string
	for _, r := range records[1:] {
		row := map[string]string{}
		for i, cell := range r {
			row[records[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

func repositoryOf(row map[string]string) image.Repository {
	return image.Repository{Registry: image.Registry{Account: row["account"], Region: row["region"]}, Name: row["repository"]}
}

// TestCostToTheByte: what the report says of every repository is what the test knows by the manifests that it pushed, and
// what the simulated organization bills.
func TestCostToTheByte(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	b.plan(0) // reads the manifest of the image that is archived next, which nobody can read then
	frozen := at(accountA, "frozen")
	done(b.ecr(accountA, virginia).UpdateImageStorageClass(b.Context(), &ecr.UpdateImageStorageClassInput{
		RepositoryName: &frozen.Name, TargetStorageClass: ecrtypes.TargetStorageClassArchive,
		ImageId: &ecrtypes.ImageIdentifier{ImageDigest: aws.String(b.goes[frozen][0])},
	}))(b.world)
	plan := b.plan(0)
	b.must(0, "report", "--out", "tables/")
	for r, digests := range b.goes { // the archived image may stay: it is the plan's to say
		b.goes[r] = slices.DeleteFunc(digests, func(d string) bool {
			action := plan.action(r.Name, d)
			if action != "delete" {
				t.Logf("%s %s: %s", r.Name, d, action)
			}
			return action != "delete" && r == frozen
		})
	}
	stored := b.StoredBytes(time.Now())
	rows := 0
	for _, row := range b.table("tables", "repositories") {
		r := repositoryOf(row)
		if b.blobs[r] == nil {
			continue // what is billed beyond repositories
		}
		rows++
		unique, freed := b.expected(r)
		if row["unique_bytes"] != strconv.FormatInt(unique, 10) || row["freed_bytes"] != strconv.FormatInt(freed, 10) || row["estimated_bytes"] != "0" {
			t.Errorf("%s: %s unique, %s freed, %s estimated instead of %d and %d", r.Name, row["unique_bytes"], row["freed_bytes"], row["estimated_bytes"], unique, freed)
		}
		if stored[r] != unique {
			t.Errorf("%s: the organization stores %d, and %d was pushed", r.Name, stored[r], unique)
		}
	}
	if rows != len(b.blobs) {
		t.Errorf("%d of %d repositories", rows, len(b.blobs))
	}
}

// storageOf sums the storage of a bill up by registry.
func storageOf(bill *cost.Bill, month string) (amounts map[image.Registry]cost.Money, bytes map[image.Registry]int64) {
	amounts, bytes = map[image.Registry]cost.Money{}, map[image.Registry]int64{}
	for _, l := range bill.Lines {
		if l.Month == month && l.Storage {
			at := image.Registry{Account: l.Account, Region: l.Region}
			amounts[at] += l.Amount
			bytes[at] += l.Quantity
		}
	}
	return amounts, bytes
}

func (w *world) financeFile(id string) string {
	return filepath.Join(w.dir, "demurrage-data", "runs", id, "finance.json")
}

func (w *world) readFinance(id string) (f store.Finance) {
	w.Helper()
	data, err := os.ReadFile(w.financeFile(id))
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		w.Fatalf("%v", err)
	}
	return f
}

func money(t *testing.T, text string) cost.Money {
	t.Helper()
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
	if err != nil {
		t.Fatalf("%q is no amount", text)
	}
	return cost.Money(n)
}

// TestCostSavingComesTrue: the bill of the last full month, in whose past the images were deleted, is lower than that of the
// full month before the deletion by what the report promised as saving, low. Bytes are compared as they are; amounts may
// differ by the roundings alone: half a millionth for each repository of the registry, and for each of the two bills.
func TestCostSavingComesTrue(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	b.save(0)
	b.must(0, "report", "--out", "before/")
	promised, freed, repositories := map[image.Registry]cost.Money{}, map[image.Registry]int64{}, map[image.Registry]int{}
	for _, row := range b.table("before", "repositories") {
		if r := repositoryOf(row); b.blobs[r] != nil {
			n, err := strconv.ParseInt(row["freed_bytes"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			promised[r.Registry] += money(t, row["saving_low_USD"])
			freed[r.Registry] += n
			repositories[r.Registry]++
		}
	}

	b.SetClock(monthStart(-2).AddDate(0, 0, 14)) // for the organization it happens in the middle of the month before the last
	swept := b.delete(0, "--plan", "plan.json")
	b.SetClock(time.Time{})
	if swept.Deleted.Images != swept.Planned.Images || swept.Deleted.Images == 0 {
		t.Fatalf("%+v", swept)
	}
	time.Sleep(1100 * time.Millisecond) // ids sort by the second
	after := b.plan(0)
	b.must(0, "report", "--out", "after/")

	bill := b.readFinance(after.RunID).Bill
	if bill == nil {
		t.Fatal("no bill")
	}
	was, wasBytes := storageOf(bill, cost.Month(monthStart(-3)))
	is, isBytes := storageOf(bill, cost.Month(monthStart(-1)))
	for _, at := range []image.Registry{at(accountA, "").Registry, at(accountB, "").Registry} {
		if freed[at] == 0 || wasBytes[at]-isBytes[at] != freed[at] {
			t.Errorf("%s: billed bytes fell from %d to %d, by %d; %d were to go", at.Account, wasBytes[at], isBytes[at], wasBytes[at]-isBytes[at], freed[at])
		}
		off := was[at] - is[at] - promised[at]
		if most := cost.Money(1 + (repositories[at]+1)/2); promised[at] == 0 || max(off, -off) > most {
			t.Errorf("%s: the bill fell from %s to %s; %s was promised", at.Account, was[at], is[at], promised[at])
		}
	}
	// The report says the same of the organization as a whole.
	byMonth := map[string]map[string]string{}
	for _, row := range b.table("after", "trend") {
		byMonth[row["month"]] = row
	}
	var sum cost.Money
	for _, m := range promised {
		sum += m
	}
	fell := money(t, byMonth[cost.Month(monthStart(-3))]["billed_storage_USD"]) - money(t, byMonth[cost.Month(monthStart(-1))]["billed_storage_USD"])
	if off := fell - sum; max(off, -off) > cost.Money(2+len(b.blobs)) {
		t.Errorf("the trend falls by %s instead of %s", fell, sum)
	}
	if again := b.table("after", "repositories"); slices.ContainsFunc(again, func(row map[string]string) bool { return row["delete_images"] != "0" }) {
		t.Error("there is something left to delete")
	}
	// Of the journal, the month's realised saving is what was promised, less than the sizes of what went.
	this := byMonth[cost.Month(time.Now())]
	var realised cost.Money
	for at, n := range freed {
		m, _ := cost.List().Monthly(at.Region, n)
		realised += m
	}
	var sizes int64
	for _, row := range b.table("before", "images-to-delete") {
		n, _ := strconv.ParseInt(row["bytes"], 10, 64)
		sizes += n
	}
	if most, _ := cost.List().Monthly(virginia, sizes); most <= realised {
		t.Errorf("nothing is shared: %s and %s", realised, most)
	}
	if this["deleted_images"] != strconv.Itoa(swept.Deleted.Images) || this["realised_saving_USD"] != realised.String() || this["deleted_bytes_at_most"] != strconv.FormatInt(sizes, 10) {
		t.Errorf("realised: %v; %d images, %d bytes and %s were deleted", this, swept.Deleted.Images, sizes, realised)
	}
	b.must(0, "report", "--out", "after.xlsx")
	trend := b.sheet("after.xlsx", "Trend")
	if got := trend[len(trend)-1]["Realised saving (USD a month)"]; got != realised.String() {
		t.Errorf("the workbook's trend: %s instead of %s", got, realised)
	}
}

// sheet reads a sheet of a workbook as maps by the header, with values as they are stored.
func (w *world) sheet(file, name string) []map[string]string {
	w.Helper()
	book, err := excelize.OpenFile(filepath.Join(w.dir, file))
	if err != nil {
		w.Fatalf("%v", err)
	}
	defer func() { _ = book.Close() }()
	cells, err := book.GetRows(name, excelize.Options{RawCellValue: true})
	if err != nil || len(cells) == 0 {
		w.Fatalf("sheet %s: %v", name, err)
	}
	var rows []map[string]string
	for _, r := range cells[1:] {
		row := map[string]string{}
		for i, cell := range r {
			row[cells[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

// check gives the row of the sheet Reconciliation whose check has all the words.
func (w *world) check(file string, words ...string) map[string]string {
	w.Helper()
	for _, row := range w.sheet(file, "Reconciliation") {
		if !slices.ContainsFunc(words, func(s string) bool { return !strings.Contains(row["Check"], s) }) {
			return row
		}
	}
	w.Fatalf("no check of %q", words)
	return nil
}

// differ lists the checks that fail.
func (w *world) differ(file string) (list []string) {
	w.Helper()
	rows := w.sheet(file, "Reconciliation")
	if len(rows) < 15 {
		w.Fatalf("%d checks", len(rows))
	}
	for _, row := range rows {
		if row["Result"] != "OK" {
			list = append(list, row["Check"]+": "+row["Result"])
		}
	}
	return list
}

// backdate makes a stored run one of another time.
func (w *world) backdate(id string, at time.Time) {
	w.Helper()
	w.edit(filepath.Join("runs", id, "run.json"), func(doc map[string]any) {
		doc["started_at"], doc["finished_at"] = at.Format(time.RFC3339), at.Add(time.Minute).Format(time.RFC3339)
	})
}

// edit changes a JSON file of the store.
func (w *world) edit(file string, change func(doc map[string]any)) {
	w.Helper()
	path := filepath.Join(w.dir, "demurrage-data", file)
	data, err := os.ReadFile(path)
	if err != nil {
		w.Fatalf("%v", err)
	}
	doc := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		w.Fatalf("%v", err)
	}
	change(doc)
	if data, err = json.Marshal(doc); err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		w.Fatalf("%v", err)
	}
}

// TestCostDemoReconciles: every check of the demo's workbook holds, and the month that it missed is empty in the trend.
func TestCostDemoReconciles(t *testing.T) {
	t.Parallel()
	w := &world{Server: orgsim.New(), reporter: t, dir: t.TempDir(), hub: orgsim.Demo().Hub, region: virginia}
	w.must(0, "demo")
	const file = "demurrage-out/demurrage-report.xlsx"
	if list := w.differ(file); list != nil {
		t.Errorf("%q", list)
	}
	trend := w.sheet(file, "Trend")
	empty := 0
	for _, row := range trend {
		if row["Stored (TB)"] == "" {
			empty++
			if row["Coverage"] != "no run" || row["Billed (USD)"] == "" || row["List cost (USD a month)"] != "" {
				t.Errorf("the missed month: %v", row)
			}
		}
	}
	if len(trend) != 13 || empty != 1 {
		t.Errorf("%d months, %d of them empty", len(trend), empty)
	}
}

// TestCostReconciles: what is billed of a month that is over is what was stored, by the bill's own quantity; a quantity that is
// not, and an account that nobody looked at, are shown with their difference; an amount that AWS adds is explained.
func TestCostReconciles(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	id := b.plan(0).RunID
	last := cost.Month(monthStart(-1))
	b.backdate(id, monthStart(-1).AddDate(0, 0, 14))
	b.must(0, "report", "--month", last, "--out", "whole.xlsx", "--out", "whole/")
	if list := b.differ("whole.xlsx"); list != nil {
		t.Errorf("%q", list)
	}
	if row := b.check("whole.xlsx", "billed = stored bytes, "+last, accountA); row["Difference"] != "0" {
		t.Errorf("%v", row)
	}

	// More than is stored.
	lines := func(change func(line map[string]any)) {
		b.edit(filepath.Join("runs", id, "finance.json"), func(doc map[string]any) {
			for _, l := range doc["bill"].(map[string]any)["lines"].([]any) {
				if line := l.(map[string]any); line["month"] == last && line["account"] == accountA && line["storage"] == true {
					change(line)
				}
			}
		})
	}
	const more = 1 << 30
	add := func(n int64) func(map[string]any) {
		return func(line map[string]any) {
			was, _ := line["quantity"].(json.Number).Int64()
			line["quantity"] = was + n
		}
	}
	lines(add(more))
	b.must(0, "report", "--month", last, "--out", "more.xlsx")
	if list := b.differ("more.xlsx"); len(list) != 1 || !strings.Contains(list[0], "billed = stored bytes, "+last+", "+accountA) {
		t.Errorf("%q", list)
	}
	if row := b.check("more.xlsx", "billed = stored bytes", accountA); row["Difference"] != "1" || row["Result"] != "DIFFERS" { // in GB
		t.Errorf("%v", row)
	}
	lines(add(-more))

	// An amount: the bill is what it is, all sheets follow, and the account's cost differs from list price by that much.
	lines(func(line map[string]any) {
		was, _ := line["amount"].(json.Number).Int64()
		line["amount"] = was + 1_230_000
	})
	b.must(0, "report", "--month", last, "--out", "amount.xlsx", "--out", "amount/")
	if list := b.differ("amount.xlsx"); list != nil {
		t.Errorf("%q", list)
	}
	was := b.table("whole", "accounts")
	for i, row := range b.table("amount", "accounts") {
		want := cost.Money(0)
		if row["account"] == accountA {
			want = 1_230_000
		}
		if got := money(t, row["billed_USD"]) - money(t, was[i]["billed_USD"]); got != want {
			t.Errorf("account %s: billed %s more instead of %s", row["account"], got, want)
		}
	}

	// An account of the roster of which nothing says that it was looked at.
	b.edit(filepath.Join("runs", id, "run.json"), func(doc map[string]any) {
		doc["accounts"] = append(doc["accounts"].([]any), map[string]any{"id": accountC, "name": "gamma"})
	})
	b.must(0, "report", "--month", last, "--out", "account.xlsx")
	if list := b.differ("account.xlsx"); len(list) != 1 || b.check("account.xlsx", "Accounts: scanned")["Difference"] != "-1" {
		t.Errorf("%q", list)
	}
}

// TestCostTamperedBill: what Cost Explorer answers is what is allocated, to the last digit.
func TestCostTamperedBill(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	b.tamper(func(op string, _ *http.Request, _ []byte) *tamper {
		if op != "GetCostAndUsage" {
			return nil
		}
		return &tamper{change: func(answer map[string]any) {
			for _, m := range answer["ResultsByTime"].([]any) {
				for _, g := range m.(map[string]any)["Groups"].([]any) {
					group := g.(map[string]any)
					if slices.Equal(group["Keys"].([]any), []any{accountA, "TimedStorage-ByteHrs"}) {
						group["Metrics"].(map[string]any)["UnblendedCost"].(map[string]any)["Amount"] = "1.0000019"
					}
				}
			}
		}}
	})
	b.must(0, "report", "--out", "r.xlsx", "--out", "r/")
	if list := b.differ("r.xlsx"); list != nil {
		t.Errorf("%q", list)
	}
	var sum cost.Money
	for _, row := range b.table("r", "repositories") {
		if r := repositoryOf(row); r.Account == accountA && b.blobs[r] != nil {
			sum += money(t, row["billed_USD"])
		}
	}
	if sum != 1_000_002 {
		t.Errorf("%s is allocated", sum)
	}
}

var everyFormat = []string{"r.xlsx", "r.html", "r.csv", "r.json", "r.md", "tables/"}

// everything writes a report in every format and gives the files by name; of the workbook, its parts.
func (w *world) everything(args ...string) map[string]string {
	w.Helper()
	for _, out := range everyFormat {
		args = append(args, "--out", out)
	}
	w.must(0, append([]string{"report"}, args...)...)
	w.must(0, append([]string{"report", "--format", "focus"}, append(args[:len(args)-2*len(everyFormat)], "--out", "focus.csv")...)...)
	files := map[string]string{}
	names, _ := filepath.Glob(filepath.Join(w.dir, "tables", "*"))
	for _, name := range []string{"r.html", "r.csv", "r.json", "r.md", "focus.csv"} {
		names = append(names, filepath.Join(w.dir, name))
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			w.Fatalf("%v", err)
		}
		files[filepath.Base(name)] = string(data)
	}
	book, err := zip.OpenReader(filepath.Join(w.dir, "r.xlsx"))
	if err != nil {
		w.Fatalf("%v", err)
	}
	defer func() { _ = book.Close() }()
	for _, f := range book.File {
		r, err := f.Open()
		if err != nil {
			w.Fatalf("%v", err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			w.Fatalf("%v", err)
		}
		text := string(data)
		if f.Name == "[Content_Types].xml" { // in no order
			parts := strings.SplitAfter(text, ">")
			slices.Sort(parts)
			text = strings.Join(parts, "")
		}
		files["xlsx:"+f.Name] = text
	}
	return files
}

// TestCostOldMonth: a month is drawn again from its run, the same to the byte, whatever happened since; months in between that
// nobody reported are empty.
func TestCostOldMonth(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	old := b.plan(0).RunID
	then := monthStart(-3).AddDate(0, 0, 14)
	b.backdate(old, then)
	month := cost.Month(then)
	first := b.everything("--month", month)
	time.Sleep(1100 * time.Millisecond)
	b.save(0)
	b.must(0, "report", "--out", "now.xlsx", "--out", "now/")
	for _, row := range b.table("now", "trend") {
		remembered := row["month"] == month || row["month"] == cost.Month(time.Now())
		billed := row["month"] >= cost.Month(monthStart(-5))
		for _, title := range []string{"run_id", "unique_bytes", "list_USD", "saving_low_USD", "realised_saving_USD"} {
			if (row[title] != "") != remembered {
				t.Errorf("%s: %s is %q", row["month"], title, row[title])
			}
		}
		if (row["billed_USD"] != "") != billed {
			t.Errorf("%s: billed %q", row["month"], row["billed_USD"])
		}
	}
	stored := map[string]string{}
	for _, row := range b.sheet("now.xlsx", "Trend") {
		if (row["Coverage"] == "no run") != (row["Stored (TB)"] == "") {
			t.Errorf("%v", row)
		}
		stored[row["Coverage"]] = row["Stored (TB)"]
	}
	if stored["complete"] == "" || stored["no run"] != "" {
		t.Errorf("%v", stored)
	}

	b.delete(0, "--plan", "plan.json") // of this month: nothing of the old one
	second := b.everything("--month", month)
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if first[name] != second[name] {
			t.Errorf("%s is another", name)
		}
	}
	if len(first) != len(second) || len(first) < 25 {
		t.Errorf("%d and %d files and parts", len(first), len(second))
	}
}

// TestCostDelivery: what was written arrives as it is, and a report that cannot be made is told.
func TestCostDelivery(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	const topic = "arn:aws:sns:us-east-1:" + accountHub + ":ecr-costs"
	var mu sync.Mutex
	var told []url.Values
	b.front = func(rw http.ResponseWriter, r *http.Request) bool {
		form, err := url.ParseQuery(string(readAll(r)))
		if err != nil || form.Get("Action") != "Publish" {
			return false
		}
		mu.Lock()
		told = append(told, form)
		mu.Unlock()
		rw.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(rw, `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
		return true
	}
	client := s3.NewFromConfig(b.as(accountHub, virginia), func(o *s3.Options) { o.UsePathStyle = true })
	bucket := aws.String("finance-reports")
	done(client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}))(b.world)
	b.must(0, "report", "--out", "r.xlsx", "--out", "tables/", "--to", "s3://finance-reports/ecr/", "--to", topic)
	for _, name := range []string{"r.xlsx", "tables/repositories.csv", "tables/trend.csv"} {
		want, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out := done(client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("ecr/" + filepath.Base(name))}))(b.world)
		if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes arrived instead of %d: %v", name, len(got), len(want), err)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0].Get("Subject"), cost.Month(time.Now())+" (complete)") || told[0].Get("TopicArn") != topic {
		t.Fatalf("%v", told)
	}
	b.config(strings.Replace(billedConfig, "keep_count   = 1", "keep_count   = 9", 1)) // does not fit the stored run
	b.must(1, "report", "--to", topic)
	if len(told) != 2 || !strings.Contains(told[1].Get("Subject"), "no cost report could be made") || !strings.Contains(told[1].Get("Message"), "scan again") {
		t.Errorf("%v", told)
	}
}

// discovering is newBilled run from the management account, which finds the accounts.
func discovering(t *testing.T, owner string) *billed {
	t.Helper()
	b := newBilled(t)
	b.hub = orgsim.ManagementAccount
	b.role(accountHub, b.hub)
	for _, id := range []string{accountA, accountB} {
		b.trust(id, b.hub, externalID)
	}
	quoted, _ := json.Marshal(owner) // as TOML has strings
	config := strings.NewReplacer("[scan]", "[organization]\ndiscover = true\n\n[scan]", `name    = "alpha"`, "name = \"alpha\"\nowner = "+string(quoted),
		"[report]", "[report]\nowner_tags = [\"team\"]\ncost_center_tags = [\"kst\"]\n").Replace(billedConfig)
	config, _, _ = strings.Cut(config, "[billing]")
	b.config(config)
	return b
}

func (b *billed) tagAccount(id string, tags map[string]string) {
	b.Helper()
	in := &organizations.TagResourceInput{ResourceId: &id}
	for k, v := range tags {
		in.Tags = append(in.Tags, orgtypes.Tag{Key: &k, Value: &v})
	}
	done(organizations.NewFromConfig(b.as(orgsim.ManagementAccount, virginia)).TagResource(b.Context(), in))(b.world)
}

func (b *billed) tagRepository(r image.Repository, tags map[string]string) {
	b.Helper()
	in := &ecr.TagResourceInput{ResourceArn: aws.String("arn:aws:ecr:" + r.Region + ":" + r.Account + ":repository/" + r.Name)}
	for k, v := range tags {
		in.Tags = append(in.Tags, ecrtypes.Tag{Key: &k, Value: &v})
	}
	done(b.ecr(r.Account, r.Region).TagResource(b.Context(), in))(b.world)
}

// TestCostOwners: the configuration's word counts before the account's tags, and these before the repository's; the keys are
// those of the configuration. That the tags of accounts may not be read is no gap.
func TestCostOwners(t *testing.T) {
	t.Parallel()
	b := discovering(t, "of the config")
	b.tagAccount(accountA, map[string]string{"team": "of the account", "kst": "K-account", "owner": "nobody"})
	for _, r := range []image.Repository{at(accountA, "app"), at(accountB, "own")} {
		b.tagRepository(r, map[string]string{"team": "of the repository", "kst": "K-repository", "Owner": "nobody"})
	}
	for _, tt := range []struct {
		name  string
		fault []orgsim.Fault
		want  map[string][4]string // by repository: owner, its source, cost centre, its source
	}{
		{"read", nil, map[string][4]string{
			"app":   {"of the config", "config", "K-account", "account tag"},
			"multi": {"of the config", "config", "K-account", "account tag"},
			"own":   {"of the repository", "repository tag", "K-repository", "repository tag"},
		}},
		{"refused", []orgsim.Fault{{Service: "organizations", Operation: "ListTagsForResource", Code: "AccessDeniedException"}}, map[string][4]string{
			"app":   {"of the config", "config", "K-repository", "repository tag"},
			"multi": {"of the config", "config", "", ""},
			"own":   {"of the repository", "repository tag", "K-repository", "repository tag"},
		}},
	} {
		b.SetFaults(tt.fault)
		b.must(0, "scan")
		b.must(0, "report", "--out", "owners.xlsx")
		for _, row := range b.sheet("owners.xlsx", "Repositories") {
			want, ok := tt.want[row["Repository"]]
			if got := [4]string{row["Owner"], row["Owner from"], row["Cost centre"], row["Cost centre from"]}; ok && got != want {
				t.Errorf("%s, %s: %q instead of %q", tt.name, row["Repository"], got, want)
			}
			delete(tt.want, row["Repository"])
		}
		if len(tt.want) > 0 {
			t.Errorf("%s: missing %v", tt.name, tt.want)
		}
		time.Sleep(1100 * time.Millisecond)
	}
}

// TestCostHostileNames: what somebody writes into tags and names of accounts does nothing in any format.
func TestCostHostileNames(t *testing.T) {
	t.Parallel()
	const formula, script, marks = `=HYPERLINK("https://evil.example/","click")`, `<script>alert(1)</script>`, "+1+1\u202e\u200f 🚢 \x1b[2J\x07 船荷"
	b := discovering(t, marks)
	b.AddAccount(accountC, script)
	b.role(accountC, b.hub)
	c := at(accountC, "evil")
	b.repository(accountC, virginia, c.Name)
	b.push(c, of("evil", nil, layer{"evil", 1 << 30}), true, "v1")
	b.tagAccount(accountC, map[string]string{"team": formula})
	b.tagRepository(c, map[string]string{"kst": formula + script + marks})
	b.tagAccount(accountA, map[string]string{"kst": script})
	files := b.everything()
	for name, text := range files {
		for _, r := range text {
			if unicode.Is(unicode.Cc, r) && !strings.ContainsRune("\r\n\t", r) || r == '\u202e' && !strings.HasPrefix(name, "xlsx:") && filepath.Ext(name) != ".csv" {
				t.Errorf("%s has %U", name, r)
				break
			}
		}
		switch {
		case strings.HasPrefix(name, "xlsx:xl/worksheets/sheet"):
			if strings.Count(text, "<f>") != strings.Count(text, "<f>SUBTOTAL(") || strings.Contains(text, "<hyperlink") {
				t.Errorf("%s has a formula or a link", name)
			}
		case strings.HasSuffix(name, ".html"), strings.HasSuffix(name, ".md"):
			if strings.Contains(text, script) || strings.Contains(text, "](https://evil") || strings.Contains(text, `href="https://evil`) {
				t.Errorf("%s has what runs or leads away", name)
			}
		case strings.HasSuffix(name, ".csv"):
			records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, cell := range slices.Concat(records...) {
				if _, err := strconv.ParseFloat(cell, 64); cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) && err != nil {
					t.Errorf("%s: %q", name, cell)
				}
			}
		case strings.HasSuffix(name, ".json"):
			if !json.Valid([]byte(text)) {
				t.Errorf("%s is no JSON", name)
			}
		}
	}
	// They are there all the same.
	if row := b.table("tables", "repositories"); !slices.ContainsFunc(row, func(row map[string]string) bool {
		return row["owner"] == "'"+formula && row["account_name"] == script && strings.HasPrefix(row["cost_center"], "'"+formula)
	}) {
		t.Error("the tables have lost them")
	}
	if !slices.ContainsFunc(b.sheet("r.xlsx", "Repositories"), func(row map[string]string) bool {
		return row["Owner"] == formula && row["Account name"] == script && strings.HasPrefix(row["Cost centre"], formula+script)
	}) {
		t.Error("the workbook has lost them")
	}
}

// TestCostDemoToTheByte: for every repository of the demo, the report's bytes are those that the organization stores, and
// those that it stores less once the images to delete are gone. Where an archived image, which nobody can read, leaves
// layers unknown, the report says so and promises nothing.
func TestCostDemoToTheByte(t *testing.T) {
	t.Parallel()
	server := orgsim.New()
	if err := server.SeedDemo(time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
	server.SetClock(time.Time{})
	w := &world{Server: server, reporter: t, dir: t.TempDir(), hub: orgsim.Demo().Hub, region: virginia, callers: map[string]string{}}
	t.Cleanup(w.serve())
	w.config(strings.Replace(string(orgsim.DemoConfig()), "[report]", "[report]\nlayers = \"exact\"", 1))
	plan := w.plan(2)
	w.must(2, "report", "--out", "tables/")

	before := server.StoredBytes(time.Now())
	goes := map[image.Repository][]string{}
	for _, i := range plan.Images {
		if i.Action == "delete" {
			r := repositoryOf(map[string]string{"account": i.Account, "region": i.Region, "repository": i.Repository})
			goes[r] = append(goes[r], i.Digest)
		}
	}
	for r, digests := range goes {
		for len(digests) > 0 { // children stay as long as an index has them
			var left []string
			for some := range slices.Chunk(digests, 100) {
				in := &ecr.BatchDeleteImageInput{RepositoryName: &r.Name}
				for _, d := range some {
					in.ImageIds = append(in.ImageIds, ecrtypes.ImageIdentifier{ImageDigest: &d})
				}
				for _, f := range done(w.ecr(r.Account, r.Region).BatchDeleteImage(t.Context(), in))(w).Failures {
					left = append(left, *f.ImageId.ImageDigest)
				}
			}
			if len(left) == len(digests) {
				t.Fatalf("%v: %d images cannot be deleted", r, len(left))
			}
			digests = left
		}
	}
	after := server.StoredBytes(time.Now())

	exact, freeing := 0, 0
	var estimated []string
	for _, row := range w.table("tables", "repositories") {
		r := repositoryOf(row)
		if row["repositories"] != "1" {
			continue // what is billed beyond repositories
		}
		if row["estimated_bytes"] != "0" {
			estimated = append(estimated, r.Name)
			unique, _ := strconv.ParseInt(row["unique_bytes"], 10, 64)
			if unique < before[r] || row["saving_low_USD"] != "" && row["delete_images"] != "0" {
				t.Errorf("%v is estimated: %v; it stores %d", r, row, before[r])
			}
			continue
		}
		exact++
		freed := before[r] - after[r]
		if freed > 0 {
			freeing++
		}
		if row["unique_bytes"] != strconv.FormatInt(before[r], 10) || row["freed_bytes"] != strconv.FormatInt(freed, 10) {
			t.Errorf("%v: %s unique and %s freed instead of %d and %d", r, row["unique_bytes"], row["freed_bytes"], before[r], freed)
		}
	}
	if exact < 30 || freeing < 20 || !slices.Equal(estimated, []string{"prod/edi-gateway"}) {
		t.Errorf("%d exact repositories, %d of them freed from; estimated: %q", exact, freeing, estimated)
	}
}

// TestCostSince: what cannot be read says since when it could not be in every run.
func TestCostSince(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	deny := func(operation string) {
		b.SetFaults([]orgsim.Fault{{Account: accountA, Service: "lambda", Operation: operation, Code: "AccessDeniedException"}})
	}
	since := func() string {
		t.Helper()
		b.must(2, "report", "--run", b.plan(2).RunID, "--out", "r.xlsx")
		for _, row := range b.sheet("r.xlsx", "Coverage") {
			if row["Account"] == accountA && row["Source"] == "lambda" && row["Status"] == "failed" {
				return row["Since"]
			}
		}
		t.Fatal("it was read")
		return ""
	}
	deny("ListFunctions")
	now := since()
	files, _ := filepath.Glob(filepath.Join(b.dir, "demurrage-data", "history", "*"))
	if len(files) != 1 {
		t.Fatalf("%q", files)
	}
	b.edit(filepath.Join("history", filepath.Base(files[0])), func(doc map[string]any) { doc["at"] = "2026-03-04T00:00:00Z" })
	if got := since(); got == now || got != "46085" { // days since the end of 1899
		t.Errorf("since %s instead of 2026-03-04, and first since %s", got, now)
	}
	time.Sleep(1100 * time.Millisecond) // ids of runs tell seconds
	b.SetFaults(nil)
	b.plan(0)
	time.Sleep(1100 * time.Millisecond)
	deny("ListFunctions")
	if got := since(); got == "46085" {
		t.Error("it could be read in between")
	}
}

// TestCostInEuro: with an exchange rate every amount is that of the same report without, converted at the grain of the
// report, and the workbook and the JSON say by which rate, as of when and whose it is.
func TestCostInEuro(t *testing.T) {
	t.Parallel()
	b := newBilled(t)
	b.plan(0)
	b.must(0, "report", "--out", "usd/")
	b.config(strings.Replace(billedConfig, "[report]\n", `[report]
currency = "EUR"
exchange_rate = "0.925"
exchange_rate_date = "2026-10-31"
exchange_rate_source = "treasury"
`, 1))
	b.must(0, "report", "--out", "eur/", "--out", "eur.xlsx", "--out", "eur.json")

	euros := map[image.Repository]map[string]string{}
	for _, row := range b.table("eur", "repositories") {
		euros[repositoryOf(row)] = row
	}
	rows := 0
	for _, row := range b.table("usd", "repositories") {
		r := repositoryOf(row)
		if b.blobs[r] == nil {
			continue
		}
		rows++
		for _, column := range []string{"list_%s", "saving_low_%s", "saving_high_%s"} {
			usd, eur := money(t, row[fmt.Sprintf(column, "USD")]), money(t, euros[r][fmt.Sprintf(column, "EUR")])
			if usd.Convert(925_000) != eur {
				t.Errorf("%s of %s: %s USD are %s EUR", column, r.Name, usd, eur)
			}
		}
	}
	if rows != len(b.blobs) {
		t.Errorf("%d of %d repositories", rows, len(b.blobs))
	}
	said := map[string]string{}
	for _, row := range b.sheet("eur.xlsx", "Assumptions") {
		said[row["Assumption"]] = row["Value"]
	}
	for topic, want := range map[string]string{
		"Exchange rate: EUR for one USD": "0.925", "Exchange rate: source": "treasury, 2026-10-31", "Currency": "EUR",
		"List price: us-east-1 (EUR per GB-month)": "0.0925",
	} {
		if said[topic] != want {
			t.Errorf("%s: %q, want %q", topic, said[topic], want)
		}
	}
	if list := b.differ("eur.xlsx"); len(list) > 0 {
		t.Errorf("does not reconcile: %q", list)
	}
	var doc struct {
		Cost struct {
			Currency string
			Rate     map[string]string `json:"exchange_rate"`
		}
	}
	data, err := os.ReadFile(filepath.Join(b.dir, "eur.json"))
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if want := (map[string]string{"currency": "USD", "rate": "0.925", "date": "2026-10-31", "source": "treasury"}); err != nil || doc.Cost.Currency != "EUR" || !maps.Equal(doc.Cost.Rate, want) {
		t.Errorf("the JSON says %+v (%v)", doc.Cost, err)
	}
}
