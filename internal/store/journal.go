package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gocloud.dev/blob"
)

// ErrBusy says that a journal has another writer: in a directory, one that has it open, on S3, one that has written since
// this one opened it.
var ErrBusy = errors.New("somebody else writes it")

func sweepPrefix(id string) (string, error) {
	if !runID.MatchString(id) {
		return "", fmt.Errorf("%q is not the id of a sweep", id)
	}
	return "sweeps/" + id + "/", nil
}

// Journals gives the ids of the sweeps that there are, sorted.
func (s *Store) Journals(ctx context.Context) ([]string, error) {
	names, err := s.names(ctx, "sweeps/")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, n := range names {
		if runID.MatchString(n) {
			ids = append(ids, n)
		}
	}
	return ids, nil
}

// Journal is a journal that is open for writing. It is safe for concurrent use.
type Journal struct {
	key   string        // in errors
	turn  chan struct{} // holds a token while nobody writes
	err   error         // why nothing more is written
	write func(context.Context, []byte) error
	close func() error
}

// OpenJournal makes a sweep's journal, or goes on with it. Of one in a directory, what a writer that was killed left of
// its last line is cut off, since that was never acknowledged; any other damage is an error.
func (s *Store) OpenJournal(ctx context.Context, id string) (*Journal, error) {
	prefix, err := sweepPrefix(id)
	if err != nil {
		return nil, err
	}
	open := s.openObjects
	if s.dir != "" {
		open = s.openFile
	}
	j, err := open(ctx, prefix)
	if err != nil {
		return nil, err
	}
	j.turn = make(chan struct{}, 1)
	j.turn <- struct{}{}
	return j, nil
}

// Append writes records, each a JSON object, all of them and in this order, and returns when they would outlive a power
// failure. Where it fails in the middle of writing, nobody knows what is stored, and every later Append fails too. It
// writes nothing once ctx has ended.
func (j *Journal) Append(ctx context.Context, records ...any) error {
	var data []byte
	for _, r := range records {
		line, err := json.Marshal(r)
		if err == nil && line[0] != '{' {
			err = fmt.Errorf("%.20s is not a JSON object", line)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", j.key, err)
		}
		data = append(append(data, line...), '\n')
	}
	if len(records) == 0 {
		return nil
	}
	select {
	case <-j.turn:
		defer func() { j.turn <- struct{}{} }()
	case <-ctx.Done():
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("write %s: %w", j.key, context.Cause(ctx))
	case j.err != nil:
		return j.err
	}
	if err := j.write(ctx, data); err != nil {
		err = fmt.Errorf("write %s: %w", j.key, err)
		j.err = fmt.Errorf("nothing more is written, since what is stored is not known: %w", err)
		return err
	}
	return nil
}

var errClosed = errors.New("the journal is closed")

// Close lets go of the journal, after what is being written. It can be called again.
func (j *Journal) Close() error {
	<-j.turn
	defer func() { j.turn <- struct{}{} }()
	if errors.Is(j.err, errClosed) {
		return nil
	}
	j.err = fmt.Errorf("write %s: %w", j.key, errClosed)
	return j.close()
}

const journalName = "journal.jsonl"

func (s *Store) openFile(_ context.Context, prefix string) (*Journal, error) {
	key := prefix + journalName
	fail := func(err error) (*Journal, error) { return nil, fmt.Errorf("open %s: %w", key, err) }
	path := s.path(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fail(err)
	}
	if err = flock(f); err == nil {
		err = s.mend(f, key)
	}
	if err == nil {
		err = s.syncDirs(path)
	}
	if err != nil {
		_ = f.Close()
		return fail(err)
	}
	return &Journal{key: key, close: f.Close, write: func(_ context.Context, data []byte) error {
		if _, err := f.Write(data); err != nil {
			return err
		}
		return f.Sync()
	}}, nil
}

// mend cuts off a last line that was not written as a whole.
func (s *Store) mend(f *os.File, key string) error {
	var sound int64
	err := eachLine(f, func(line json.RawMessage) error {
		sound += int64(len(line)) + 1
		return nil
	})
	if torn(err) {
		s.log.Warn("torn last line of a journal cut off", "object", key, "sound_bytes", sound)
		err = f.Truncate(sound)
	}
	if err != nil {
		return err
	}
	return f.Sync() // what was there before is built upon
}

var journalObject = regexp.MustCompile(`^[0-9]{8}\.jsonl$`)

func journalKey(prefix string, n int) string { return fmt.Sprintf("%sjournal/%08d.jsonl", prefix, n) }

// journalObjects counts the objects of a journal on S3. One that is missing in between is an error.
func (s *Store) journalObjects(ctx context.Context, prefix string) (int, error) {
	names, err := s.names(ctx, prefix+"journal/")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range names {
		if !journalObject.MatchString(name) {
			continue
		}
		n++
		if key := journalKey(prefix, n); !strings.HasSuffix(key, "/"+name) {
			return 0, fmt.Errorf("read %s: it is missing, and %s is there", key, name)
		}
	}
	return n, nil
}

func (s *Store) openObjects(ctx context.Context, prefix string) (*Journal, error) {
	n, err := s.journalObjects(ctx, prefix)
	if err != nil {
		return nil, err
	}
	// An object that exists already may be of our making: the SDK sends again what it had no answer to.
	const mark = "writer"
	opts := blob.WriterOptions{ContentType: "application/x-ndjson", Metadata: map[string]string{mark: rand.Text()}}
	return &Journal{key: prefix + "journal", close: func() error { return nil }, write: func(ctx context.Context, data []byte) error {
		key := journalKey(prefix, n+1)
		exists, err := s.create(ctx, key, data, opts)
		if err != nil {
			return err
		}
		if exists {
			switch a, err := s.bucket.Attributes(ctx, key); {
			case err != nil:
				return fmt.Errorf("read %s: %w", key, hint(err))
			case a.Metadata[mark] != opts.Metadata[mark]:
				return fmt.Errorf("%s exists: %w", key, ErrBusy)
			}
		}
		n++
		return nil
	}}, nil
}

// JournalRecords gives the records of a sweep in the order in which they were written. After an error it ends. The error
// of a sweep without a journal satisfies IsNotExist.
func (s *Store) JournalRecords(ctx context.Context, id string) iter.Seq2[json.RawMessage, error] {
	return records(func(f func(json.RawMessage) error) error {
		prefix, err := sweepPrefix(id)
		if err != nil {
			return err
		}
		if s.dir == "" {
			return s.eachObject(ctx, prefix, f)
		}
		r, err := s.read(ctx, prefix+journalName)
		if err != nil {
			return err
		}
		defer closeRead(r)
		if err := eachLine(r, f); err != nil && !torn(err) {
			return fmt.Errorf("read %s: %w", prefix+journalName, err)
		}
		return nil
	})
}

// records makes an iterator of a function that calls another for each record.
func records(each func(func(json.RawMessage) error) error) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		err := each(func(r json.RawMessage) error {
			if !yield(r, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// ahead is how many objects of a journal are read at once: there can be many, and each takes its time.
const ahead = 16

func (s *Store) eachObject(ctx context.Context, prefix string, f func(json.RawMessage) error) error {
	last, err := s.journalObjects(ctx, prefix)
	if err != nil {
		return err
	}
	last = max(last, 1) // the first is missed where there is none
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type object struct {
		data []byte
		err  error
	}
	pending := make(chan chan object, ahead)
	fetch := func(n int) {
		c := make(chan object, 1)
		pending <- c
		go func() {
			data, err := s.readAll(ctx, journalKey(prefix, n))
			c <- object{data, err}
		}()
	}
	for n := range min(ahead, last) {
		fetch(n + 1)
	}
	for n := 1; n <= last; n++ {
		o := <-<-pending
		if o.err != nil {
			return o.err
		}
		if n+ahead <= last {
			fetch(n + ahead)
		}
		if err := eachLine(bytes.NewReader(o.data), f); err != nil {
			return fmt.Errorf("read %s: %w", journalKey(prefix, n), err)
		}
	}
	return nil
}

// damagedLine is a line that is no JSON object, or has no end.
type damagedLine struct {
	number int
	last   bool
}

func (d *damagedLine) Error() string { return fmt.Sprintf("line %d is damaged", d.number) }

// torn reports whether only the last line is damaged, as it is when its writer was killed.
func torn(err error) bool {
	var d *damagedLine
	return errors.As(err, &d) && d.last
}

// eachLine calls f for every line, each a JSON object.
func eachLine(r io.Reader, f func(json.RawMessage) error) error {
	in := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		last := errors.Is(err, io.EOF)
		switch {
		case err != nil && !last:
			return err
		case last && len(line) == 0:
			return nil
		}
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		if !whole || len(line) == 0 || line[0] != '{' || !json.Valid(line) {
			if whole {
				if _, err := in.Peek(1); errors.Is(err, io.EOF) {
					last = true
				} else if err != nil {
					return err
				}
			}
			return &damagedLine{n, last}
		}
		if err := f(line); err != nil {
			return err
		}
	}
}

const manifestsEnding = ".jsonl.zst"

var partName = regexp.MustCompile(`^[0-9A-Za-z._-]{1,200}$`)

// SaveManifests stores what f writes, a JSON object a line, as a part of the manifests of a sweep, in place of the part
// of the same name if there is one.
func (s *Store) SaveManifests(ctx context.Context, id, part string, f func(io.Writer) error) error {
	prefix, err := sweepPrefix(id)
	if err != nil {
		return err
	}
	if !partName.MatchString(part) {
		return fmt.Errorf("%q cannot be the name of a part (letters, digits and ._-)", part)
	}
	key := prefix + "manifests/" + part + manifestsEnding
	return s.durable(key, s.writeZstd(ctx, key, f))
}

// Manifests gives what SaveManifests stored, part by part. After an error it ends.
func (s *Store) Manifests(ctx context.Context, id string) iter.Seq2[json.RawMessage, error] {
	return records(func(f func(json.RawMessage) error) error {
		prefix, err := sweepPrefix(id)
		if err != nil {
			return err
		}
		prefix += "manifests/"
		names, err := s.names(ctx, prefix)
		if err != nil {
			return err
		}
		for _, name := range names {
			if part, ok := strings.CutSuffix(name, manifestsEnding); !ok || !partName.MatchString(part) {
				continue
			}
			if err := s.readZstd(ctx, prefix+name, func(r io.Reader) error { return eachLine(r, f) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func summaryKey(id string) (string, error) {
	prefix, err := sweepPrefix(id)
	return prefix + "summary.json", err
}

// SaveSweep stores the summary of a sweep in place of an earlier one.
func (s *Store) SaveSweep(ctx context.Context, id string, v any) error {
	key, err := summaryKey(id)
	if err != nil {
		return err
	}
	return s.durable(key, s.writeJSON(ctx, key, blob.WriterOptions{}, v))
}

// LoadSweep decodes the summary of a sweep into the pointer v. The error of one that is not there satisfies IsNotExist.
func (s *Store) LoadSweep(ctx context.Context, id string, v any) error {
	key, err := summaryKey(id)
	if err != nil {
		return err
	}
	return s.readJSON(ctx, key, v)
}
