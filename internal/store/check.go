package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"gocloud.dev/blob"
)

// Check tries what runs do with a store, on an object of its own, which it deletes again: it makes it, sees that it cannot
// be made twice (S3 has to know conditional writes, else two sweeps could run at once), lists it and reads it.
func (s *Store) Check(ctx context.Context) error {
	key := "check/" + rand.Text()
	exists, err := s.create(ctx, key, []byte(key), blob.WriterOptions{})
	if err != nil {
		return err
	}
	if s.dir != "" {
		defer func() { _ = os.Remove(s.path("check")) }() // where it is empty
	}
	switch again, second := s.create(ctx, key, nil, blob.WriterOptions{}); {
	case exists: // the answer to the first of two tries was lost
	case second != nil:
		err = second
	case !again:
		err = fmt.Errorf("write %s: it could be made twice: the store ignores conditional writes (If-None-Match)", key)
	}
	names, listed := s.names(ctx, "check/")
	data, read := s.readAll(ctx, key)
	if err == nil && listed == nil && len(names) == 0 {
		err = fmt.Errorf("list check/: %s was written and is not there", key)
	}
	if err == nil && read == nil && string(data) != key {
		err = fmt.Errorf("read %s: it is not what was written", key)
	}
	deleted := s.bucket.Delete(ctx, key)
	if deleted != nil {
		deleted = fmt.Errorf("delete %s: %w", key, deleted)
	}
	return errors.Join(err, listed, read, deleted)
}
