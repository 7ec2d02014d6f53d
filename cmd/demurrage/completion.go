package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionFlag asks the program itself what could stand at the cursor: it follows the words of the line, the last of
// which is the one being typed, "" where none is begun yet. It is the name that urfave/cli gives it. The library's own
// answer is not used: it cannot tell a flag that is being typed from one whose value is, offers hidden flags, knows no
// values, and reads the environment.
const completionFlag = "--generate-bash-completion"

// completionScripts are what a shell has to be told. They only pass words on, unexpanded. A candidate is followed by a
// tab and what it means. Where there is none, the shell completes file names. After "--" there are no flags.
var completionScripts = map[string]string{
	"bash": `# demurrage: completion for bash 3.2 and later
_demurrage() {
    local line=${COMP_LINE:0:COMP_POINT} cur= candidate word
    local -a before # whole words: bash's own are parted at : and = too
    read -ra before <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        cur=${before[${#before[@]}-1]}
        unset "before[${#before[@]}-1]"
    fi
    COMPREPLY=()
    for word in "${before[@]}"; do [[ $word == -- ]] && return; done
    while IFS=$'\t' read -r candidate _; do
        [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]] && candidate=${candidate#*=}
        COMPREPLY+=("$candidate")
    done < <("${before[@]}" "$cur" ` + completionFlag + ` 2>/dev/null)
}
complete -o bashdefault -o default -F _demurrage demurrage
`,
	"zsh": `#compdef demurrage
# demurrage: completion for zsh
_demurrage() {
    local -a before candidates
    local line
    before=("${(@)words[2,CURRENT-1]}")
    (( ${before[(I)--]} )) && { _files; return }
    while IFS= read -r line; do
        candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done < <("${words[1]}" "${before[@]}" "${words[CURRENT]}" ` + completionFlag + ` 2>/dev/null)
    if (( ${#candidates} )); then
        _describe 'demurrage' candidates
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _demurrage ]]; then
    _demurrage "$@"
else
    compdef _demurrage demurrage
fi
`,
	"fish": `# demurrage: completion for fish
function __demurrage_complete
    set -l before (commandline -opc)
    set -l cur (commandline -ct)
    set -l candidates
    if not contains -- -- $before
        set candidates ($before $cur ` + completionFlag + ` 2>/dev/null)
    end
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else
        __fish_complete_path "$cur"
    end
end
complete -c demurrage -f -a '(__demurrage_complete)'
`,
}

// flagValues are the values of flags that take one of a few: "COMMAND --FLAG", or "--FLAG" where they are the same for
// every command that has it.
var flagValues = map[string][]string{
	"--log-level":          {"debug", "info", "warn", "error"},
	"--log-format":         {"text", "json"},
	"audit --format":       {"table", "json", "markdown"},
	"check --format":       {"table", "json"},
	"delete --format":      {"table", "markdown", "json"},
	"history --format":     {"table", "json", "markdown"},
	"permissions --format": {"json", "cloudformation"},
	"permissions --role":   {"read", "sweep", "all"},
	"plan --format":        {"table", "json", "csv", "markdown"},
	"report --format":      {"focus"},
	"report --layers":      {"exact", "estimate", "off"},
	"sim --seed":           {"demo", "empty", "scale"},
}

func completionCommand() *cli.Command {
	shells := slices.Sorted(maps.Keys(completionScripts))
	return &cli.Command{
		Name:      "completion",
		Usage:     "prints a script that completes commands, flags and their values in bash, zsh or fish",
		ArgsUsage: "SHELL",
		Description: `SHELL is bash, zsh or fish. Completing reads neither a configuration nor the store, and asks AWS nothing.

  demurrage completion bash > ~/.local/share/bash-completion/completions/demurrage
  demurrage completion zsh > ~/.zfunc/_demurrage        in a directory of $fpath
  demurrage completion fish > ~/.config/fish/completions/demurrage.fish`,
		Action: func(c *cli.Context) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return fmt.Errorf("%q is none of %s", c.Args().First(), strings.Join(shells, ", "))
			}
			_, err := io.WriteString(c.App.Writer, script)
			return err
		},
	}
}

// complete prints what could stand in the place of the last word, one candidate a line.
func complete(w io.Writer, app *cli.App, words []string) {
	if len(words) == 0 {
		return
	}
	last := len(words) - 1
	cur, name := words[last], ""
	commands, flags := app.Commands, slices.Concat(app.Flags, []cli.Flag{cli.HelpFlag, cli.VersionFlag})
	root, argument := true, false
	var takes string // the flag whose value the current word is
	for _, word := range words[:last] {
		switch at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(word) }); {
		case takes != "":
			takes = ""
		case strings.HasPrefix(word, "-"):
			if flag, _, given := strings.Cut(word, "="); !given && valued(flags, flag) {
				takes = flag
			}
		case at >= 0 && !argument:
			name, flags, commands = commands[at].Name, append(commands[at].Flags, cli.HelpFlag), commands[at].Subcommands
			root = false
		default:
			argument = true
		}
	}
	offer := func(prefix, candidate, usage string) {
		if strings.HasPrefix(candidate, cur) {
			fmt.Fprintf(w, "%s%s\t%s\n", prefix, candidate, usage)
		}
	}
	flag, value, given := strings.Cut(cur, "=")
	switch {
	case takes != "":
		for _, v := range valuesOf(name, takes) {
			offer("", v, "")
		}
	case strings.HasPrefix(cur, "-") && given:
		cur = value
		for _, v := range valuesOf(name, flag) {
			offer(flag+"=", v, "")
		}
	case strings.HasPrefix(cur, "-"):
		if argument {
			return // a flag behind an argument is an error
		}
		for _, f := range flags {
			if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
				continue
			}
			usage := f.(cli.DocGenerationFlag).GetUsage()
			offer("", "--"+f.Names()[0], strings.ReplaceAll(usage, "`", ""))
		}
	case argument:
	case name == "completion":
		for _, shell := range slices.Sorted(maps.Keys(completionScripts)) {
			offer("", shell, "")
		}
	default:
		for _, c := range commands {
			if !c.Hidden {
				offer("", c.Name, c.Usage)
			}
		}
		if root {
			offer("", "help", "lists the commands, or shows the help of one")
		}
	}
}

// valued says whether a flag is followed by its value.
func valued(flags []cli.Flag, name string) bool {
	name = strings.TrimLeft(name, "-")
	return slices.ContainsFunc(flags, func(f cli.Flag) bool {
		return slices.Contains(f.Names(), name) && f.(cli.DocGenerationFlag).TakesValue()
	})
}

func valuesOf(command, flag string) []string {
	flag = "--" + strings.TrimLeft(flag, "-")
	if values, ok := flagValues[command+" "+flag]; ok {
		return values
	}
	return flagValues[flag]
}
