// Package store keeps runs: what was to be scanned, what was found in each target, and what is remembered from run
// to run. It keeps them in a directory or in an S3 bucket, behind one interface.
//
// Its layout:
//
//	runs/RUN/run.json                                    what the run is (Run)
//	runs/RUN/targets/ACCOUNT/REGION/inventory.jsonl.zst  a repository a line (planned targets)
//	runs/RUN/targets/ACCOUNT/REGION/layers.jsonl.zst     what the images of a repository are stored as, a repository a line
//	runs/RUN/targets/ACCOUNT/REGION/usage.json.zst       uses and coverage; written last: the target is done
//	runs/RUN/imports.json.zst                            uses from elsewhere, as the run saw them; written first
//	uses/NAME.json                                       an imported list of uses
//	cache/ACCOUNT/REGION/NAME.json.zst                   what never changes in AWS; may be deleted at any time
//	sweeps/SWEEP/journal.jsonl                           what a sweep did, a record a line (Journal); in a directory
//	sweeps/SWEEP/journal/NUMBER.jsonl                    the same on S3: an object for each Append, numbered from 1
//	sweeps/SWEEP/manifests/PART.jsonl.zst                manifests of what a sweep deletes, one a line
//	sweeps/SWEEP/summary.json                            what a sweep has come to; it can be made anew from the journal
//	locks/NAME/NUMBER.json                               who holds a lock (Lock): the one of the highest number
//
// It never gives less than was stored: an object that is damaged or cut short is an error that names it (but for
// the cache, which is then as good as empty).
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

// Store is safe for concurrent use.
type Store struct {
	bucket *blob.Bucket
	dir    string // absolute; "" on S3
	log    *slog.Logger
}

// Open opens the store at a location: a directory, which is made if need be (readable by its owner only), or
// s3://BUCKET/PREFIX. Only the latter needs cfg, which gives the configuration for S3.
func Open(ctx context.Context, location string, log *slog.Logger, cfg func(context.Context) (aws.Config, error)) (*Store, error) {
	bucket, err := open(ctx, location, cfg)
	if errors.Is(err, fs.ErrNotExist) { // of a directory above it
		err = &hinted{err, "set url under [store] to a directory that can be made"}
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", location, hint(err))
	}
	s := &Store{bucket: bucket, log: log}
	if !strings.HasPrefix(location, "s3://") {
		if s.dir, err = filepath.Abs(location); err != nil {
			return nil, fmt.Errorf("open store %s: %w", location, err)
		}
	}
	return s, nil
}

func open(ctx context.Context, location string, config func(context.Context) (aws.Config, error)) (*blob.Bucket, error) {
	rest, ok := strings.CutPrefix(location, "s3://")
	if !ok {
		if location == "" || strings.Contains(location, "://") {
			return nil, errors.New("it is neither a directory nor s3://bucket/prefix")
		}
		return fileblob.OpenBucket(filepath.Clean(location), &fileblob.Options{
			CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
	}
	name, prefix, _ := strings.Cut(rest, "/")
	cfg, err := config(ctx)
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		// Stand-ins for S3 have no DNS name for each bucket.
		o.UsePathStyle = o.BaseEndpoint != nil || os.Getenv("AWS_ENDPOINT_URL") != ""
	})
	bucket, err := s3blob.OpenBucket(ctx, client, name, nil)
	if err != nil {
		return nil, err
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix+"/")
	}
	return bucket, nil
}

// Close releases the store.
func (s *Store) Close() error { return s.bucket.Close() }

// write stores an object; it appears under its key as a whole or not at all.
func (s *Store) write(ctx context.Context, key string, opts *blob.WriterOptions, f func(io.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.bucket.NewWriter(ctx, key, opts)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, hint(err))
	}
	if err := f(w); err != nil {
		cancel() // what was written so far is thrown away
		_ = w.Close()
		return fmt.Errorf("write %s: %w", key, hint(err))
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", key, hint(err))
	}
	return nil
}

// read opens an object. The error of one that does not exist satisfies IsNotExist.
func (s *Store) read(ctx context.Context, key string) (*blob.Reader, error) {
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, hint(err))
	}
	return r, nil
}

// closeRead closes what was read; there is nothing to lose any more.
func closeRead(r io.Closer) { _ = r.Close() }

// IsNotExist reports whether an error says that an object is not in the store.
func IsNotExist(err error) bool { return gcerrors.Code(err) == gcerrors.NotFound }

func (s *Store) writeJSON(ctx context.Context, key string, opts blob.WriterOptions, v any) error {
	opts.ContentType = "application/json"
	return s.write(ctx, key, &opts, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(v)
	})
}

func (s *Store) readJSON(ctx context.Context, key string, v any) error {
	r, err := s.read(ctx, key)
	if err != nil {
		return err
	}
	defer closeRead(r)
	data, err := io.ReadAll(r)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, hint(err))
	}
	return nil
}
