package advice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"demurrage/internal/image"
	"demurrage/planner"
)

// Schema is the version of summary.json, which marks a directory as written by this package.
const Schema = "demurrage/recommend/1"

// The files that every directory has.
const (
	Summary = "summary.json"
	Index   = "README.md"
)

// ErrForeign says that a directory holds something that was not written by this package.
var ErrForeign = errors.New("it is not empty, and was not written by demurrage recommend")

// Check says whether a directory may be written: it does not exist, is empty, or was written before.
func Check(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	_, err = before(root)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// before lists the files that an earlier run has written.
func before(root *os.Root) ([]string, error) {
	data, err := root.ReadFile(Summary)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrForeign
	}
	if err != nil {
		return nil, err
	}
	var s struct {
		Schema string
		Files  []string
	}
	if json.Unmarshal(data, &s) != nil || s.Schema != Schema {
		return nil, ErrForeign
	}
	return s.Files, nil
}

// Folder is a directory of files that replaces what an earlier run has left there. Files of others stay.
type Folder struct {
	root    *os.Root
	old     []string // that an earlier run has left or this one may write; sorted
	written map[string]bool
}

// Open makes a directory ready for the files of these repositories. Before the first of them is written, all that may come
// are listed: whatever interrupts this run, the next one knows which files are its own.
func Open(dir string, repositories []image.Repository) (*Folder, error) {
	if err := Check(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &Folder{root: root, written: map[string]bool{}}
	if f.old, err = before(root); err != nil && !errors.Is(err, ErrForeign) {
		return nil, errors.Join(err, root.Close())
	}
	slices.Sort(f.old)
	var may []string
	for _, r := range repositories {
		for _, name := range names(r) {
			if !f.foreign(name) {
				may = append(may, name)
			}
		}
	}
	f.old = append(f.old, may...)
	slices.Sort(f.old)
	f.old = slices.Compact(f.old)
	err = f.Write(Summary, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(map[string]any{"schema": Schema, "interrupted": true, "files": f.old})
	})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// Close ends the use of the directory.
func (f *Folder) Close() error { return f.root.Close() }

// Write writes a file whole or not at all.
func (f *Folder) Write(name string, write func(io.Writer) error) (err error) {
	local := filepath.FromSlash(name)
	if err := f.root.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return err
	}
	tmp := local + "~" // no repository is called so
	file, err := f.root.Create(tmp)
	if err != nil {
		return err
	}
	if err := errors.Join(write(file), file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), f.root.Remove(tmp))
	}
	f.written[name] = true
	return f.root.Rename(tmp, local)
}

// Put writes the files of a repository, if there is a policy for it. A repository whose files cannot be beside those of
// another ("a" and "a.json/b"), or whose place somebody else's file has, gets none, and a note. The text of the policy is
// let go of.
func (f *Folder) Put(a *Advice) error {
	if a.Policy == "" {
		return nil
	}
	files := names(a.Repository)
	for _, name := range files {
		if f.foreign(name) {
			a.none("There is a file " + name + " that demurrage recommend has not written, and leaves alone: move it away, or name another directory with --out.")
			return nil
		}
		if f.obstructed(name) {
			a.none("Its files would stand in the way of those of another repository: write them by hand.")
			return nil
		}
	}
	for i, text := range a.texts() {
		if err := f.Write(files[i], func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
			return err
		}
	}
	a.Files, a.Policy = files, "" // there can be many
	return nil
}

// none takes a policy back that cannot be written, with what it would have taken.
func (a *Advice) none(why string) { a.Policy, a.Expires, a.Why = "", planner.Tally{}, []string{why} }

// foreign: there is such a file, and no run has written it.
func (f *Folder) foreign(name string) bool {
	_, listed := slices.BinarySearch(f.old, name)
	info, err := f.root.Lstat(filepath.FromSlash(name))
	return !listed && err == nil && !info.IsDir()
}

// obstructed: the file is a directory, or one of its directories is a file.
func (f *Folder) obstructed(name string) bool {
	if info, err := f.root.Lstat(filepath.FromSlash(name)); err == nil && info.IsDir() {
		return true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := f.root.Lstat(filepath.FromSlash(dir)); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}

// Finish removes what an earlier run has left and this one has not written. It gives the files of repositories, sorted.
func (f *Folder) Finish() ([]string, error) {
	for _, name := range f.old {
		local := filepath.FromSlash(name)
		if f.written[name] || !ours(name) {
			continue
		}
		if err := f.root.Remove(local); err != nil && !errors.Is(err, fs.ErrNotExist) && !f.obstructed(name) {
			return nil, err
		}
		for dir := filepath.Dir(local); dir != "."; dir = filepath.Dir(dir) {
			if f.root.Remove(dir) != nil {
				break // it holds something
			}
		}
	}
	var files []string
	for name := range f.written {
		if name != Summary && name != Index {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files, nil
}

// ours: a file that is listed is one that this package can have written.
func ours(name string) bool {
	account, rest, _ := strings.Cut(name, "/")
	region, rest, _ := strings.Cut(rest, "/")
	for _, ending := range []string{endingCloudFormation, endingPolicy, endingTerraform} {
		if repository, ok := strings.CutSuffix(rest, ending); ok {
			return refused(image.Repository{Registry: image.Registry{Account: account, Region: region}, Name: repository}) == ""
		}
	}
	return false
}
