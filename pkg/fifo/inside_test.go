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

// TestRemoveNeverTakesAnotherFile has HANA rename its file onto the name at the
// worst moment: after the first look and before the removal.
func TestRemoveNeverTakesAnotherFile(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &directory{fd: fd, path: dir, token: "t"}
	defer func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := d.create("pipe", 0o660)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.file.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(dir+"/.file", []byte("HANA's"), 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := d.remove("pipe", func(e entry) bool {
		if !e.is(p.id) {
			return false
		}
		if err := os.Rename(dir+"/.file", dir+"/pipe"); err != nil {
			t.Error(err)
		}
		return true
	})
	if removed || err != nil {
		t.Errorf("removed %t, error %v", removed, err)
	}
	if data, err := os.ReadFile(dir + "/pipe"); err != nil || string(data) != "HANA's" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}
