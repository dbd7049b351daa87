package job

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
)

// TestRequestedBy follows who asked for a job into its record, its line in the log
// and the journal.
func TestRequestedBy(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	w.Close()
	c, logs := beside(t, w.config, w.parts)
	const key = "nightly"
	want := map[string]string{}
	for _, test := range []struct {
		by    string
		start func(ctx context.Context, by string) (Record, error)
	}{
		{"token:nightly", func(ctx context.Context, by string) (Record, error) {
			return c.StartBackup(ctx, BackupRequest{Database: "HXE", RequestedBy: by}, key)
		}},
		{"serviceaccount:backup/nightly", func(ctx context.Context, by string) (Record, error) {
			return c.StartVerification(ctx, VerificationRequest{Database: "HXE", Backup: Latest, RequestedBy: by}, "")
		}},
		{"certificate:ops.example.com", func(ctx context.Context, by string) (Record, error) {
			return c.StartRestore(ctx, RestoreRequest{Database: "HXE", Backup: Latest, RequestedBy: by}, "")
		}},
		{"uid:12000", func(ctx context.Context, by string) (Record, error) {
			return c.StartProbe(ctx, ProbeRequest{Database: "SYSTEMDB", RequestedBy: by}, "")
		}},
		{"", func(ctx context.Context, by string) (Record, error) {
			return c.StartRestore(ctx, RestoreRequest{Database: "HXE", Backup: Latest, DryRun: true, RequestedBy: by}, "")
		}},
	} {
		record, err := test.start(t.Context(), test.by)
		if err != nil {
			t.Fatal(err)
		}
		if ended := await(t, c, record.ID); record.RequestedBy != test.by || ended.RequestedBy != test.by || ended.State != StateSucceeded {
			t.Errorf("%s: requested by %q, at the end %q, %s; expected %q", record.Action, record.RequestedBy, ended.RequestedBy, ended.State, test.by)
		}
		want[record.ID] = test.by
	}
	// Another caller who sends the same request gets the same job, and it stays the
	// job of the first.
	again, err := c.StartBackup(t.Context(), BackupRequest{Database: "HXE", RequestedBy: "token:other"}, key)
	if err != nil || want[again.ID] != "token:nightly" || again.RequestedBy != "token:nightly" {
		t.Errorf("the same request by another: %+v, %v", again, err)
	}
	logged := map[string]string{}
	c.Close()
	for _, line := range logs.FilterMessage("job ended").All() {
		fields := line.ContextMap()
		logged[fields["job_id"].(string)], _ = fields["requested_by"].(string)
	}
	if diff := cmp.Diff(want, logged); diff != "" {
		t.Errorf("in the log (-want +got):\n%s", diff)
	}
	kept := map[string]string{}
	next, _ := beside(t, w.config, w.parts)
	for _, record := range next.Jobs() {
		kept[record.ID] = record.RequestedBy
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

// TestJournalWithoutRequester is of a version that did not note who asked.
func TestJournalWithoutRequester(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "jobs"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := `{"version":1,"sequence":1,"request":"backup HXE complete ","record":{"job_id":"` + journaledID + `","action":"backup","state":"succeeded",` +
		`"stage":"done","sid":"HXE","database":"HXE","kind":"complete","started_at":"2026-01-02T03:04:05Z","finished_at":"2026-01-02T03:05:05Z","idempotency_key":"k"}}`
	if err := os.WriteFile(filepath.Join(state, "jobs", journaledID+".json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := idle(t, state)
	again, err := c.StartBackup(t.Context(), BackupRequest{Database: "HXE", RequestedBy: "token:nightly"}, "k")
	if err != nil || again.ID != journaledID || again.State != StateSucceeded || again.RequestedBy != "" {
		t.Errorf("%+v, %v; expected the job of the journal, requested by nobody who is known", again, err)
	}
}
