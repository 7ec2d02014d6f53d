// Package uselist reads lists of image uses that were made elsewhere: by a person, by a command, in a cluster that
// cannot be reached from here. The form is told by the content:
//
//   - a plain list: one reference a line, "#" begins a comment;
//   - a JSON array of references, which is what `ecrm scan` writes and --scanned-files takes
//     (https://github.com/fujiwara/ecrm), or of {"ref", "resource", "detail"};
//   - what `kubectl get … -A -o json` writes: see kubernetes.go.
//
// It is pure. What it cannot understand is an error that says where, never a use less: a list is taken whole or not at
// all. References that are no ECR images are counted and left out.
package uselist

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"demurrage/internal/image"
)

// MaxBytes is how big a list may be.
const MaxBytes = 256 << 20

// maxText bounds what a list says of a use in words. Kubernetes' names have at most 253 characters each.
const maxText = 1000

// Entry says that something uses an image of ECR.
type Entry struct {
	Ref      image.Ref `json:"ref"`
	Resource string    `json:"resource"`           // what uses it: "NAMESPACE/Deployment/NAME", "line 3"
	Detail   string    `json:"detail,omitempty"`   // "container app"
	Rollback bool      `json:"rollback,omitempty"` // nothing runs from it; it is kept to go back to
	// Since is as in image.Use: it runs from a tag since then and does not say from which digest.
	Since time.Time `json:"since,omitzero"`
}

func compareEntries(a, b Entry) int {
	return cmp.Or(image.CompareRefs(a.Ref, b.Ref), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Detail, b.Detail), a.Since.Compare(b.Since))
}

// List is a list that was understood as a whole.
type List struct {
	Entries []Entry // sorted, each once
	Skipped int     // references to other registries than ECR's
	// Kinds of objects that are in a list of kubectl's, sorted; nil for other lists.
	Kinds []string
	// Namespaces that those objects are in, sorted.
	Namespaces []string
	Kubernetes bool // it is kubectl's
}

// Error says where a list cannot be understood.
type Error struct {
	Name string
	Line int // from 1; 0: it is about the whole
	Err  error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Name + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Read reads a list to its end; name is what errors call it.
func Read(name string, r io.Reader) (*List, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, &Error{Name: name, Err: err}
	}
	if len(data) > MaxBytes {
		return nil, &Error{Name: name, Err: fmt.Errorf("it is bigger than %d MiB", MaxBytes>>20)}
	}
	return Parse(name, data)
}

// Parse understands a list; name is what errors call it. Every error is an *Error.
func Parse(name string, data []byte) (*List, error) {
	p := &parser{name: name, data: bytes.TrimPrefix(data, []byte("\uFEFF"))}
	if i := invalid(p.data); i >= 0 {
		return nil, p.fail(i, errors.New("it is no text in UTF-8"))
	}
	trimmed := bytes.TrimLeft(p.data, " \t\r\n")
	var err error
	switch {
	case len(trimmed) == 0:
		return nil, &Error{Name: name, Err: errEmpty}
	case trimmed[0] == '[':
		err = p.array()
	case trimmed[0] == '{':
		err = p.kubernetes()
	default:
		err = p.lines()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(p.list.Entries, compareEntries)
	p.list.Entries = slices.CompactFunc(p.list.Entries, func(a, b Entry) bool { return compareEntries(a, b) == 0 })
	return &p.list, nil
}

// errEmpty: a command that failed on its way may have printed nothing, too.
var errEmpty = errors.New("it names no image at all (an empty JSON array, [], says that nothing is used)")

// invalid is the offset of what is no text, -1 if all is.
func invalid(data []byte) int {
	if utf8.Valid(data) {
		return bytes.IndexByte(data, 0)
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
}

type parser struct {
	name string
	data []byte
	list List
}

// fail is an error at an offset.
func (p *parser) fail(offset int, err error) error {
	return &Error{p.name, 1 + bytes.Count(p.data[:offset], []byte("\n")), err}
}

// add takes a reference; the error is about what looks like ECR and is not understood.
func (p *parser) add(text string, e Entry) error {
	ref, err := image.ParseRef(text)
	if errors.Is(err, image.ErrNotECR) {
		p.list.Skipped++
		return nil
	}
	if err != nil {
		return err
	}
	e.Ref = clone(ref)
	return p.put(e)
}

func (p *parser) put(e Entry) error {
	for _, s := range []string{e.Resource, e.Detail} {
		if len(s) > maxText {
			return fmt.Errorf("what is said of a use has %d bytes; at most %d can be taken", len(s), maxText)
		}
	}
	p.list.Entries = append(p.list.Entries, e)
	return nil
}

// clone takes a reference out of the text that it was cut from.
func clone(r image.Ref) image.Ref {
	r.Repository.Account, r.Repository.Region = strings.Clone(r.Repository.Account), strings.Clone(r.Repository.Region)
	r.Repository.Name, r.Tag, r.Digest = strings.Clone(r.Repository.Name), strings.Clone(r.Tag), image.Digest(strings.Clone(string(r.Digest)))
	return r
}

// reference is what any registry's references look like. A line that does not is no list of images: an error message, a
// table, YAML.
//
// https://pkg.go.dev/github.com/distribution/reference
var reference = regexp.MustCompile(`^((docker|oci|https?)://)?` +
	`([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/|\[[0-9a-fA-F:]+\](:[0-9]+)?/)?` +
	`[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@[a-z0-9+._-]+:[0-9a-fA-F]+)?$`)

// named takes a reference that somebody wrote down.
func (p *parser) named(text string, e Entry) error {
	if err := p.add(text, e); err != nil {
		return err
	}
	if !reference.MatchString(text) {
		if _, err := image.ParseRef(text); err == nil {
			return nil // ECR's hosts have more spellings
		}
		return fmt.Errorf("%q is not an image reference", clip(text))
	}
	return nil
}

func (p *parser) lines() error {
	found := false
	line := 0
	for raw := range bytes.Lines(p.data) {
		line++
		text, _, _ := strings.Cut(" "+strings.ReplaceAll(string(raw), "\t", " "), " #") // no reference has a # in it
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		found = true
		if err := p.named(text, Entry{Resource: fmt.Sprintf("line %d", line)}); err != nil {
			return &Error{p.name, line, err}
		}
	}
	if !found {
		return &Error{Name: p.name, Err: errEmpty}
	}
	return nil
}

// element is one of a JSON array.
type element struct {
	text     bool
	Ref      *string `json:"ref"`
	Resource string  `json:"resource"`
	Detail   string  `json:"detail"`
}

func (e *element) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		e.text = true
		if data[0] != '"' {
			return fmt.Errorf("%q stands where a reference is expected", clip(string(data)))
		}
		return json.Unmarshal(data, &e.Ref)
	}
	type plain element
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields() // the reference may stand under another name
	return dec.Decode((*plain)(e))
}

func (p *parser) array() error {
	i := 0
	return p.each(p.data, 0, func(dec *json.Decoder) error {
		var e element
		if err := dec.Decode(&e); err != nil {
			return err
		}
		i++
		if e.Ref == nil {
			return fmt.Errorf(`entry %d has no "ref"`, i)
		}
		if e.text || e.Resource == "" {
			e.Resource = fmt.Sprintf("entry %d", i)
		}
		return p.named(strings.TrimSpace(*e.Ref), Entry{Resource: e.Resource, Detail: e.Detail})
	})
}

// each goes through the elements of a JSON array that begins at an offset of the data. take decodes one and judges it.
func (p *parser) each(array []byte, base int, take func(dec *json.Decoder) error) error {
	dec := json.NewDecoder(bytes.NewReader(array))
	if _, err := dec.Token(); err != nil {
		return p.json(base, 0, err)
	}
	for dec.More() {
		at := int(dec.InputOffset())
		at += len(array[at:]) - len(bytes.TrimLeft(array[at:], " \t\r\n,"))
		if err := take(dec); err != nil {
			return p.json(base, at, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return p.json(base, len(array), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return p.json(base, int(dec.InputOffset()), errors.New("something stands behind the end of the list"))
	}
	return nil
}

// json places an error; one of the syntax knows better where it is.
func (p *parser) json(base, offset int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return p.fail(len(p.data), errors.New("the JSON is cut short"))
	}
	return p.fail(min(base+offset, len(p.data)), err)
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
