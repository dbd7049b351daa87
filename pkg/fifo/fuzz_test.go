package fifo

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// fuzzDirectory is one whose path the grammar of plans accepts.
func fuzzDirectory(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "fifo-fuzz-") //nolint:usetesting // t.TempDir has the test's name in its path
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func event(mask uint32, name string) []byte {
	b := make([]byte, unix.SizeofInotifyEvent, unix.SizeofInotifyEvent+len(name))
	binary.NativeEndian.PutUint32(b[4:], mask)
	binary.NativeEndian.PutUint32(b[12:], uint32(len(name)))
	return append(b, name...)
}

// FuzzEvents feeds the parser of inotify events with anything. The directory is
// in order, so nothing but a removed directory or a new name may be told, and
// no event may spoil the count of openings.
func FuzzEvents(f *testing.F) {
	const name = "P_databackup_3_1\x00\x00\x00"
	f.Add(event(unix.IN_Q_OVERFLOW, ""))
	f.Add(append(event(unix.IN_OPEN, name), event(unix.IN_CLOSE_WRITE, name)...))
	f.Add(append(event(unix.IN_CREATE, "P_databackup_4_1"), event(unix.IN_CLOSE_WRITE, "."+name)...))
	f.Add(event(unix.IN_DELETE_SELF, ""))
	f.Add(event(unix.IN_CLOSE_WRITE, ".pipestreamer."+name)[:20])
	f.Add([]byte{0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	dir := fuzzDirectory(f)
	p := backup.Plan{Directory: dir, Prefix: "P", Streams: []backup.Stream{{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}}}
	s := NewSource(Config{Directory: dir}, nil, nil)
	if err := s.Prepare(f.Context(), p); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, buf []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.handle(buf)
		st := s.streams[0]
		o := st.openings
		if o.open < 0 || o.direct < 0 || o.empty < o.direct || o.direct > len(buf)/unix.SizeofInotifyEvent {
			t.Errorf("openings %+v", o)
		}
		if st.report.Intrusion != "" {
			t.Errorf("events alone accuse a stream: %s", st.report.Intrusion)
		}
		if s.intrusion != nil && !strings.Contains(s.intrusion.Error(), "an unexpected file appeared: "+dir+"/") &&
			!strings.Contains(s.intrusion.Error(), "the directory was removed, moved or unmounted") {
			t.Errorf("intrusion %v", s.intrusion)
		}
		st.openings, s.intrusion = openings{}, nil
		s.intruded = make(chan struct{})
	})
}

// FuzzJournaledPipes gives Release and Sweep a journal of anything: they stay
// inside the directory and leave what is not a pipe.
func FuzzJournaledPipes(f *testing.F) {
	f.Add(`[{"name":"P_databackup_3_1","dev":1,"ino":0},{"name":".P_databackup_3_1","dev":1,"ino":7}]`)
	f.Add(`[{"name":"../outside","ino":0}]`)
	f.Add(`[{"name":"..","ino":0},{"name":"file","ino":0},{"name":"inner","ino":0}]`)
	f.Add(`[{"name":".pipestreamer.P_databackup_3_1.1"},{"name":".pipestreamer.P_databackup_3_1.1"}]`)
	f.Add(`[{"name":"x\u0000y"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var pipes []PipeID
		if err := json.Unmarshal([]byte(text), &pipes); err != nil || len(pipes) > 8 {
			return
		}
		outside := fuzzDirectory(t)
		dir := outside + "/dir"
		for path, create := range map[string]func(string) error{
			outside + "/outside": func(path string) error { return unix.Mkfifo(path, 0o600) },
			dir:                  func(path string) error { return os.Mkdir(path, 0o700) },
		} {
			if err := create(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(dir+"/file", []byte("HANA's"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir+"/inner", 0o700); err != nil {
			t.Fatal(err)
		}
		if r, err := Release(dir, pipes, nil); err == nil {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		_, _ = Sweep(dir, pipes) // the journal may be nonsense
		if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
			t.Errorf("left in the directory: %v, %v", left, err)
		}
		if _, err := os.Lstat(outside + "/outside"); err != nil {
			t.Error(err)
		}
	})
}

// FuzzTemporaryNames: no file of HANA is taken for one of our temporary names,
// and each temporary name leads to its stream.
func FuzzTemporaryNames(f *testing.F) {
	f.Add("P", 3, 1, 0)
	f.Add("P_databackup_1_1", 0, 2, 2)
	f.Fuzz(func(t *testing.T, prefix string, volume, part, n int) {
		id := backup.StreamID{VolumeID: volume, PartID: part}
		plan := backup.Plan{Prefix: prefix}
		final := plan.FileName(id)
		if file, err := backup.ParseFileName(final); err != nil || file.StreamID != id {
			return // not a name of HANA
		}
		streams := refusingStreams([]PipeID{{Name: plan.TemporaryName(id)}, {Name: temporaryName(final, n)}, {Name: final}})
		if len(streams) != 1 || streams[0].final != final || streams[0].hidden != plan.TemporaryName(id) {
			t.Fatalf("%q gives %d streams", final, len(streams))
		}
		s := &Source{streams: streams}
		if st, temporary := s.streamAt(temporaryName(final, n)); st != streams[0] || !temporary {
			t.Errorf("%q leads to %v, %t", temporaryName(final, n), st, temporary)
		}
		if st, temporary := s.streamAt(final); st != streams[0] || temporary {
			t.Errorf("%q leads to %v, %t", final, st, temporary)
		}
	})
}
