package fifo

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestLostEventsLeadToAScan needs the inside of a Source: the kernel loses
// events only after 16384 of them.
func TestLostEventsLeadToAScan(t *testing.T) {
	dir, err := os.MkdirTemp("", "fifo-test-") //nolint:usetesting // t.TempDir has the test's name in its path
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	p := backup.Plan{Directory: dir, Prefix: "P", Streams: []backup.Stream{{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}}}
	s := NewSource(Config{Directory: dir}, nil, nil)
	if err := s.Prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()

	event := make([]byte, unix.SizeofInotifyEvent)
	binary.NativeEndian.PutUint32(event[4:], unix.IN_Q_OVERFLOW)
	s.mu.Lock() // keeps the real events away
	defer s.mu.Unlock()
	s.handle(event)
	if s.intrusion != nil {
		t.Fatalf("an overflow alone is an intrusion: %v", s.intrusion)
	}
	if err := os.WriteFile(dir+"/P_databackup_4_1", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/P_databackup_3_1"); err != nil {
		t.Fatal(err)
	}
	s.handle(event)
	if !errors.Is(s.intrusion, ErrIntrusion) || !strings.Contains(s.intrusion.Error(), "P_databackup_4_1") {
		t.Errorf("got %v, want the unexpected file", s.intrusion)
	}
	if what := s.streams[0].report.Intrusion; !strings.Contains(what, "P_databackup_3_1 was removed") {
		t.Errorf("got %q, want the removed pipe", what)
	}
}
