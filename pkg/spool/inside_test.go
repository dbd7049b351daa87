package spool

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// overflow is what the kernel queues after 16384 events that nobody read
// (inotify(7)); no test wants to make so many.
func overflow() []event { return []event{{mask: unix.IN_Q_OVERFLOW}} }

func inside(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spool-test-") //nolint:usetesting // t.TempDir has the test's name in its path
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLostEventsLeadToAScan(t *testing.T) {
	dir := inside(t)
	p := backup.Plan{Directory: dir, Prefix: "P", Kind: backup.KindComplete}
	s := NewSource(Config{Directory: dir, Rescan: time.Hour}, nil, nil)
	must(t, s.Prepare(t.Context(), p))
	defer func() { must(t, s.Close()) }()

	s.mu.Lock() // keeps the real events away
	defer s.mu.Unlock()
	s.handle(overflow())
	if len(s.streams) != 0 || s.intrusion != nil {
		t.Fatalf("an overflow alone: %v, %v", s.streams, s.intrusion)
	}
	must(t, os.WriteFile(dir+"/P_databackup_4_1", []byte("x"), 0o600))
	_, err := s.events.read() // those are lost
	must(t, err)
	for range 3 {
		s.handle(overflow())
	}
	if len(s.streams) != 1 || s.streams[0].report.VolumeID != 4 {
		t.Fatalf("streams %v, want the one whose events were lost", s.streams)
	}
	if s.streams[0].over {
		t.Error("scans that follow each other at once finished a file")
	}
	s.catchUp(true)
	if s.streams[0].over {
		t.Error("the first timed scan finished a file")
	}
	s.catchUp(true)
	if !s.streams[0].over {
		t.Error("the second timed scan did not finish it")
	}
}

// TestRemoveNeverTakesAnotherFile has HANA rename its file onto the name at the
// worst moment: after the first look and before the file is moved aside.
func TestRemoveNeverTakesAnotherFile(t *testing.T) {
	dir := inside(t)
	must(t, os.WriteFile(dir+"/file", []byte("old"), 0o600))
	d, err := openDirectory(dir, dir, nil)
	must(t, err)
	defer func() { must(t, d.close()) }()
	old, err := d.look("file")
	must(t, err)
	must(t, os.WriteFile(dir+"/.file", []byte("HANA's"), 0o600))
	must(t, os.Rename(dir+"/.file", dir+"/file"))
	removed, err := d.takeAside(old.File)
	if removed || err != nil {
		t.Errorf("removed %t, error %v", removed, err)
	}
	if data, err := os.ReadFile(dir + "/file"); err != nil || string(data) != "HANA's" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if names, err := d.list(func(string) bool { return true }); err != nil || len(names) != 1 {
		t.Errorf("left %v, %v", names, err)
	}
}

// FuzzParseEvents has the kernel say anything.
func FuzzParseEvents(f *testing.F) {
	one := make([]byte, unix.SizeofInotifyEvent, 64)
	binary.NativeEndian.PutUint32(one[4:], unix.IN_CREATE)
	binary.NativeEndian.PutUint32(one[12:], 16)
	one = append(one, "name\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	f.Add([]byte{})
	f.Add(one)
	f.Add(append(slices.Clip(one), one...))
	f.Add(one[:20])
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, buf []byte) {
		events := parseEvents(buf)
		if len(events) > len(buf)/unix.SizeofInotifyEvent {
			t.Errorf("%d events in %d bytes", len(events), len(buf))
		}
	})
}

func TestParseEvents(t *testing.T) {
	one := make([]byte, unix.SizeofInotifyEvent, 64)
	binary.NativeEndian.PutUint32(one[4:], unix.IN_CREATE)
	binary.NativeEndian.PutUint32(one[12:], 8)
	one = append(one, "name\x00\x00\x00\x00"...)
	got := parseEvents(append(slices.Clip(one), one...))
	if len(got) != 2 || got[1] != (event{unix.IN_CREATE, "name"}) {
		t.Errorf("got %v", got)
	}
}

func TestWatcherScansWhenEventsAreLost(t *testing.T) {
	dir := inside(t)
	w := NewWatcher(Config{Directory: dir, Rescan: time.Hour}, dir, nil, nil)
	defer func() { must(t, w.Close()) }()
	w.mu.Lock()
	must(t, w.enter())
	must(t, w.catchUp())
	const name = "log_backup_2_0_100_200.17"
	must(t, os.WriteFile(dir+"/"+name, []byte("x"), 0o600))
	_, err := w.events.read() // those are lost
	must(t, err)
	for range 3 {
		must(t, w.handle(overflow()))
	}
	if w.files[name] == nil || w.files[name].finished {
		t.Errorf("after the overflow: %+v, want a file that is not known to be finished", w.files[name])
	}
	w.nextScan = time.Time{}
	must(t, w.catchUp())
	if w.files[name].finished {
		t.Error("the first timed scan finished a file")
	}
	w.nextScan = time.Time{}
	w.mu.Unlock()
	files, err := w.Next(t.Context())
	must(t, err)
	if len(files) != 1 || files[0].Name != name {
		t.Errorf("got %v", files)
	}
}

// TestNotFinishedInBetween has events come at the worst moments: a file that a
// look took for finished is not, if somebody has opened it by then.
func TestNotFinishedInBetween(t *testing.T) {
	const name = "P_databackup_4_1"
	for what, c := range map[string]struct {
		act  func(t *testing.T, s *Source, dir string)
		want bool
	}{
		"nothing": {func(*testing.T, *Source, string) {}, true},
		"opened again before": {func(t *testing.T, s *Source, dir string) {
			t.Helper()
			reopen(t, dir+"/"+name)
			s.handle(readAll(t, s.events))
		}, false},
		"opened again since": {func(t *testing.T, _ *Source, dir string) {
			t.Helper()
			reopen(t, dir+"/"+name)
		}, false},
		"opened and closed again": {func(t *testing.T, _ *Source, dir string) {
			t.Helper()
			must(t, os.WriteFile(dir+"/"+name, []byte("again"), 0o600))
		}, true},
		"a hidden one beside it": {func(t *testing.T, _ *Source, dir string) {
			t.Helper()
			must(t, os.WriteFile(dir+"/."+name, []byte("again"), 0o600))
		}, false},
		"lost events": {func(_ *testing.T, s *Source, _ string) { s.handle(overflow()) }, false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := inside(t)
			s := NewSource(Config{Directory: dir, Rescan: time.Hour}, nil, nil)
			must(t, s.Prepare(t.Context(), backup.Plan{Directory: dir, Prefix: "P", Kind: backup.KindComplete}))
			defer func() { must(t, s.Close()) }()
			s.mu.Lock() // nobody else reads the events
			defer s.mu.Unlock()
			must(t, os.WriteFile(dir+"/"+name, []byte("x"), 0o600))
			s.handle(readAll(t, s.events))
			if st := s.streams[0]; !st.ripe || st.over {
				t.Fatalf("ripe %t, over %t", st.ripe, st.over)
			}
			c.act(t, s, dir)
			s.catchUp(false)
			if got := s.streams[0].over; got != c.want {
				t.Errorf("finished: %t, want %t", got, c.want)
			}
		})
	}
}

// TestLogsNotFinishedInBetween is the same for a Watcher.
func TestLogsNotFinishedInBetween(t *testing.T) {
	const name = "log_backup_2_0_100_200.17"
	for what, c := range map[string]struct {
		act  func(t *testing.T, w *Watcher, dir string)
		want int
	}{
		"read by us, and wanted again": {func(t *testing.T, w *Watcher, dir string) {
			t.Helper()
			if got := w.batch(); len(got) != 1 {
				t.Fatalf("got %v", got)
			}
			_, err := os.ReadFile(dir + "/" + name)
			must(t, err)
			must(t, w.catchUp())
			w.files[name].yielded = false // as Again does
		}, 1},
		"nothing": {func(*testing.T, *Watcher, string) {}, 1},
		"opened again since": {func(t *testing.T, _ *Watcher, dir string) {
			t.Helper()
			reopen(t, dir+"/"+name)
		}, 0},
		"lost events": {func(t *testing.T, w *Watcher, _ string) {
			t.Helper()
			must(t, w.handle(overflow()))
		}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			dir := inside(t)
			w := NewWatcher(Config{Directory: dir, Rescan: time.Hour}, dir, nil, nil)
			defer func() { must(t, w.Close()) }()
			w.mu.Lock()
			defer w.mu.Unlock()
			must(t, w.enter())
			must(t, w.catchUp())
			must(t, os.WriteFile(dir+"/"+name, []byte("x"), 0o600))
			must(t, w.handle(readAll(t, w.events)))
			if f := w.files[name]; f == nil || !f.finished {
				t.Fatalf("got %+v", f)
			}
			c.act(t, w, dir)
			must(t, w.catchUp())
			if got := w.batch(); len(got) != c.want {
				t.Errorf("got %v, want %d", got, c.want)
			}
		})
	}
}

// reopen has a writer until the test is over.
func reopen(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
}

func readAll(t *testing.T, q *queue) (all []event) {
	t.Helper()
	for {
		events, err := q.read()
		must(t, err)
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
	}
}

// TestOnlyWhereHolesShow: mounting the others would need a server, or modules.
func TestOnlyWhereHolesShow(t *testing.T) {
	for fsType, want := range map[int64]bool{
		unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true,
		unix.NFS_SUPER_MAGIC: false, unix.OVERLAYFS_SUPER_MAGIC: false, unix.FUSE_SUPER_MAGIC: false,
	} {
		if got := showsHoles(fsType); got != want {
			t.Errorf("type %#x: got %t, want %t", fsType, got, want)
		}
	}
}

// TestRescan looks more often where events may be missing, unless told otherwise.
func TestRescan(t *testing.T) {
	dir := inside(t)
	d, err := openDirectory(dir, dir, nil)
	must(t, err)
	defer func() { must(t, d.close()) }()
	for configured, want := range map[time.Duration]time.Duration{0: defaultRescan, time.Minute: time.Minute} {
		if got, err := (Config{Rescan: configured}).rescan(d); err != nil || got != want {
			t.Errorf("%v: got %v, %v", configured, got, err)
		}
	}
}
