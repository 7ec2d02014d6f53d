package accounts

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agext/levenshtein"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// KeyError is one problem of a configuration: where it stands and what is wrong. Parse joins those that it finds with
// errors.Join, in the order of the file.
type KeyError struct {
	File         string
	Line, Column int    // from 1; 0: the problem has no place, since something is missing from the whole file
	Key          string // "repositories[1].expires"; "" for what is no TOML at all
	Err          error
}

func (e *KeyError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Key != "" {
		b.WriteString(": " + clip(e.Key))
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *KeyError) Unwrap() error { return e.Err }

type position struct{ line, column int }

// document is a TOML file that is being judged: where each of its keys stands, and what was found wrong with them.
type document struct {
	file      string
	positions map[string]position
	problems  map[string]*KeyError // the first of each key: what follows from a problem is not another one
}

// readDocument decodes data into raw, a pointer to a struct with toml tags, as far as the types fit. The error is
// about the syntax; everything else is recorded in the document.
//
// The decoder of the TOML library stops at the first value of a wrong type, so the values are taken from its generic
// form, and their places from its parser.
func readDocument(file string, data []byte, raw any) (*document, error) {
	d := &document{file: file, positions: map[string]position{}, problems: map[string]*KeyError{}}
	if e := notText(file, data); e != nil {
		return nil, e
	}
	if e := tooMuch(file, data); e != nil {
		return nil, e
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return nil, syntaxError(file, data, err)
	}
	if err := d.locate(data); err != nil {
		return nil, syntaxError(file, data, err)
	}
	d.decode("", tree, reflect.ValueOf(raw).Elem())
	return d, nil
}

// notText says of a file that is no UTF-8 text what it is instead, and what to do.
func notText(file string, data []byte) error {
	const save = "save the file as UTF-8, without a byte order mark"
	e := &KeyError{File: file, Line: 1, Column: 1}
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}), bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		e.Err = errors.New("is UTF-16 text: " + save)
	case bytes.HasPrefix(data, []byte("\ufeff")):
		e.Err = errors.New("begins with a byte order mark: " + save)
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		line := 1
		for text := range bytes.Lines(data) {
			i := bytes.IndexByte(text, 0)
			if !utf8.Valid(text) {
				i = bytes.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || r == 0 })
			}
			if i >= 0 {
				e.Line, e.Column = line, i+1
				break
			}
			line++
		}
		e.Err = errors.New("is not UTF-8 text: name a TOML file, and save it as UTF-8")
	default:
		return nil
	}
	return e
}

// tooMuch refuses what no configuration has, and what the TOML library would take minutes for: it compares every key of a
// table with every other, and what is nested in keys has paths that are as long as it is deep.
func tooMuch(file string, data []byte) error {
	const mostKeys, mostParts = 10_000, 100
	var parser unstable.Parser
	parser.Reset(data)
	keys := 0
	for parser.NextExpression() {
		node := parser.Expression()
		if node.Kind == unstable.Comment {
			continue
		}
		if keys++; node.Kind != unstable.KeyValue {
			keys = 0
		}
		var parts int
		var last unstable.Range
		for it := node.Key(); it.Next(); parts++ {
			last = it.Node().Raw
		}
		if keys <= mostKeys && parts <= mostParts {
			continue
		}
		at := parser.Shape(last).Start
		e := &KeyError{File: file, Line: at.Line, Column: at.Column}
		if e.Err = fmt.Errorf("is the key after %d others of its table: name the configuration of demurrage", mostKeys); parts > mostParts {
			e.Err = fmt.Errorf("is a key of %d parts: name the configuration of demurrage", parts)
		}
		return e
	}
	return nil // what is no TOML is told by who decodes it
}

// bareAccount is an account id that is written as a number. One that begins with 0 is not even TOML.
var bareAccount = regexp.MustCompile(`(^|[=\[,\s])[0-9]{12}($|[\],#\s])`)

func syntaxError(file string, data []byte, err error) error {
	e := &KeyError{File: file, Err: err}
	var de *toml.DecodeError
	if errors.As(err, &de) {
		e.Line, e.Column = de.Position()
		lines := strings.Split(string(data), "\n")
		if e.Line >= 1 && e.Line <= len(lines) && bareAccount.MatchString(lines[e.Line-1]) {
			e.Err = fmt.Errorf("%w (an account id is a string: put it in quotes)", err)
		} else if e.Line >= 1 && e.Line <= len(lines) && strings.ContainsAny(lines[e.Line-1], "“”„‘’«»") {
			e.Err = fmt.Errorf("%w: mend this line; the quotes of TOML are straight: \" or '", err)
		} else {
			e.Err = fmt.Errorf("%w: mend this line; the file is TOML, as accounts.toml.example is", err)
		}
	}
	return e
}

// locate records where every key and every list element stands. The data is known to be valid TOML.
func (d *document) locate(data []byte) error {
	lineStarts := []int{0}
	for i, c := range data {
		if c == '\n' {
			lineStarts = append(lineStarts, i+1)
		}
	}
	at := func(path string, offset uint32) {
		if _, ok := d.positions[path]; ok {
			return
		}
		line, exact := slices.BinarySearch(lineStarts, int(offset))
		if !exact {
			line--
		}
		d.positions[path] = position{line + 1, int(offset) - lineStarts[line] + 1}
	}
	lengths := map[string]int{} // of the arrays of tables so far
	last := func(path string) string {
		if n := lengths[path]; n > 0 {
			return element(path, n-1)
		}
		return path
	}
	var parser unstable.Parser
	var value func(path string, node *unstable.Node)
	keyValue := func(prefix string, node *unstable.Node) {
		path := prefix
		for it := node.Key(); it.Next(); {
			path = join(path, string(it.Node().Data))
			at(path, it.Node().Raw.Offset)
		}
		value(path, node.Value())
	}
	value = func(path string, node *unstable.Node) {
		switch node.Kind {
		case unstable.Array:
			i := 0
			for it := node.Children(); it.Next(); {
				n := it.Node()
				if n.Kind == unstable.Comment {
					continue
				}
				if n.Raw.Length > 0 {
					at(element(path, i), n.Raw.Offset)
				}
				value(element(path, i), n)
				i++
			}
		case unstable.InlineTable:
			for it := node.Children(); it.Next(); {
				if it.Node().Kind == unstable.KeyValue {
					keyValue(path, it.Node())
				}
			}
		default: // a scalar: it stands where its key does
		}
	}
	table := ""
	parser.Reset(data)
	for parser.NextExpression() {
		node := parser.Expression()
		switch node.Kind {
		case unstable.KeyValue:
			keyValue(table, node)
		case unstable.Table, unstable.ArrayTable:
			table = ""
			for it := node.Key(); it.Next(); {
				table = join(last(table), string(it.Node().Data))
				at(table, it.Node().Raw.Offset)
			}
			if node.Kind == unstable.ArrayTable {
				lengths[table]++
			}
			table = last(table)
			if node.Kind == unstable.ArrayTable {
				it := node.Key()
				it.Next()
				at(table, it.Node().Raw.Offset)
			}
		default: // a comment
		}
	}
	return parser.Error()
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func join(path, key string) string {
	if !bareKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// has reports whether the file has the key.
func (d *document) has(path string) bool {
	_, ok := d.positions[path]
	return ok
}

// reject records a problem of a key. A key that is missing is placed where its table begins.
func (d *document) reject(path string, err error) {
	if d.problems[path] != nil {
		return
	}
	e := &KeyError{File: d.file, Key: path, Err: err}
	for p := path; p != ""; p = p[:max(0, strings.LastIndexAny(p, ".["))] {
		if at, ok := d.positions[p]; ok {
			e.Line, e.Column = at.line, at.column
			break
		}
	}
	d.problems[path] = e
}

func (d *document) rejectf(path, format string, args ...any) {
	d.reject(path, fmt.Errorf(format, args...))
}

// mostProblems are as many as anybody mends at once.
const mostProblems = 50

// err joins the problems in the order of the file.
func (d *document) err() error {
	all := slices.SortedFunc(maps.Values(d.problems), func(a, b *KeyError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
	var errs []error
	for _, e := range all[:min(len(all), mostProblems)] {
		errs = append(errs, e)
	}
	if n := len(all) - mostProblems; n > 0 {
		errs = append(errs, fmt.Errorf("%s: and %d more problems: mend these first", d.file, n))
	}
	return errors.Join(errs...)
}

// decode puts src, a value of the TOML library's generic form, into dst, and records what does not fit.
func (d *document) decode(path string, src any, dst reflect.Value) {
	switch dst.Kind() {
	case reflect.Struct:
		table, ok := src.(map[string]any)
		if !ok {
			header := "[" + path + "]"
			if list, ok := strings.CutSuffix(path, "]"); ok {
				header = "[[" + list[:strings.LastIndexByte(list, '[')] + "]]"
			}
			d.rejectf(path, "must be a table (%s), not %s", header, describe(src))
			return
		}
		fields := keys(dst.Type())
		for key, value := range table {
			if i := slices.Index(fields, key); i >= 0 {
				d.decode(join(path, key), value, dst.Field(i))
			} else {
				d.rejectf(join(path, key), "unknown key%s", cmp.Or(suggest(key, fields), ": remove it (accounts.toml.example has every key)"))
			}
		}
	case reflect.Slice:
		list, ok := src.([]any)
		if !ok {
			if dst.Type().Elem().Kind() == reflect.Struct {
				d.rejectf(path, "must be an array of tables ([[%s]]), not %s", path, describe(src))
			} else {
				d.rejectf(path, "must be a list, not %s", describe(src))
			}
			return
		}
		dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
		for i, value := range list {
			d.decode(element(path, i), value, dst.Index(i))
		}
	case reflect.Map:
		table, ok := src.(map[string]any)
		if !ok {
			d.rejectf(path, "must be a table of strings, not %s", describe(src))
			return
		}
		dst.Set(reflect.MakeMap(dst.Type()))
		for key, value := range table {
			v := reflect.New(dst.Type().Elem()).Elem()
			d.decode(join(path, key), value, v)
			dst.SetMapIndex(reflect.ValueOf(key), v)
		}
	case reflect.String:
		switch src := src.(type) {
		case string:
			dst.SetString(src)
		case int64:
			if dst.Type() == reflect.TypeFor[rawID]() {
				write := fmt.Sprintf(`write "%d", in quotes`, src)
				if len(strconv.FormatInt(src, 10)) != 12 || src < 0 { // nobody can tell which digit is missing
					write = `write all of them, in quotes, as in "111111111111"`
				}
				d.rejectf(path, "must be a string of 12 digits: %s", write)
				return
			}
			d.rejectf(path, "must be a string, not %s", describe(src))
		default:
			d.rejectf(path, "must be a string, not %s", describe(src))
		}
	case reflect.Bool:
		if b, ok := src.(bool); ok {
			dst.SetBool(b)
		} else {
			d.rejectf(path, "must be true or false, not %s", describe(src))
		}
	case reflect.Int64:
		if n, ok := src.(int64); ok {
			dst.SetInt(n)
		} else {
			d.rejectf(path, "must be a whole number, not %s", describe(src))
		}
	case reflect.Interface: // judged later
		dst.Set(reflect.ValueOf(src))
	default:
		panic("accounts: no TOML value goes into a " + dst.Type().String())
	}
}

// keys lists the TOML keys of a raw struct's fields, in their order.
func keys(t reflect.Type) []string {
	list := make([]string, t.NumField())
	for i := range list {
		list[i] = t.Field(i).Tag.Get("toml")
	}
	return list
}

func describe(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return "a date or time"
	}
	return "this"
}

// suggest proposes the known word that is nearest to a wrong one, if any is near.
func suggest(word string, known []string) string {
	best, distance := "", max(2, len(word)/3)+1
	for _, k := range known {
		if n := levenshtein.Distance(word, k, nil); n < distance {
			best, distance = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}
