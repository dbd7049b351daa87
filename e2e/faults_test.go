package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestFaults lets HANA go wrong in one way after the other. Whatever happens,
// the job says what, the store shows nothing, no pipe is left, and the next
// backup succeeds.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		door     string // auto when empty
		settings [][2]string
		state    job.State
		code     string
		stream   string
		words    string // in the message
		// left are the endings of files of HANA's own that stay behind.
		left []string
	}{
		{
			name:     "a stream without a byte",
			settings: [][2]string{{"fail", "truncate:3:0"}},
			state:    job.StateLost, code: job.CodeUnopened, stream: "3_1",
		},
		{
			name:     "a stream that ends too early",
			settings: [][2]string{{"fail", "truncate:2:1MiB"}},
			state:    job.StateLost, code: job.CodeCatalog, stream: "2_1",
		},
		{
			name:     "HANA cannot write",
			settings: [][2]string{{"fail", "write:2:1MiB:ENOSPC"}},
			state:    job.StateFailed, code: job.CodeHANA, words: "No space left on device",
		},
		{
			name:     "the header of another backup",
			settings: [][2]string{{"fail", "header:2"}},
			state:    job.StateLost, code: job.CodeHeader, stream: "2_1",
		},
		{
			name: "a file that nobody planned", door: "fifo",
			settings: [][2]string{{"fail", "extra:7:100000"}},
			state:    job.StateFailed, code: job.CodeIntrusion, words: "_databackup_7_1", left: []string{"_7_1"},
		},
		{
			name:     "HANA refuses",
			settings: [][2]string{{"fail", "refuse"}},
			state:    job.StateFailed, code: job.CodeHANA, words: "447",
		},
		{
			name: "O_DIRECT without a way back", door: "fifo",
			settings: [][2]string{{"profile", string(hanasim.Direct)}},
			state:    job.StateFailed, code: job.CodeDirect, stream: "any", words: "O_DIRECT",
		},
		{
			name: "pipes are replaced by files", door: "fifo",
			settings: [][2]string{{"profile", string(hanasim.Replace)}, {"write-size", "64KiB"}, {"delay-write", "20ms"}},
			state:    job.StateFailed, code: job.CodeIntrusion, words: "_databackup_", left: []string{"_0_1", "_3_1", "_4_1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hanasim.Config{
				Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}}, Profile: hanasim.Dotname,
			}, openS3(t), map[string]any{"door": cmp.Or(test.door, "auto"), "timeouts": map[string]any{"end": "1s", "answer": "5s"}})
			for _, setting := range test.settings {
				w.hana.set(setting[0], setting[1])
			}
			status := map[job.State]int{job.StateFailed: 1, job.StateLost: 4}[test.state]
			record := w.run("backup", "--database", "HXE").expect(t, status).record(t)
			expectCause(t, record, test.state, test.code)
			if record.Error.Stream != test.stream && test.stream != "any" || !strings.Contains(record.Error.Message, test.words) {
				t.Errorf("the cause is %+v, expected stream %q and the words %q", record.Error, test.stream, test.words)
			}
			w.expectNothingStored()
			w.expectLeft(test.left)

			w.hana.set("profile", string(hanasim.Dotname))
			w.hana.set("delay-write", "0s")
			w.expectAgreement(w.backUp("HXE"))
			w.stopDaemon()
		})
	}
}

// expectLeft removes the files that HANA made and keeps, and fails the test when
// there is anything else.
func (w *world) expectLeft(endings []string) {
	w.t.Helper()
	for _, name := range w.pipes() {
		path := filepath.Join(w.backups, name)
		info, err := os.Lstat(path)
		if err != nil {
			w.t.Fatal(err)
		}
		if info.Mode().IsRegular() && slices.ContainsFunc(endings, func(ending string) bool { return strings.HasSuffix(name, ending) }) {
			if err := os.Remove(path); err != nil {
				w.t.Fatal(err)
			}
			continue
		}
		w.t.Errorf("left in the backup directory: %s, %s of %d bytes", name, info.Mode(), info.Size())
	}
}

// TestLostAnswer cuts the connection when HANA has done its work: what HANA has
// to say is found in its catalog, and the backup is good.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}}, Profile: hanasim.Dotname,
	}, openLocal(t), nil)
	w.hana.set("fail", "hangup")
	record := w.backUp("HXE")
	w.expectAgreement(record)
	rows := w.hana.catalog("HXE")
	if len(rows) != 1 {
		t.Errorf("the statement was sent %d times: %+v", len(rows), rows)
	}
	w.stopDaemon()
}

// TestFailedRecovery lets HANA fail after it has read everything: the restore
// fails with HANA's words, the tenant stays stopped, and another try succeeds.
func TestFailedRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(threeVolumes...)}}, Profile: hanasim.Dotname,
	}, openLocal(t), nil)
	record := w.backUp("HXE")
	w.hana.set("fail", "recover")
	failed := w.run("restore", "--database", "HXE", "--backup", "latest").expect(t, 1).record(t)
	expectCause(t, failed, job.StateFailed, job.CodeHANA)
	if diff := gocmp.Diff(448, failed.Error.HANACode); diff != "" {
		t.Errorf("HANA's code (-want +got):\n%s", diff)
	}
	if w.online("HXE") {
		t.Error("the tenant is online after a recovery that failed")
	}
	w.expectNoPipes()
	w.destroyAndRestore(record)
	w.stopDaemon()
}
