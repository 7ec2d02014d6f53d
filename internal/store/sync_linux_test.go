package store

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestJournalIsSynced: a record is acknowledged only when the file system says that it would outlive a power failure. Here
// that cannot be had: under the journal, a pipe is put, which takes what is written and cannot be synced.
func TestJournalIsSynced(t *testing.T) {
	dir := t.TempDir()
	s := site{location: filepath.Join(dir, "data")}.open(t)
	j := openJournal(t, s)
	mustAppend(t, j, record(1))
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(pipe[0]); _ = syscall.Close(pipe[1]) }()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range entries {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if fd, err := strconv.Atoi(e.Name()); err == nil && strings.HasPrefix(name, dir) && strings.HasSuffix(name, journalName) {
			if err := syscall.Dup3(pipe[1], fd, syscall.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Append(t.Context(), record(2)); err == nil || !strings.Contains(err.Error(), "sync") {
		t.Errorf("acknowledged without being synced: %v", err)
	}
	if err := j.Append(t.Context(), record(3)); err == nil {
		t.Error("written although nobody knows what is stored")
	}
}
