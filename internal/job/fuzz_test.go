package job

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

const journaledID = "0193525a-0000-7000-8000-000000000001"

// fullEntry has something in every field.
func fullEntry() entry {
	at := time.Date(2026, 11, 22, 5, 4, 3, 2, time.UTC)
	stream := backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver", Host: "h", EstimatedSize: 7}
	return entry{
		Version: journalVersion, Sequence: 1, Request: "backup HXE complete ",
		Pipes: []fifo.PipeID{{Name: "P_databackup_3_1", Dev: 1, Ino: 2}, {Name: ".P_databackup_3_1"}},
		Record: Record{
			ID: journaledID, Action: ActionBackup, State: StateLost, Stage: StageCommit, SID: "HXE", Database: "HXE", Kind: backup.KindComplete,
			BackupID: goodID, Prefix: "P", StartedAt: at, FinishedAt: at.Add(time.Second), Manifest: "m", Command: "c", TenantStopped: true,
			Streams:      []Progress{{Stream: stream, Bytes: 1, Stored: 2, Path: "/backup/P_databackup_3_1", Done: true}},
			Error:        &Error{Stage: StageCommit, Stream: "3_1", Code: CodeCommit, HANACode: 447, HANAInner: []int{110507}, Message: "m", Hint: "h"},
			Consequences: []string{"a", "b"}, Findings: []verify.Finding{{}}, IdempotencyKey: "k", RequestedBy: "token:nightly",
			History: []Event{{At: at, Side: SideHANA, Stream: "3_1", Bytes: 5, Text: "closed it"}},
		},
	}
}

// FuzzJournal puts anything into a file of the journal: loading it gives the
// entry, which then survives being saved, or an error that names the file.
func FuzzJournal(f *testing.F) {
	whole := saved(f, fullEntry())
	f.Add(journaledID, whole)
	f.Add(journaledID, whole[:len(whole)/2])
	f.Add(journaledID, append([]byte("\ufeff"), whole...))
	f.Add(journaledID, append(slices.Clip(whole), "{}"...))
	f.Add("another", whole)
	f.Add(journaledID, []byte(`{"version":2,"record":{"job_id":"`+journaledID+`"}}`))
	f.Add(journaledID, []byte(`{"version":1,"record":{"job_id":"`+journaledID+`","streams":null},"pipes":[{"name":"../../etc/passwd"},{"name":"a\u0000b"},{"name":""}]}`))
	f.Add("", []byte(`{"version":1,"record":{"job_id":""}}`))
	f.Add("x", []byte(`{"version":1,"record":{"job_id":"x","error":{},"streams":[{}],"started_at":"2026-01-01T00:00:00+23:59"}}`))
	f.Add("x", []byte(`null`))
	f.Add("x", []byte(strings.Repeat("[", 20_000)))
	root := modelRoot(f)
	f.Fuzz(func(t *testing.T, id string, text []byte) {
		if id == "" || len(id) > 100 || strings.ContainsAny(id, "/\x00") || strings.HasPrefix(id, ".new-") {
			return // no file of ours is called so
		}
		state, err := os.MkdirTemp(root, "") //nolint:usetesting // t.TempDir is on a disk
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(state) //nolint:errcheck // modelRoot removes what is left
		j, err := openJournal(state)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(j.path(id), text, 0o600); err != nil {
			t.Fatal(err)
		}
		checkLoad(t, j, id)
	})
}

// saved is how an entry looks in its file.
func saved(f *testing.F, e entry) []byte {
	f.Helper()
	j, err := openJournal(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	if err := j.save(e); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(j.path(e.Record.ID))
	if err != nil {
		f.Fatal(err)
	}
	return text
}

// checkLoad loads a journal of one file.
func checkLoad(t *testing.T, j *journal, id string) {
	t.Helper()
	entries, err := j.load()
	if err != nil {
		if !strings.Contains(err.Error(), filepath.Base(j.path(id))) {
			t.Errorf("the error does not name the file %s: %v", j.path(id), err)
		}
		if len(entries) > 0 {
			t.Errorf("an error and entries: %+v", entries)
		}
		return
	}
	if len(entries) != 1 || entries[0].Record.ID != id || entries[0].Version != journalVersion {
		t.Fatalf("got %+v", entries)
	}
	if err := j.save(entries[0]); err != nil {
		t.Fatalf("an entry that was loaded cannot be saved: %v", err)
	}
	again, err := j.load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, again, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("an entry changed (-loaded +loaded again):\n%s", diff)
	}
}

// TestJournalKeepsEverything saves an entry that has something in every field.
func TestJournalKeepsEverything(t *testing.T) {
	t.Parallel()
	j, err := openJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := fullEntry()
	if err := j.save(want); err != nil {
		t.Fatal(err)
	}
	got, err := j.load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]entry{want}, got); diff != "" {
		t.Errorf("the entry changed (-saved +loaded):\n%s", diff)
	}
}
