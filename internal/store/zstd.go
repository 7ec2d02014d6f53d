package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
)

// Every compressed object is one zstd frame with a checksum, so that an object that is cut short or altered is
// noticed at its end at the latest. An empty one, which has no frame, is damaged too.

// window bounds what compressing takes in memory, since many targets are stored side by side.
const window = 1 << 20

var (
	encoders = sync.Pool{New: func() any {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true))
		if err != nil {
			panic(err) // the options are constants
		}
		return enc
	}}
	decoders = sync.Pool{New: func() any {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8*window))
		if err != nil {
			panic(err) // the options are constants
		}
		return dec
	}}
)

func (s *Store) writeZstd(ctx context.Context, key string, f func(io.Writer) error) error {
	enc := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(enc)
	return s.write(ctx, key, &blob.WriterOptions{ContentType: "application/zstd", MaxConcurrency: 1}, func(w io.Writer) error {
		enc.Reset(w)
		if err := f(enc); err != nil {
			return err
		}
		return enc.Close()
	})
}

var errEmpty = errors.New("the object is empty")

func (s *Store) readZstd(ctx context.Context, key string, f func(io.Reader) error) error {
	r, err := s.read(ctx, key)
	if err != nil {
		return err
	}
	defer closeRead(r)
	if r.Size() == 0 {
		return fmt.Errorf("read %s: %w", key, errEmpty)
	}
	dec := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(dec)
	if err := dec.Reset(r); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if err := f(dec); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

// decodeOne decodes the one JSON value of a stream and reads on to the stream's end, where its checksum is.
func decodeOne(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	switch _, err := dec.Token(); {
	case err == nil:
		return errors.New("there is something behind its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
