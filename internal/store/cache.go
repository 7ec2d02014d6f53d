package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"

	"demurrage/internal/image"
	"demurrage/internal/scan"
)

var _ scan.Cache = (*Store)(nil)

var cacheName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func cacheKey(account, region, name string) (string, error) {
	if !image.ValidAccount(account) || !image.ValidRegion(region) || !cacheName.MatchString(name) {
		return "", fmt.Errorf("%q of %q in %q cannot be the key of a cache", name, account, region)
	}
	return "cache/" + account + "/" + region + "/" + name + ".json.zst", nil
}

// LoadCache decodes what is remembered under a name into the pointer into. If there is nothing, or it cannot be
// read, it leaves into alone: what is cached can be read again from AWS, and what is known of our own pulls errs
// towards keeping when it is lost.
func (s *Store) LoadCache(ctx context.Context, account, region, name string, into any) error {
	key, err := cacheKey(account, region, name)
	if err != nil {
		return err
	}
	var raw json.RawMessage // into is touched only once all of it is known to be sound
	err = s.readZstd(ctx, key, func(r io.Reader) error { return decodeOne(r, &raw) })
	switch {
	case IsNotExist(err):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.log.Warn("damaged cache ignored", "account", account, "region", region, "object", key, "error", err)
		return nil
	}
	return json.Unmarshal(raw, into)
}

// SaveCache remembers a value under a name.
func (s *Store) SaveCache(ctx context.Context, account, region, name string, value any) error {
	key, err := cacheKey(account, region, name)
	if err != nil {
		return err
	}
	return s.writeZstd(ctx, key, func(w io.Writer) error { return json.NewEncoder(w).Encode(value) })
}
