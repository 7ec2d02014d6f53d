package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// What fileblob leaves open: objects that are made by one process only, that outlive a power failure, and that are listed
// while others write beside them.

// path is the file of an object, of a store that is a directory. Keys are made of validated parts.
func (s *Store) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// names gives what is directly under a prefix that ends with a slash, sorted.
func (s *Store) names(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	if s.dir != "" {
		// fileblob fails over a file that goes while it lists.
		entries, err := os.ReadDir(s.path(prefix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list %s: %w", prefix, hint(err))
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names, nil
	}
	list := s.bucket.List(&blob.ListOptions{Prefix: prefix, Delimiter: "/"})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, hint(err))
		}
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), "/"))
	}
}

func (s *Store) readAll(ctx context.Context, key string) ([]byte, error) {
	r, err := s.read(ctx, key)
	if err != nil {
		return nil, err
	}
	defer closeRead(r)
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, hint(err))
	}
	return data, nil
}

// create stores an object under a key that has none: of all that try, one succeeds, whichever process they are in, and to
// the others the object exists. On S3 it may exist although it was this call that made it: the SDK sends a request again
// whose answer was lost.
func (s *Store) create(ctx context.Context, key string, data []byte, opts blob.WriterOptions) (exists bool, err error) {
	if s.dir != "" {
		err := s.link(key, data)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return false, fmt.Errorf("write %s: %w", key, hint(err))
		}
		return err != nil, nil
	}
	opts.IfNotExist, opts.MaxConcurrency = true, 1
	for again := 10; ; again-- {
		err := s.write(ctx, key, &opts, func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
		var answer smithy.APIError
		switch {
		case gcerrors.Code(err) == gcerrors.FailedPrecondition:
			return true, nil
		case errors.As(err, &answer) && answer.ErrorCode() == "ConditionalRequestConflict" && again > 0:
			// Two at once; the caller is to send it again, says
			// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return false, fmt.Errorf("write %s: %w", key, err)
			}
		default:
			return false, err
		}
	}
}

// link makes a file under its name with all that is in it, or fails with fs.ErrExist.
func (s *Store) link(key string, data []byte) (err error) {
	path := s.path(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp)) }()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(temp, path); err != nil {
		return err
	}
	return s.syncDirs(path)
}

// durable makes what was written under a key outlive a power failure. err is how writing it went.
func (s *Store) durable(key string, err error) error {
	if err != nil || s.dir == "" {
		return err
	}
	f, err := os.OpenFile(s.path(key), os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), s.syncDirs(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// syncDirs makes a new file's name durable, and those of the directories above it.
func (s *Store) syncDirs(path string) error {
	for path != s.dir {
		path = filepath.Dir(path)
		if err := syncDir(path); err != nil {
			return err
		}
	}
	_ = syncDir(filepath.Dir(path)) // it may not be ours to read
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || filepath.Separator == '\\' && err != nil {
		err = nil // there are file systems, and all of Windows, where directories cannot be synced
	}
	return errors.Join(err, d.Close())
}

// sleep waits, or gives the cause why it did not.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
