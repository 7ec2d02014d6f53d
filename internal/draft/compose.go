package draft

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fill makes the accounts, regions and rules of a configuration from what was seen. Regions that are set already stay.
func (c *Config) Fill(seen []Seen) {
	registries := map[string]bool{}
	var repositories, families, functions []string
	for _, s := range seen {
		for region, names := range s.Repositories {
			registries[region] = true
			repositories = append(repositories, names...)
		}
		families = appendAll(families, s.Families)
		functions = appendAll(functions, s.Functions)
		c.Accounts = append(c.Accounts, Account{ID: s.ID, Name: s.Name, Notes: s.notes()})
		if slices.ContainsFunc(s.Unseen, func(u Unseen) bool {
			return slices.Contains([]string{"", "regions", lists[0].what}, u.What)
		}) {
			c.Missing = append(c.Missing, s.ID)
		}
	}
	if c.Regions == nil {
		c.Regions = slices.Sorted(maps.Keys(registries))
	}
	// What was not seen may have any name: a pattern for all the rest would shorten its life.
	whole := !slices.ContainsFunc(seen, func(s Seen) bool { return len(s.Unseen) > 0 })
	for _, p := range c.patterns(repositories, "repositories", whole) {
		c.Repositories = append(c.Repositories, Rule{Pattern: p, Notes: rest(p, "repositories, and those that are made later"),
			Expires: DefaultExpires, KeepCount: DefaultKeepCount, KeepTags: []string{DefaultKeepTag}})
	}
	for _, p := range c.patterns(families, "task definition families", whole) {
		c.TaskDefinitions = append(c.TaskDefinitions, Rule{Pattern: p, Notes: rest(p, "families"), KeepCount: DefaultKeepCount})
	}
	for _, p := range c.patterns(functions, "functions", whole) {
		// All published versions, which is the default: nothing in AWS lists who invokes one by its number.
		c.Functions = append(c.Functions, Rule{Pattern: p, Notes: rest(p, "functions")})
	}
}

// patterns are few that match all names, or, where something could not be seen, as many as can be without one for everything.
func (c *Config) patterns(names []string, what string, whole bool) []Pattern {
	list := Collapse(names)
	last := len(list) - 1
	if whole || last < 0 || list[last].Exact || list[last].Text != "*" {
		return list
	}
	c.Notes = append(c.Notes, fmt.Sprintf("%d more %s have no entry, which keeps more: there are too many prefixes for a pattern each, and one for all the rest would be for what could not be seen, too.", list[last].Names, what))
	return list[:last]
}

// rest explains the pattern for everything.
func rest(p Pattern, what string) []string {
	if p.Exact || p.Text != "*" {
		return nil
	}
	return []string{fmt.Sprintf("There are too many prefixes for a pattern each: this is for all other %s.", what)}
}

func appendAll(names []string, byRegion map[string][]string) []string {
	for _, list := range byRegion {
		names = append(names, list...)
	}
	return names
}

// notes are what an account holds, a region a line, and what could not be seen of it.
func (s Seen) notes() []string {
	var notes []string
	regions := map[string]bool{}
	for _, m := range []map[string][]string{s.Repositories, s.Families, s.Functions} {
		for region := range m {
			regions[region] = true
		}
	}
	for _, region := range slices.Sorted(maps.Keys(regions)) {
		var parts []string
		for _, p := range []struct {
			n    int
			what string
		}{
			{len(s.Repositories[region]), "repository"},
			{len(s.Families[region]), "task definition family"},
			{len(s.Functions[region]), "function"},
		} {
			if p.n > 0 {
				parts = append(parts, count(p.n, p.what))
			}
		}
		notes = append(notes, region+": "+strings.Join(parts, ", "))
	}
	if len(s.Disabled) > 0 {
		notes = append(notes, "not enabled in this account: "+strings.Join(s.Disabled, ", "))
	}
	if len(regions) == 0 && len(s.Unseen) == 0 {
		notes = append(notes, "nothing was seen here: no repository, no task definition, no function made of an image")
	}
	for _, u := range s.Unseen {
		notes = append(notes, "NOT SEEN: "+u.String())
	}
	return notes
}

// Summary says in a few lines what was found.
func Summary(seen []Seen) []string {
	n := map[string]int{}
	regions := map[string]bool{}
	for _, s := range seen {
		for _, l := range lists {
			for region, names := range l.of(&s) {
				n[l.what] += len(names)
				regions[region] = true
			}
		}
	}
	lines := []string{fmt.Sprintf("found: %s, %s, %s, %s in %s", count(len(seen), "account"), count(n[lists[0].what], "repository"),
		count(n[lists[1].what], "task definition family"), count(n[lists[2].what], "function"), count(len(regions), "region"))}
	disabled := map[string]int{}
	for _, s := range seen {
		for _, region := range s.Disabled {
			disabled[region]++
		}
	}
	for _, region := range slices.Sorted(maps.Keys(disabled)) {
		lines = append(lines, fmt.Sprintf("not enabled in %d of %s: %s", disabled[region], count(len(seen), "account"), region))
	}
	for _, s := range seen {
		for _, u := range s.Unseen {
			who := s.ID
			if s.Name != "" {
				who += " (" + s.Name + ")"
			}
			lines = append(lines, plain("not seen: "+who+": "+u.String()))
		}
	}
	return lines
}

// Comments counts the notes of a configuration.
func (c *Config) Comments() int {
	n := len(c.Notes)
	for _, rules := range [][]Rule{c.TaskDefinitions, c.Functions, c.Repositories} {
		for _, r := range rules {
			n += len(r.Notes)
		}
	}
	for _, command := range c.Commands {
		n += len(command.Notes)
	}
	return n
}
