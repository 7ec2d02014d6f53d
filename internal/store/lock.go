package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"gocloud.dev/blob"
)

const lockSchema = "demurrage/lock/1"

// DefaultLease is a lease for locks that are held for minutes and more, and how long a lock is watched that cannot be
// read.
const DefaultLease = 15 * time.Second

// minLease keeps a mistake of units from asking the store without end.
const minLease = 10 * time.Millisecond

// ErrLockLost says that a lock is not held any more although nobody released it.
var ErrLockLost = errors.New("the lock is lost")

// Holder says who holds a lock.
type Holder struct {
	Who   string    `json:"who"`
	Host  string    `json:"host"`
	PID   int       `json:"pid"`
	What  string    `json:"what"`
	Since time.Time `json:"since"`
}

// String says it in words.
func (h Holder) String() string {
	if h == (Holder{}) {
		return "somebody unknown"
	}
	return fmt.Sprintf("%s on %s (process %d) since %s: %s", h.Who, h.Host, h.PID, h.Since.UTC().Format(time.RFC3339), h.What)
}

// HeldError says that somebody else holds a lock, and was seen to be alive.
type HeldError struct{ Holder Holder }

func (e *HeldError) Error() string { return "it is held by " + e.Holder.String() }

// lockFile is a lock as it is stored. Only who made the object ever writes to it.
type lockFile struct {
	Schema string `json:"schema"`
	Fence  int64  `json:"fence"`
	Holder
	Lease    string `json:"lease"`
	Token    string `json:"token"`    // whose it is, where an answer was lost
	Renewals int64  `json:"renewals"` // a holder that is alive counts on
	Released bool   `json:"released"`
}

// parseLock reads a lock; ok is false if it makes no sense.
func parseLock(data []byte, number int64) (f lockFile, lease time.Duration, ok bool) {
	if json.Unmarshal(data, &f) != nil || f.Schema != lockSchema || f.Fence != number {
		return lockFile{}, DefaultLease, false
	}
	lease, err := time.ParseDuration(f.Lease)
	if err != nil || lease < minLease {
		return lockFile{}, DefaultLease, false
	}
	return f, lease, true
}

var lockName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func lockPrefix(name string) string { return "locks/" + name + "/" }

func lockKey(name string, number int64) string {
	return fmt.Sprintf("%s%012d.json", lockPrefix(name), number)
}

var lockObject = regexp.MustCompile(`^[0-9]{12}\.json$`)

// lockNumbers gives the numbers that a lock has objects of, rising. The last is the current one.
func (s *Store) lockNumbers(ctx context.Context, name string) ([]int64, error) {
	names, err := s.names(ctx, lockPrefix(name))
	if err != nil {
		return nil, err
	}
	var numbers []int64
	for _, n := range names {
		if lockObject.MatchString(n) {
			number, _ := strconv.ParseInt(n[:12], 10, 64) // 12 digits
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

func (s *Store) lastLock(ctx context.Context, name string) (int64, error) {
	numbers, err := s.lockNumbers(ctx, name)
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	return numbers[len(numbers)-1], nil
}

// Lock takes the lock of a name, which one at a time can hold, over all processes that share the store. Until it is
// released it is renewed, and it ends a lease after the last time that this worked. One that is held gives a *HeldError
// once its holder has shown that it lives; that of a dead one is taken over after its lease. Clocks are not compared, and
// only need to run equally fast, to a tenth.
//
// The lock is held beyond the end of ctx, until Release, so that what was begun can be brought to its end. An error can
// leave an object behind that whoever comes next watches for a lease.
func (s *Store) Lock(ctx context.Context, name string, h Holder, lease time.Duration) (*Lock, error) {
	l, err := s.lock(ctx, name, h, lease)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return l, nil
}

func (s *Store) lock(ctx context.Context, name string, h Holder, lease time.Duration) (*Lock, error) {
	if !lockName.MatchString(name) {
		return nil, errors.New("this cannot be the name of a lock")
	}
	if lease < minLease {
		return nil, fmt.Errorf("a lease of %s is too short", lease)
	}
	if h.Since.IsZero() {
		h.Since = time.Now().UTC()
	}
	poll := min(time.Second, lease/5)
	var w watch
	for {
		last, err := s.lastLock(ctx, name)
		if err != nil {
			return nil, err
		}
		free := last == 0
		if !free {
			if free, err = w.free(ctx, s, name, last); err != nil {
				return nil, err
			}
		}
		if free {
			if l, err := s.take(ctx, name, last+1, h, lease); err != nil || l != nil {
				return l, err
			}
		}
		if err := sleep(ctx, poll); err != nil {
			return nil, err
		}
	}
}

// watch is a lock of somebody else's, as it was first seen.
type watch struct {
	number int64
	data   []byte
	file   lockFile
	lease  time.Duration
	since  time.Time // when it was certainly so
}

// free looks whether a number is held no more. It is where it was released, or has not changed for its lease: from an
// answer with its state to a question that was asked a lease later and had the same answer. A renewal in between would
// show, for a holder counts only one that was confirmed within the lease.
func (w *watch) free(ctx context.Context, s *Store, name string, number int64) (bool, error) {
	asked := time.Now()
	data, err := s.readAll(ctx, lockKey(name, number))
	if IsNotExist(err) {
		*w = watch{} // there is a newer one
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, lease, ok := parseLock(data, number)
	switch {
	case f.Released:
		return true, nil
	case w.number != number:
		*w = watch{number, data, f, lease, time.Now()}
		s.log.Warn("lock was not released, looking whether its holder lives", "lock", name, "holder", f.String(), "lease", lease)
		return false, nil
	case !bytes.Equal(w.data, data):
		if !ok {
			f = w.file
		}
		return false, &HeldError{f.Holder}
	default:
		return asked.Sub(w.since) >= w.lease, nil
	}
}

// take tries to take a number. Without lock and error, somebody else was faster.
func (s *Store) take(ctx context.Context, name string, number int64, h Holder, lease time.Duration) (*Lock, error) {
	l := &Lock{
		s: s, name: name, lease: lease, sure: lease - lease/10,
		file: lockFile{Schema: lockSchema, Fence: number, Holder: h, Lease: lease.String(), Token: rand.Text()},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	data := l.encode()
	asked := now()
	exists, err := s.create(ctx, lockKey(name, number), data, blob.WriterOptions{ContentType: "application/json"})
	if err != nil {
		return nil, err
	}
	if exists {
		data, err := s.readAll(ctx, lockKey(name, number))
		if err != nil && !IsNotExist(err) {
			return nil, err
		}
		if f, _, _ := parseLock(data, number); f.Token != l.file.Token {
			return nil, nil
		}
	}
	// While the request was on its way, others may have held and left this number, and those after it may have cleared it.
	numbers, err := s.lockNumbers(ctx, name)
	if err != nil {
		return nil, err
	}
	if numbers == nil || numbers[len(numbers)-1] != number {
		return nil, nil
	}
	l.background = context.WithoutCancel(ctx)
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.renewed = asked
	l.mu.Lock()
	l.timer = time.AfterFunc(l.sure-asked.elapsed(), func() { _ = l.Held() })
	l.mu.Unlock()
	go l.keep()
	for _, n := range numbers[:len(numbers)-1] {
		if err := s.bucket.Delete(ctx, lockKey(name, n)); err != nil && !IsNotExist(err) {
			s.log.Debug("old lock not deleted", "object", lockKey(name, n), "error", err)
			break
		}
	}
	return l, nil
}

// instant is a time by two clocks: the monotonic one stands still while a machine sleeps, and the other can be set.
type instant struct{ mono, wall time.Time }

func now() instant {
	t := time.Now()
	return instant{t, t.Round(0)}
}

// elapsed is what has passed since, by the clock by which it is more.
func (i instant) elapsed() time.Duration {
	t := now()
	return max(t.mono.Sub(i.mono), t.wall.Sub(i.wall))
}

// Lock is a lock that is held. It is safe for concurrent use.
type Lock struct {
	s           *Store
	name        string
	lease, sure time.Duration // sure is what a holder trusts in: clocks may differ a little, and what it does takes its time
	background  context.Context
	ctx         context.Context
	cancel      context.CancelCauseFunc

	stop, done chan struct{} // renewal is to end; has ended

	mu      sync.Mutex
	renewed instant // when the last renewal that worked was sent
	timer   *time.Timer
	err     error // why it is not held any more
	failed  error // of the renewals since

	// Of the goroutine that renews, and after it of Release.
	file  lockFile
	size  int  // of the file in a directory
	taken bool // somebody else has taken over

	releasing sync.Mutex
	released  bool
}

// Fence is the lock's number: whoever takes it later has a higher one.
func (l *Lock) Fence() int64 { return l.file.Fence }

// Context ends with that which Lock was called with, with Release, and when the lock is lost: then its cause is ErrLockLost,
// and says why.
func (l *Lock) Context() context.Context { return l.ctx }

// Held reports whether the lock is surely held, without asking the store: its lease is not over by any clock. It is to be
// asked right before each write.
func (l *Lock) Held() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held()
}

// held is called with mu.
func (l *Lock) held() error {
	elapsed := l.renewed.elapsed()
	if l.err != nil || elapsed < l.sure {
		return l.err
	}
	why := fmt.Sprintf("it was not renewed for %s", elapsed.Round(time.Millisecond))
	if l.failed != nil {
		why += ": " + l.failed.Error()
	}
	l.end(fmt.Errorf("lock %s: %w: %s", l.name, ErrLockLost, why))
	return l.err
}

// end is called with mu.
func (l *Lock) end(err error) {
	l.err = err
	l.timer.Stop()
	l.cancel(err)
	close(l.stop)
}

// keep renews the lock until it is lost or to be released.
func (l *Lock) keep() {
	defer close(l.done)
	wait := l.due()
	for {
		t := time.NewTimer(wait)
		select {
		case <-l.stop:
			t.Stop()
			return
		case <-t.C:
		}
		if l.Held() != nil {
			return
		}
		err := l.renew()
		wait = l.due()
		if err != nil {
			l.s.log.Debug("lock not renewed, trying again", "lock", l.name, "error", err)
			l.mu.Lock()
			l.failed = err
			l.mu.Unlock()
			wait = l.lease / 20
		}
	}
}

// due is how long the next renewal has time.
func (l *Lock) due() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease/3 - l.renewed.elapsed()
}

// renew writes the lock once more, unless somebody has taken over.
func (l *Lock) renew() error {
	ctx, cancel := context.WithTimeout(l.background, l.lease/3)
	defer cancel()
	last, err := l.s.lastLock(ctx, l.name)
	if err != nil {
		return err
	}
	asked := now()
	if last == l.file.Fence {
		l.file.Renewals++
		err = l.put(ctx)
	}
	if last != l.file.Fence || errors.Is(err, fs.ErrNotExist) {
		l.taken = true
		l.overtaken(ctx, last)
		return nil
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held() == nil { // otherwise the answer came too late: others may have found the lock unchanged for a lease
		l.renewed, l.failed = asked, nil
		l.timer.Reset(l.sure - asked.elapsed())
	}
	return nil
}

// overtaken ends a lock whose object is not the current one any more.
func (l *Lock) overtaken(ctx context.Context, last int64) {
	why := "its object is gone"
	if last > l.file.Fence {
		why = "somebody has taken it over"
		if data, err := l.s.readAll(ctx, lockKey(l.name, last)); err == nil {
			if f, _, ok := parseLock(data, last); ok {
				why = "taken over by " + f.String()
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.end(fmt.Errorf("lock %s: %w: %s", l.name, ErrLockLost, why))
	}
}

// encode gives the lock's object: in a directory, always of one size.
func (l *Lock) encode() []byte {
	data, err := json.Marshal(l.file)
	if err != nil {
		panic(err) // it is all plain values
	}
	if l.size == 0 {
		l.size = len(data) + 32 // for the counter
	}
	return append(data, append(bytes.Repeat([]byte(" "), max(0, l.size-len(data))), '\n')...)
}

// put overwrites the lock's object. In a directory it does so in place: who lists a directory may miss a file that is
// renamed meanwhile, and would take the lock for free. Who reads it half written sees that it changes.
func (l *Lock) put(ctx context.Context) error {
	key, data := lockKey(l.name, l.file.Fence), l.encode()
	if l.s.dir == "" {
		return l.s.write(ctx, key, &blob.WriterOptions{ContentType: "application/json", MaxConcurrency: 1}, func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
	}
	f, err := os.OpenFile(l.s.path(key), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// Release gives the lock back, so that the next one need not wait; a lock that somebody has taken over is left alone. An
// error says that the next one has to wait for a lease. It can be called again.
func (l *Lock) Release(ctx context.Context) error {
	l.mu.Lock()
	if l.err == nil {
		l.end(fmt.Errorf("lock %s is released", l.name))
	}
	l.mu.Unlock()
	select {
	case <-l.done: // or a renewal could come after
	case <-ctx.Done():
		return fmt.Errorf("release lock %s: %w", l.name, context.Cause(ctx))
	}
	l.releasing.Lock()
	defer l.releasing.Unlock()
	if l.released || l.taken {
		return nil
	}
	l.file.Released = true
	if err := l.put(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release lock %s: %w", l.name, err)
	}
	l.released = true
	return nil
}
