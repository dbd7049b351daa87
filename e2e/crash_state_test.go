package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// stateVolume is a small volume of its own for the daemon's state.
type stateVolume struct {
	*world

	path string
}

const stateVolumeSize = 64 << 10

// newStateVolume has a daemon run on it.
func newStateVolume(t *testing.T) *stateVolume {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "needs root, to mount a tmpfs")
	}
	w := &world{t: t, depot: openS3(t), backups: directory(t), hana: startHANA(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(2*mebibyte, 4096)}},
		Profile:   hanasim.Dotname, WriteSize: 64 << 10,
	})}
	w.log.showOnFailure(t, "the daemon")
	w.configure(map[string]any{"timeouts": map[string]any{"answer": "5s", "end": "1s"}})
	v := &stateVolume{world: w, path: filepath.Dir(w.socket)}
	if err := unix.Mount("tmpfs", v.path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", stateVolumeSize)); err != nil {
		t.Fatalf("mount %s: %v", v.path, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(v.path, 0); err != nil {
			t.Errorf("unmount %s: %v", v.path, err)
		}
	})
	w.startDaemon()
	return v
}

// fill leaves so many pages of the volume free; a file needs one for each 4 KiB.
func (v *stateVolume) fill(pages int) {
	v.t.Helper()
	path := filepath.Join(v.path, "ballast")
	err := os.WriteFile(path, make([]byte, 2*stateVolumeSize), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		v.t.Fatalf("the volume takes more than there is: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		v.t.Fatal(err)
	}
	if err := os.Truncate(path, max(0, info.Size()-int64(pages*os.Getpagesize()))); err != nil {
		v.t.Fatal(err)
	}
}

func (v *stateVolume) empty() {
	v.t.Helper()
	if err := os.Remove(filepath.Join(v.path, "ballast")); err != nil {
		v.t.Fatal(err)
	}
}

func (v *stateVolume) remount(flags uintptr) {
	v.t.Helper()
	if err := unix.Mount("", v.path, "", unix.MS_REMOUNT|flags, ""); err != nil {
		v.t.Fatalf("remount %s: %v", v.path, err)
	}
}

// expectHonest compares how a backup ended with HANA and the store. words are
// in the cause when it did not succeed. Nothing may have been begun where the
// daemon could not have written it down.
func (v *stateVolume) expectHonest(r result, words string) job.State {
	v.t.Helper()
	rows := v.hana.catalog("HXE")
	v.expectNoPipes()
	if r.status == 1 && r.stdout == "" { // refused, there is no job
		if !strings.Contains(r.stderr, words) || len(rows) > 0 {
			v.t.Errorf("refused with %q, expected the words %q; HANA has %+v", r.stderr, words, rows)
		}
		v.expectNothingStored()
		return ""
	}
	record := r.record(v.t)
	switch record.State {
	case job.StateSucceeded:
		v.expectAgreement(record)
	case job.StateFailed:
		expectCause(v.t, record, job.StateFailed, job.CodeState)
		if !strings.Contains(record.Error.Message, words) {
			v.t.Errorf("the cause is %+v, expected the words %q", record.Error, words)
		}
		for _, row := range rows {
			if row.State == "successful" {
				v.t.Errorf("HANA takes the backup for a good one: %+v", row)
			}
		}
		v.expectNothingStored()
	default:
		v.t.Errorf("the backup ended %s: %+v", record.State, record.Error)
	}
	return record.State
}

// expectRemembered starts the daemon again and compares what it says of a job.
func (v *stateVolume) expectRemembered(id string, want job.State) {
	v.t.Helper()
	v.stopDaemon()
	v.startDaemon()
	record := v.ended(v.client(), id)
	if record.State != want {
		v.t.Errorf("after a restart the job is %s (%+v), before it was %s", record.State, record.Error, want)
	}
}

// forget removes what a backup left in store and catalog.
func (v *stateVolume) forget() {
	v.t.Helper()
	for key := range v.depot.objects(v.t) {
		if err := os.Remove(v.depot.path(key)); err != nil {
			v.t.Fatal(err)
		}
	}
	for _, row := range v.hana.catalog("HXE") {
		v.hana.statement(`BACKUP CATALOG DELETE FOR HXE BACKUP_ID %d`, row.BackupID)
	}
}

// TestStateVolumeFull has the volume of the journal run full at each of the
// moments at which a backup writes to it.
func TestStateVolumeFull(t *testing.T) {
	t.Parallel()
	v := newStateVolume(t)
	ends := make(map[job.State]int)
	for pages := range 6 {
		v.fill(pages)
		r := v.run("backup", "--database", "HXE")
		state := v.expectHonest(r, "no space left on device")
		ends[state]++
		v.empty()
		if state != "" {
			v.expectRemembered(r.record(t).ID, state)
		}
		if t.Failed() {
			t.Fatalf("with %d free pages", pages)
		}
		v.forget()
	}
	t.Logf("ends: %v", ends)
	if ends[""] == 0 || ends[job.StateFailed] == 0 || ends[job.StateSucceeded] == 0 {
		t.Errorf("ends: %v, expected each", ends)
	}
	v.stopDaemon()
}

// TestStateVolumeFullMidway has it run full, or become read-only, while HANA
// writes: the backup is good, and the next daemon finds that out.
func TestStateVolumeFullMidway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ spoil, mend func(v *stateVolume) }{
		"full":      {func(v *stateVolume) { v.fill(0) }, (*stateVolume).empty},
		"read-only": {func(v *stateVolume) { v.remount(unix.MS_RDONLY) }, func(v *stateVolume) { v.remount(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newStateVolume(t)
			v.hana.set("fail", "stall:2:1MiB")
			client := v.client()
			running := v.begin("backup", "--database", "HXE")
			v.streaming(client, v.awaitJob(client), mebibyte)
			eventually(t, "HANA stands still", func() bool { return v.hana.Stalled() > 0 })
			c.spoil(v)
			v.hana.set("resume", "")
			record := running().expect(t, 0).record(t)
			v.expectAgreement(record)
			c.mend(v)
			if !strings.Contains(v.log.String(), "could not be journaled") {
				t.Error("the log does not say that the end of the job could not be written down")
			}
			v.expectRemembered(record.ID, job.StateSucceeded)
			v.expectAgreement(record)
			v.stopDaemon()
		})
	}
}

// TestStateReadOnly has it read-only before a backup, and before the daemon
// starts.
func TestStateReadOnly(t *testing.T) {
	t.Parallel()
	v := newStateVolume(t)
	v.remount(unix.MS_RDONLY)
	v.expectHonest(v.run("backup", "--database", "HXE"), "read-only file system")
	v.stopDaemon()
	v.expectNoStart("read-only file system")
	v.remount(0)
	v.startDaemon()
	v.expectAgreement(v.backUp("HXE"))
	v.stopDaemon()
}

// expectNoStart starts a daemon that ends by itself and says why.
func (w *world) expectNoStart(words ...string) {
	w.t.Helper()
	var said tail
	p := startProcess(w.t, "the daemon", &said, []string{"PIPESTREAMER_METRICS_LISTEN=127.0.0.1:0"},
		daemonProgram(w.t), "serve", "--config", w.config)
	if status := p.wait(); status != 1 && status != 2 {
		w.t.Errorf("the daemon ended with %d, expected 1 or 2", status)
	}
	for _, word := range words {
		if !strings.Contains(said.String(), word) {
			w.t.Errorf("the daemon does not say %q: %s", word, said.String())
		}
	}
}

// stoppedAfterBackup is a world whose daemon has made a backup and ended, with
// the job and its file in the journal.
func stoppedAfterBackup(t *testing.T) (w *world, record job.Record, path string) {
	t.Helper()
	w = newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(4096)}}, Profile: hanasim.Dotname,
	}, openLocal(t), nil)
	record = w.backUp("HXE")
	w.stopDaemon()
	return w, record, filepath.Join(filepath.Dir(w.socket), "jobs", record.ID+".json")
}

// TestJournalThatCannotBeRead stops the daemon from starting: guessing about an
// earlier job could call a lost backup good. The file is named and untouched.
func TestJournalThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w, record, path := stoppedAfterBackup(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entry := decode[map[string]any](t, string(good))
	entry["version"] = 99
	newer, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text  []byte
		words string
	}{
		"empty":              {nil, "JSON"},
		"cut off":            {good[:len(good)/2], "JSON"},
		"zeros":              {make([]byte, len(good)), "invalid character"},
		"of a newer version": {newer, "version 99"},
		"of another job":     {bytes.ReplaceAll(good, []byte(record.ID), []byte("0"+record.ID[1:7]+"f"+record.ID[8:])), "it holds job"},
	} {
		if err := os.WriteFile(path, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		w.expectNoStart(path, c.words)
		kept, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(kept, c.text) {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.startDaemon()
	if again := w.ended(w.client(), record.ID); again.State != job.StateSucceeded {
		t.Errorf("the job is %s", again.State)
	}
	w.stopDaemon()
}

// TestJournalNamesAPipeElsewhere: whatever stands in the journal, nothing outside
// the backup directory is touched, and the job says that something is wrong.
func TestJournalNamesAPipeElsewhere(t *testing.T) {
	t.Parallel()
	w, record, path := stoppedAfterBackup(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entry := decode[map[string]any](t, string(text))
	told, is := entry["record"].(map[string]any)
	if !is {
		t.Fatalf("the journal has no record: %v", entry)
	}
	elsewhere := filepath.Join(filepath.Dir(w.backups), filepath.Base(w.backups)+"-elsewhere")
	if err := unix.Mkfifo(elsewhere, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(elsewhere); err != nil {
			t.Error(err)
		}
	})
	told["state"], told["stage"] = job.StateRunning, job.StageArm
	entry["pipes"] = []map[string]any{{"name": "../" + filepath.Base(elsewhere), "dev": 0, "ino": 0}}
	if text, err = json.Marshal(entry); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.startDaemon()
	again := w.ended(w.client(), record.ID)
	expectCause(t, again, job.StateFailed, job.CodeInterrupted)
	if said := strings.Join(again.Consequences, " "); !strings.Contains(said, "-elsewhere") {
		t.Errorf("the consequences do not name the pipe: %q", said)
	}
	if _, err := os.Lstat(elsewhere); err != nil {
		t.Error(err)
	}
	w.stopDaemon()
}
