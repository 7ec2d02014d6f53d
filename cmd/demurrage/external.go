package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode"

	"demurrage/accounts"
	"demurrage/internal/image"
	"demurrage/internal/store"
	"demurrage/internal/uselist"
)

const (
	maxOutput   = 64 << 20        // of an external command
	keptErrors  = 2 << 10         // of what it says on stderr: the end
	outputDelay = 2 * time.Second // how long others may hold its output open when it has ended
)

// external runs the external commands of the configuration, side by side, and adds the uses that they print.
func (s *session) external(ctx context.Context, all *store.Imports) ([]image.Coverage, error) {
	lists := make([]*uselist.List, len(s.config.ExternalCommands))
	coverage := make([]image.Coverage, len(lists))
	var wg sync.WaitGroup
	for i, c := range s.config.ExternalCommands {
		wg.Go(func() {
			started := time.Now()
			list, err := runExternal(ctx, c)
			s.log.Info("external command run", "name", c.Name, "took", time.Since(started), "error", err)
			lists[i], coverage[i] = list, anywhere("external:"+c.Name, "")
			if err != nil {
				coverage[i] = anywhere("external:"+c.Name, "external command "+c.Name+": "+err.Error())
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	seen := "seen " + time.Now().UTC().Format(time.RFC3339)
	for i, list := range lists {
		if list == nil {
			continue
		}
		name := s.config.ExternalCommands[i].Name
		for _, e := range list.Entries {
			all.Uses = append(all.Uses, use(e, "external-command", image.Registry{}, name+": ", "listed by external command "+name+", "+seen))
		}
	}
	return coverage, nil
}

// runExternal runs a command and reads the list that it prints. Whatever goes wrong with it is an error: what it would
// have listed is not known then.
func runExternal(ctx context.Context, c accounts.ExternalCommand) (*uselist.List, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timer := time.AfterFunc(c.Timeout, func() { stop(fmt.Errorf("it has not ended after %s and was killed", c.Timeout)) })
	defer timer.Stop()

	var stdout bytes.Buffer
	var stderr tail
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Stdout = &bounded{buffer: &stdout, full: func(err error) { stop(err) }}
	cmd.Stderr = &stderr
	cmd.WaitDelay = outputDelay
	kill := ownGroup(cmd)
	cmd.Cancel = kill
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		_ = kill()
		err = errors.New("it has ended, but something that it started holds on to its output")
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		if said := stderr.String(); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return nil, err
	}
	return uselist.Parse("its output", stdout.Bytes())
}

// bounded is a buffer that calls full once, instead of taking more than it may.
type bounded struct {
	buffer *bytes.Buffer
	full   func(error)
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > maxOutput {
		err := fmt.Errorf("it prints more than %d MiB", maxOutput>>20)
		b.full(err)
		return 0, err
	}
	return b.buffer.Write(p)
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if drop := len(t.kept) - keptErrors; drop > 0 {
		t.kept = append(t.kept[:0], t.kept[drop:]...)
	}
	return len(p), nil
}

// String is what was kept, in one line without control characters.
func (t *tail) String() string {
	text := strings.ToValidUTF8(string(t.kept), "")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}
