package accounts

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"demurrage/internal/image"
	"demurrage/planner"
)

// Sources are the names that an attestation may vouch for: where uses are looked for, "ecr" for the registries
// themselves, and "regions" for the list of an account's enabled regions.
var Sources = []string{
	"ecs", "eks", "lambda", "batch", "events", "scheduler", "states", "codebuild", "sagemaker", "apprunner",
	"bedrock-agentcore", "emr-serverless", "gamelift", "omics", "imagebuilder", "inspector", "pull-through-cache", image.SourceIAM, image.SourceECR, "regions",
}

// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and
// https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListOrganizationalUnitsForParent.html
var (
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalID  = regexp.MustCompile(`^[\w+=,.@:/-]+$`) // 2 to 1224 of them: more than a regexp counts
	parentID    = regexp.MustCompile(`^(r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32})$`)
)

// commandName is a word of a gap, and of its source.
var commandName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,99}$`)

// bucket follows https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html.
var bucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// config judges everything that the types did not. The result is to be used only if nothing was rejected.
func (d *document) config(raw *rawConfig) *Config {
	c := &Config{
		Assume:           d.assume(&raw.Assume),
		Organization:     d.organization(&raw.Organization),
		Concurrency:      d.atLeast("scan.concurrency", raw.Scan.Concurrency, 1, defaultConcurrency),
		scanRegions:      d.regions("scan.regions", raw.Scan.Regions),
		Store:            d.store("store.url", raw.Store.URL),
		Safety:           d.safety(&raw.Safety),
		Billing:          d.billing(&raw.Billing),
		Report:           d.report(&raw.Report),
		MaxUseAge:        defaultMaxUseAge,
		ExternalCommands: d.externalCommands(raw.ExternalCommands),
	}
	if d.has("uses.max_age") {
		c.MaxUseAge = d.duration("uses.max_age", raw.Uses.MaxAge)
	}
	c.rules.MinAge = defaultMinAge
	if d.has("safety.min_age") {
		c.rules.MinAge = d.duration("safety.min_age", raw.Safety.MinAge) // no duration is shorter than the hour that is needed
	}
	d.accounts(c, raw.Accounts)
	for i := range raw.Attestations {
		c.rules.Attestations = append(c.rules.Attestations, d.attestation(element("attestations", i), &raw.Attestations[i]))
	}
	for i := range raw.Repositories {
		c.rules.Repositories = append(c.rules.Repositories, d.repository(element("repositories", i), &raw.Repositories[i]))
	}
	c.taskDefinitions = d.generations("task_definitions", raw.TaskDefinitions, defaultTaskDefinitions)
	c.lambdaFunctions = d.generations("lambda_functions", raw.LambdaFunctions, All)
	return c
}

func (d *document) assume(raw *rawAssume) Assume {
	a := Assume{
		Role:        d.role("assume.role", raw.Role),
		SweepRole:   d.role("assume.sweep_role", raw.SweepRole),
		HubRole:     raw.HubRole,
		ExternalID:  d.externalID("assume.external_id", raw.ExternalID),
		SessionName: cmp.Or(raw.SessionName, defaultSessionName),
		Duration:    defaultDuration,
	}
	d.role("assume.hub_role", raw.HubRole)
	if !sessionName.MatchString(a.SessionName) {
		d.rejectf("assume.session_name", "%q is not a session name (use 2 to 64 of letters, digits and _+=,.@-)", clip(a.SessionName))
	}
	if d.has("assume.duration") {
		var ok bool
		a.Duration, ok = parseSpan(raw.Duration, map[byte]time.Duration{'m': time.Minute, 'h': time.Hour})
		if !ok || a.Duration < 15*time.Minute || a.Duration > 12*time.Hour {
			d.rejectf("assume.duration", "%q is not the duration of a session (15m to 12h)", clip(raw.Duration))
		}
	}
	return a
}

func (d *document) safety(raw *rawSafety) Safety {
	s := Safety{
		MaxPlanAge:       defaultMaxPlanAge,
		MaxDeletePercent: d.atLeast("safety.max_delete_percent", raw.MaxDeletePercent, 0, 100),
		MaxDeleteImages:  d.atLeast("safety.max_delete_images", raw.MaxDeleteImages, 0, 0),
		MaxDeleteBytes:   d.bytes("safety.max_delete_bytes", raw.MaxDeleteBytes),
		MaxFailures:      d.atLeast("safety.max_failures", raw.MaxFailures, 1, defaultMaxFailures),
	}
	if d.has("safety.max_plan_age") {
		s.MaxPlanAge = d.duration("safety.max_plan_age", raw.MaxPlanAge)
	}
	if raw.ConfirmAfter != "" {
		s.ConfirmAfter = d.duration("safety.confirm_after", raw.ConfirmAfter)
	}
	if s.MaxDeletePercent > 100 {
		d.rejectf("safety.max_delete_percent", "%d is more than 100: use 0 to 100", s.MaxDeletePercent)
	}
	return s
}

func (d *document) organization(raw *rawOrganization) Organization {
	o := Organization{Discover: raw.Discover, IncludeOUs: raw.IncludeOUs}
	for i, ou := range raw.IncludeOUs {
		if !parentID.MatchString(ou) {
			d.rejectf(element("organization.include_ous", i), "%q is not the id of an organizational unit (ou-…-…) or a root (r-…)", clip(ou))
		}
	}
	if len(raw.IncludeOUs) > 0 && !raw.Discover && d.problems["organization.discover"] == nil {
		d.rejectf("organization.include_ous", "chooses nothing without discover = true: set it, or remove this key")
	}
	for i, id := range raw.ExcludeAccounts {
		o.ExcludeAccounts = append(o.ExcludeAccounts, d.accountID(element("organization.exclude_accounts", i), id))
	}
	return o
}

func (d *document) accounts(c *Config, raw []rawAccount) {
	if len(raw) == 0 && !c.Organization.Discover {
		d.rejectf("accounts", "no account is configured: add [[accounts]] entries, or set discover = true under [organization]")
	}
	first := map[rawID]int{}
	for i := range raw {
		r, path := &raw[i], element("accounts", i)
		a := Account{
			ID: d.accountID(path+".id", r.ID), Name: r.Name, Owner: r.Owner, CostCenter: r.CostCenter,
			Tags: r.Tags, Enforce: r.Enforce,
			ExternalID: cmp.Or(d.externalID(path+".external_id", r.ExternalID), c.Assume.ExternalID),
			Regions:    slices.Clone(c.scanRegions),
			RoleOwn:    r.Role != "", SweepRoleOwn: r.SweepRole != "",
		}
		if j, ok := first[r.ID]; ok && r.ID != "" {
			d.rejectf(path+".id", "%s is already the account of accounts[%d]: remove one of the two", clip(string(r.ID)), j)
		}
		first[r.ID] = i
		if slices.Contains(c.Organization.ExcludeAccounts, a.ID) && a.ID != "" {
			d.rejectf(path+".id", "%s is also in exclude_accounts of [organization]: remove it from one of the two", a.ID)
		}
		if d.has(path + ".regions") {
			a.Regions = d.regions(path+".regions", r.Regions)
		}
		a.Role = d.accountRole(path+".role", r.Role, a)
		a.SweepRole = d.accountRole(path+".sweep_role", r.SweepRole, a)
		if !a.RoleOwn {
			d.roleFits("assume.role", c.Assume.Role, a)
		}
		if !a.SweepRoleOwn {
			d.roleFits("assume.sweep_role", c.Assume.SweepRole, a)
		}
		c.assumed(&a)
		c.Accounts = append(c.Accounts, a)
	}
	slices.SortStableFunc(c.Accounts, func(a, b Account) int { return cmp.Compare(a.ID, b.ID) })
	if c.Organization.Discover {
		for path, role := range map[string]Role{"assume.role": c.Assume.Role, "assume.sweep_role": c.Assume.SweepRole} {
			if role.account != "" {
				d.rejectf(path, "is a role in account %s, but is to be assumed in every account: write {account} in its place", role.account)
			}
		}
	}
}

// accountRole resolves a role of an account's own entry.
func (d *document) accountRole(path, text string, a Account) string {
	role := d.role(path, text)
	d.roleFits(path, role, a)
	return role.ARN(partitionOf(a.Regions), a.ID)
}

func (d *document) roleFits(path string, role Role, a Account) {
	if role.account != "" && a.ID != "" && role.account != a.ID {
		d.rejectf(path, "is a role in account %s and cannot serve account %s (write {account} for the account's own id)", role.account, a.ID)
	}
	if p := partitionOf(a.Regions); role.partition != "" && p != "" && role.partition != p {
		d.rejectf(path, "is a role of partition %s, but the regions of account %s are of partition %s (write {partition} for the account's own)", role.partition, clip(a.ID), p)
	}
}

func (d *document) attestation(path string, raw *rawAttestation) planner.Attestation {
	a := planner.Attestation{
		Accounts: d.accountPatterns(path+".accounts", raw.Accounts),
		Regions:  raw.Regions,
		Sources:  raw.Sources,
		Reason:   strings.TrimSpace(raw.Reason),
	}
	if len(raw.Accounts) == 0 {
		d.rejectf(path+".accounts", `is missing: list account ids or patterns, or ["*"] for all`)
	}
	for i, r := range raw.Regions {
		d.region(element(path+".regions", i), r)
	}
	for i, s := range raw.Sources {
		if !slices.Contains(Sources, s) {
			d.rejectf(element(path+".sources", i), "%q is not a source%s; the sources are %s", clip(s), suggest(s, Sources), strings.Join(Sources, ", "))
		}
	}
	// A list that is there but empty would silently mean everything.
	for _, key := range []string{".regions", ".sources"} {
		if d.has(path+key) && ((key == ".regions" && len(raw.Regions) == 0) || (key == ".sources" && len(raw.Sources) == 0)) {
			d.rejectf(path+key, "is empty: leave the key out to vouch for all of them")
		}
	}
	if a.Reason == "" {
		d.rejectf(path+".reason", "is missing: say why nothing there uses images")
	}
	if raw.Expires == nil {
		d.rejectf(path+".expires", `is missing: give the day from which this counts no more, as in "2027-03-31"`)
		return a
	}
	a.Expires = d.day(path+".expires", raw.Expires)
	return a
}

func (d *document) externalCommands(raw []rawExternalCommand) []ExternalCommand {
	var list []ExternalCommand
	first := map[string]int{}
	for i := range raw {
		r, path := &raw[i], element("external_commands", i)
		c := ExternalCommand{Name: r.Name, Command: r.Command, Timeout: defaultTimeout}
		if !commandName.MatchString(c.Name) {
			d.rejectf(path+".name", "%q is not a name (up to 100 letters, digits and ._-)", clip(c.Name))
		} else if j, ok := first[c.Name]; ok {
			d.rejectf(path+".name", "%q is already the name of external_commands[%d]: give this one another", c.Name, j)
		} else {
			first[c.Name] = i
		}
		if len(c.Command) == 0 || c.Command[0] == "" {
			d.rejectf(path+".command", `is missing: list the program and its arguments, as in ["/usr/local/bin/list-images", "--all"]`)
		}
		for j, arg := range c.Command {
			if strings.ContainsRune(arg, 0) {
				d.rejectf(element(path+".command", j), "has a NUL character: remove it")
			}
		}
		if d.has(path + ".timeout") {
			var ok bool
			c.Timeout, ok = parseSpan(r.Timeout, map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour})
			if !ok || c.Timeout > time.Hour {
				d.rejectf(path+".timeout", "%q is not the timeout of a command (1s to 1h, as in 90s or 5m)", clip(r.Timeout))
			}
		}
		list = append(list, c)
	}
	return list
}

func (d *document) repository(path string, raw *rawRepository) planner.RepositoryRule {
	r := planner.RepositoryRule{
		Name:       d.pattern(path, raw.Name, raw.NamePattern),
		Accounts:   d.accountPatterns(path+".accounts", raw.Accounts),
		KeepCount:  d.atLeast(path+".keep_count", raw.KeepCount, 0, 0),
		AllowEmpty: raw.AllowEmpty,
	}
	for _, f := range []struct {
		key, text string
		into      *time.Duration
	}{
		{".expires", raw.Expires, &r.Expires},
		{".keep_pulled_within", raw.KeepPulledWithin, &r.KeepPulledWithin},
		{".untagged_expires", raw.UntaggedExpires, &r.UntaggedExpires},
	} {
		if d.has(path + f.key) {
			*f.into = d.duration(path+f.key, f.text)
		}
	}
	switch raw.ExpiresFrom {
	case "now":
	case "":
		if d.has(path + ".expires_from") {
			d.rejectf(path+".expires_from", `is empty: use "now" or "newest-push"`)
		}
	case "newest-push":
		r.FromNewestPush = true
	default:
		d.rejectf(path+".expires_from", `%q is neither "now" nor "newest-push"%s`, clip(raw.ExpiresFrom), suggest(raw.ExpiresFrom, []string{"now", "newest-push"}))
	}
	for i, p := range raw.KeepTagPatterns {
		if p == "" {
			d.rejectf(element(path+".keep_tag_patterns", i), `is empty and matches no tag: remove it ("*" matches every tag)`)
		}
		r.KeepTags = append(r.KeepTags, image.Glob(p))
	}
	return r
}

func (d *document) generations(path string, raw []rawGenerations, otherwise int) []generations {
	var list []generations
	for i := range raw {
		r, path := &raw[i], element(path, i)
		list = append(list, generations{
			name: d.pattern(path, r.Name, r.NamePattern),
			keep: d.atLeast(path+".keep_count", r.KeepCount, 1, otherwise),
		})
	}
	return list
}

// pattern takes name or name_pattern, whichever is given.
func (d *document) pattern(path, name, namePattern string) image.Pattern {
	hasName, hasPattern := d.has(path+".name"), d.has(path+".name_pattern")
	switch {
	case hasName && hasPattern:
		d.rejectf(path+".name_pattern", "is given beside name: only one of the two can decide; remove the other")
	case !hasName && !hasPattern:
		d.rejectf(path, `has neither name nor name_pattern (name_pattern = "*" matches everything)`)
	case hasName && name == "":
		d.rejectf(path+".name", "is empty: give the name that is meant, or name_pattern")
	case hasPattern && namePattern == "":
		d.rejectf(path+".name_pattern", `is empty ("*" matches everything)`)
	case hasName:
		return image.Exact(name)
	}
	return image.Glob(namePattern)
}

func (d *document) duration(path, text string) time.Duration {
	t, err := ParseDuration(text)
	if err != nil {
		d.reject(path, err)
	}
	return t
}

// atLeast gives a number that may not be less than least, or the default where the file does not say.
func (d *document) atLeast(path string, n, least int64, otherwise int) int {
	if !d.has(path) {
		return otherwise
	}
	const most = 1 << 30 // of anything that is counted here; int may have 32 bits
	if n < least {
		d.rejectf(path, "%d is less than %d: use %d or more", n, least, least)
	} else if n > most {
		d.rejectf(path, "%d is more than %d: use a smaller number", n, most)
	}
	return int(min(n, most))
}

// bytes takes a number of bytes, or a text as in "500GiB".
func (d *document) bytes(path string, value any) int64 {
	switch v := value.(type) {
	case nil:
	case int64:
		if v < 0 {
			d.rejectf(path, "%d is less than 0: use 0 for no limit, or more", v)
		}
		return v
	case string:
		n, err := humanize.ParseBytes(v)
		// 0 is no limit, which nobody means by a fraction of a byte; and 1,5 is not 15.
		tiny := n == 0 && strings.ContainsAny(v, "123456789")
		if err != nil || n > math.MaxInt64 || tiny || strings.Contains(v, ",") {
			d.rejectf(path, "%q is not a number of bytes (use a whole number, 500GiB or 500GB)", clip(v))
		}
		return int64(n)
	default:
		d.rejectf(path, `must be a whole number of bytes or a string as in "500GiB", not %s`, describe(v))
	}
	return 0
}

func (d *document) role(path, text string) Role {
	role, err := ParseRole(text)
	if err != nil {
		d.reject(path, err)
	}
	return role
}

func (d *document) externalID(path, text string) string {
	if text != "" && (len(text) < 2 || len(text) > 1224 || !externalID.MatchString(text)) {
		// It is not a secret, but is often treated as one: the error does not repeat it.
		d.rejectf(path, "is not an external id (2 to 1224 of letters, digits and _+=,.@:/-)")
	}
	return text
}

func (d *document) accountID(path string, id rawID) string {
	if id == "" {
		d.rejectf(path, "is missing: give the account's id of 12 digits")
	} else if !image.ValidAccount(string(id)) {
		d.rejectf(path, `%q is not an account id of 12 digits (as in "111111111111")`, clip(string(id)))
	}
	return string(id)
}

// accountPatterns takes account ids that may have wildcards. One that no account id can match is an error.
func (d *document) accountPatterns(path string, list []rawID) []image.Pattern {
	var patterns []image.Pattern
	for i, id := range list {
		text := string(id)
		fixed := strings.ReplaceAll(text, "*", "")
		foreign := strings.ContainsFunc(fixed, func(r rune) bool { return r != '?' && (r < '0' || r > '9') })
		if text == "" || foreign || len(fixed) > 12 || (len(fixed) < 12 && fixed == text) {
			d.rejectf(element(path, i), "%q matches no account id (12 digits; * stands for any number of them, ? for one)", clip(text))
		}
		patterns = append(patterns, image.Glob(text))
	}
	return patterns
}

func (d *document) region(path, region string) {
	if !image.ValidRegion(region) {
		d.rejectf(path, "%q is not a region (as in us-east-1)", clip(region))
	}
}

// regions takes a list of regions of one partition, or ["all"], which is nil; so is a list that is not given.
func (d *document) regions(path string, list []string) []string {
	if !d.has(path) {
		return nil
	}
	if len(list) == 0 {
		d.rejectf(path, `is empty: list regions, or ["all"]`)
		return nil
	}
	var regions []string
	for i, r := range list {
		at := element(path, i)
		if r == "all" {
			if len(list) > 1 {
				d.rejectf(at, `"all" stands beside other regions: remove it, or them`)
			}
			return nil
		}
		d.region(at, r)
		if p, q := image.PartitionOf(list[0]).ID, image.PartitionOf(r).ID; p != q {
			d.rejectf(at, "%q is of partition %s, but %q is of partition %s: an account has one partition; give the regions of the other a configuration of their own", clip(r), q, clip(list[0]), p)
		}
		if slices.Contains(regions, r) {
			d.rejectf(at, "%q is listed twice: remove one", clip(r))
		}
		regions = append(regions, r)
	}
	return regions
}

func (d *document) store(path, url string) string {
	if !d.has(path) {
		return defaultStore
	}
	if err := checkStore(url); err != nil {
		d.reject(path, err)
	}
	return url
}

func checkStore(url string) error {
	// A variable that was not set, and a slash too few, would both make a directory, which a container soon loses.
	if strings.TrimSpace(url) == "" {
		return fmt.Errorf("is empty: use a directory or s3://bucket/prefix, or leave the key out for the directory %s", defaultStore)
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok && len(url) >= 3 && strings.EqualFold(url[:3], "s3:") {
		return fmt.Errorf("%q is not a place for the store (use a directory or s3://bucket/prefix)", clip(url))
	}
	if !ok {
		if strings.ContainsRune(url, 0) {
			return fmt.Errorf("%q is not a directory (use a directory or s3://bucket/prefix)", clip(url))
		}
		return nil
	}
	if scheme != "s3" {
		return fmt.Errorf("%q is not a place for the store (use a directory or s3://bucket/prefix)", clip(url))
	}
	name, prefix, _ := strings.Cut(rest, "/")
	if !bucket.MatchString(name) {
		return fmt.Errorf("%q is not the name of an S3 bucket (use s3://bucket/prefix)", clip(name))
	}
	if strings.ContainsAny(prefix, "?#") {
		return errors.New("the prefix may not contain ? or #: remove them")
	}
	return nil
}
