package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"demurrage/accounts"
	"demurrage/internal/image"
	"demurrage/internal/store"
	"demurrage/internal/uselist"
)

func usesCommand() *cli.Command {
	return &cli.Command{
		Name:  "uses",
		Usage: "imports lists of images that are in use where AWS cannot tell: on plain hosts, in clusters out of reach",
		Description: `An imported list is part of every scan from then on, until it is replaced or removed. Once it was seen longer ago than
max_age of [uses] says, it is a gap that blocks everything, or, with --covers, what the cluster's account could use.

  demurrage uses import hosts.txt
  demurrage uses list
  demurrage uses remove hosts`,
		Subcommands: []*cli.Command{usesImportCommand(), usesListCommand(), usesRemoveCommand()},
		Action: func(c *cli.Context) error {
			return errors.Join(cli.ShowSubcommandHelp(c), errors.New("uses: no command given"))
		},
	}
}

func usesImportCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "stores a list of uses in place of the one of the same name",
		ArgsUsage: "FILE…",
		Description: `FILE is a list of references, one a line; a JSON array of them, as "ecrm scan" writes it, or of {"ref", "resource",
"detail"} objects; or what "kubectl get … -A -o json" writes. "-" is stdin. What is not understood is an error, and then
nothing is imported. References to other registries are left out.

  demurrage uses import hosts.txt
  demurrage uses import --name on-prem --observed 2026-11-20T04:00:00Z rack1.txt rack2.txt
  kubectl get pods,deployments,statefulsets,daemonsets,replicasets,replicationcontrollers,jobs,cronjobs,podtemplates \
    -A -o json > main.json && demurrage uses import --covers eks:111111111111/us-east-1/main main.json

kubectl prints what it may list even where it fails on the rest: do not pipe it in, its exit code would be lost.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the list's `NAME`; else that of the cluster, or of the file"},
			&cli.StringFlag{Name: "covers", Usage: "all that the cluster `eks:ACCOUNT/REGION/CLUSTER` uses"},
			&cli.StringFlag{Name: "observed", Usage: "the `TIME` it is of (2026-10-31 or RFC 3339); else that of the file"},
		},
		Action: func(c *cli.Context) error {
			observed, err := parseTime(c, "observed")
			if err != nil {
				return err
			}
			l := store.UseList{Name: c.String("name"), ImportedAt: time.Now().UTC(), ObservedAt: observed}
			if text := c.String("covers"); text != "" {
				cluster, err := store.ParseCluster(text)
				if err != nil {
					return fmt.Errorf("--covers: %w", err)
				}
				l.Covers = &cluster
			}
			derived, err := nameList(&l, c.Args().Slice())
			if err != nil {
				return err
			}
			if err := readLists(&l, c.Args().Slice(), c.App.Reader); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			return s.importList(c.Context, l, derived)
		},
	}
}

// nameList finds the name of a list that is given none, and says whether it is only that of a file.
func nameList(l *store.UseList, files []string) (derived bool, err error) {
	switch {
	case l.Name != "":
	case l.Covers != nil:
		l.Name = strings.NewReplacer(":", "-", "/", "-").Replace(l.Covers.String())
	case len(files) > 1:
		return false, errors.New("--name is missing: several files make one list")
	case files[0] == "-":
		return false, errors.New("--name is missing: what comes from stdin has none")
	default:
		base := filepath.Base(files[0])
		l.Name, derived = unfit.ReplaceAllString(strings.TrimSuffix(base, filepath.Ext(base)), "-"), true
	}
	if !store.ValidUseListName(l.Name) {
		return false, fmt.Errorf("--name: %q is not the name of a list (up to 150 letters, digits and ._-)", l.Name)
	}
	return derived, nil
}

var unfit = regexp.MustCompile(`[^0-9A-Za-z._-]`)

// skew is by how much clocks may differ: a time that is further in the future would make a list younger than it is.
const skew = 5 * time.Minute

// readLists reads the files of a list. It is as old as the oldest of them.
func readLists(l *store.UseList, files []string, stdin io.Reader) error {
	given := !l.ObservedAt.IsZero()
	var kinds, namespaces []string
	kubernetes := false
	for _, file := range files {
		list, written, origin, err := readList(file, stdin)
		if err != nil {
			return err
		}
		if slices.Contains(l.Origin, origin) {
			return fmt.Errorf("%s is given twice", file)
		}
		l.Origin = append(l.Origin, origin)
		if !given && (l.ObservedAt.IsZero() || written.Before(l.ObservedAt)) {
			l.ObservedAt = written
		}
		place := origin
		if l.Covers != nil {
			place = l.Covers.String()
		}
		for _, e := range list.Entries {
			e.Resource = place + ": " + e.Resource
			l.Refs = append(l.Refs, e)
		}
		l.Skipped += list.Skipped
		kubernetes = kubernetes || list.Kubernetes
		kinds = append(kinds, list.Kinds...)
		namespaces = append(namespaces, list.Namespaces...)
	}
	l.ObservedAt = l.ObservedAt.UTC().Truncate(time.Second)
	if l.ObservedAt.After(l.ImportedAt.Add(skew)) {
		return fmt.Errorf("the list would be seen in the future, at %s: say when it was with --observed", l.ObservedAt.Format(time.RFC3339))
	}
	if l.Covers == nil || !kubernetes {
		return nil
	}
	if len(kinds) == 0 {
		return errors.New("the list has no workload at all and cannot stand in for a cluster: was kubectl called with -A, and in the right context? " +
			"(A cluster that is empty indeed is one to attest or to delete)")
	}
	other := func(kind string) bool { return kind != "Pod" }
	if !slices.ContainsFunc(kinds, other) {
		l.Notes = append(l.Notes, "lists pods only: workloads at zero replicas and CronJobs between two runs are not in it")
	}
	slices.Sort(namespaces)
	if namespaces = slices.Compact(namespaces); len(namespaces) == 1 {
		l.Notes = append(l.Notes, fmt.Sprintf("everything in it is of namespace %q: if kubectl was not called with -A, the others are missing", namespaces[0]))
	}
	return nil
}

// readList reads a file, and says when it was written and what it is called in the evidence.
func readList(file string, stdin io.Reader) (list *uselist.List, written time.Time, origin string, err error) {
	if file == "-" {
		list, err = uselist.Read("stdin", stdin)
		return list, time.Now(), "stdin", err
	}
	if origin, err = filepath.Abs(file); err != nil {
		return nil, written, "", err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, written, "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, written, "", err
	}
	list, err = uselist.Read(file, f)
	return list, info.ModTime(), origin, err
}

func (s *session) importList(ctx context.Context, l store.UseList, derived bool) error {
	old, err := s.store.UseList(ctx, l.Name)
	replaces := err == nil
	if derived && replaces && !slices.Equal(old.Origin, l.Origin) {
		return fmt.Errorf("list %s is there already, imported from %s: --name %s replaces it, another --name adds to it", l.Name, from(&old), l.Name)
	}
	if derived && err != nil && !store.IsNotExist(err) {
		return err
	}
	if err := s.store.SaveUseList(ctx, l); err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "imported %s, seen %s: uses of ECR images: %d; of other registries, left out: %d\n",
		l.Name, l.ObservedAt.Format(time.RFC3339), len(l.Refs), l.Skipped)
	if replaces {
		fmt.Fprintf(s.stdout, "in place of the list seen %s: uses of ECR images: %d\n", old.ObservedAt.Format(time.RFC3339), len(old.Refs))
	}
	for _, note := range l.Notes {
		fmt.Fprintln(s.stdout, "note:", note)
	}
	if age := stale(&l, s.config, time.Now()); age != "" {
		fmt.Fprintln(s.stdout, "note: it is too old already:", age)
	}
	return nil
}

func usesListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "shows the imported lists",
		Description: `One a line, with what is wrong with it.

  demurrage uses list`,
		Action: func(c *cli.Context) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			return s.listLists(c.Context)
		},
	}
}

func (s *session) listLists(ctx context.Context) error {
	names, err := s.store.UseLists(ctx)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Fprintln(s.stdout, "no list is imported")
		return nil
	}
	var damaged []error
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tUSES\tSEEN\tSTATE\tCOVERS\tFROM")
	for _, name := range names {
		l, err := s.store.UseList(ctx, name)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		state, covers := "ok", "-"
		if stale(&l, s.config, time.Now()) != "" {
			state = "stale"
		}
		if l.Covers != nil {
			covers = l.Covers.String()
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", l.Name, len(l.Refs), l.ObservedAt.Format(time.RFC3339), state, covers, from(&l))
	}
	return errors.Join(append(damaged, w.Flush())...)
}

func usesRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "takes an imported list away: what only it uses counts as unused from the next scan on",
		ArgsUsage: "NAME",
		Description: `Runs that are stored keep what they saw of it.

  demurrage uses remove on-prem`,
		Action: func(c *cli.Context) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			name := c.Args().First()
			switch err := s.store.RemoveUseList(c.Context, name); {
			case store.IsNotExist(err):
				return fmt.Errorf("no list is called %q: see demurrage uses list", name)
			case err != nil:
				return err
			}
			fmt.Fprintln(s.stdout, "removed", name)
			return nil
		},
	}
}

// from names the files of a list.
func from(l *store.UseList) string {
	if len(l.Origin) == 1 {
		if quoted := strconv.Quote(l.Origin[0]); quoted != `"`+l.Origin[0]+`"` {
			return quoted // a file's name can have anything in it
		}
		return l.Origin[0]
	}
	return fmt.Sprintf("%d files", len(l.Origin))
}

// stale says how old a list is if that is too old, "" otherwise.
func stale(l *store.UseList, config *accounts.Config, now time.Time) string {
	age := now.Sub(l.ObservedAt)
	if age <= config.MaxUseAge {
		return ""
	}
	return "seen " + span(age) + " ago, older than max_age " + span(config.MaxUseAge)
}

// span is a duration in days, or in hours where these are few.
func span(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

// elsewhere collects the uses from elsewhere for a run that is to begin: those of imported lists and of external
// commands, and what became of each of them. A list or command that fails may have been about any image anywhere.
func (s *session) elsewhere(ctx context.Context, roster *accounts.Roster) (store.Imports, []image.Coverage, error) {
	var all store.Imports
	names, err := s.store.UseLists(ctx)
	if err != nil {
		return all, nil, err
	}
	var coverage []image.Coverage
	for _, name := range names {
		l, err := s.store.UseList(ctx, name)
		if ctx.Err() != nil {
			return all, nil, context.Cause(ctx)
		}
		if err != nil {
			coverage = append(coverage, anywhere("import:"+name, err.Error()))
			continue
		}
		coverage = append(coverage, s.imported(&all, &l, roster))
	}
	commands, err := s.external(ctx, &all)
	return all, append(coverage, commands...), err
}

// importedSince is a list that was imported after a time, "" if there is none.
func (s *session) importedSince(ctx context.Context, t time.Time) (string, error) {
	names, err := s.store.UseLists(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if l, err := s.store.UseList(ctx, name); err != nil || l.ImportedAt.After(t) {
			return name, err
		}
	}
	return "", nil
}

// imported adds the uses of a list.
func (s *session) imported(all *store.Imports, l *store.UseList, roster *accounts.Roster) image.Coverage {
	seen := "imported from " + from(l) + ", seen " + l.ObservedAt.UTC().Format(time.RFC3339)
	c := anywhere("import:"+l.Name, "")
	var place image.Registry
	if l.Covers != nil {
		place = image.Registry{Account: l.Covers.Account, Region: l.Covers.Region}
		// Coverage of an account says that it is scanned.
		if slices.ContainsFunc(roster.Accounts, func(a accounts.Account) bool { return a.ID == place.Account }) {
			c.Account, c.Region = place.Account, place.Region
		}
	}
	for _, e := range l.Refs {
		all.Uses = append(all.Uses, use(e, "import", place, "", seen))
	}
	for _, text := range l.Notes {
		n := image.Note{Account: c.Account, Region: c.Region, Source: c.Source, Text: "the list of uses " + text}
		if l.Covers != nil {
			n.Resource = l.Covers.String()
		}
		all.Notes = append(all.Notes, n)
	}
	switch age := stale(l, s.config, time.Now()); {
	case age != "": // also of a cluster: the scan of EKS does not miss one that EKS does not know (kOps, a name that was mistyped)
		c.Status = image.CoverageFailed
		c.Error = fmt.Sprintf("the list of uses %s, imported from %s, was %s; import it again or remove it with `demurrage uses remove %s`", l.Name, from(l), age, l.Name)
	case l.Covers != nil:
		all.Covered = append(all.Covered, store.Covered{Cluster: *l.Covers, Origin: "list " + l.Name + ", " + seen})
	}
	return c
}

// anywhere is the coverage of what may be about any image; err is why it failed, "" if it did not.
func anywhere(source, err string) image.Coverage {
	c := image.Coverage{Account: "*", Region: "*", Source: source, Status: image.CoverageOK, Error: err}
	if err != "" {
		c.Status = image.CoverageFailed
	}
	return c
}

func use(e uselist.Entry, source string, place image.Registry, prefix, seen string) image.Use {
	if e.Detail != "" {
		seen = e.Detail + ", " + seen
	}
	return image.Use{Ref: e.Ref, Source: source, Account: place.Account, Region: place.Region, Resource: prefix + e.Resource, Detail: seen,
		Live: !e.Rollback, Since: e.Since}
}

// covered answers for the clusters that imported lists stand in for.
func covered(imports store.Imports) func(account, region, cluster string) (string, bool) {
	return func(account, region, cluster string) (string, bool) {
		for _, c := range imports.Covered {
			if c.Cluster == (store.Cluster{Account: account, Region: region, Name: cluster}) {
				return c.Origin, true
			}
		}
		return "", false
	}
}
