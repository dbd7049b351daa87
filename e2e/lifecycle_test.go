package e2e

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// newSlowWorld has a tenant whose backup takes about ten seconds, so that
// things can happen to it on its way.
func newSlowWorld(t *testing.T, d *depot) *world {
	t.Helper()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(50*mebibyte, 4096)}},
		Profile:   hanasim.Dotname, WriteSize: 256 << 10,
	}, d, map[string]any{"shutdownGrace": "1s", "timeouts": map[string]any{"answer": "10s"}})
	w.hana.set("delay-write", "50ms")
	return w
}

// TestTwoDatabases backs up two databases at once; a second backup of either is
// refused while its first runs.
func TestTwoDatabases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{
			systemDB(), {Name: "ONE", Volumes: volumes(threeVolumes...)}, {Name: "TWO", Volumes: volumes(threeVolumes...)},
		},
		Profile: hanasim.Dotname, WriteSize: 256 << 10,
	}, openS3(t), nil)
	w.hana.set("delay-write", "20ms")
	client := w.client()
	var records []job.Record
	for _, database := range []string{"ONE", "TWO"} {
		record, err := client.StartBackup(t.Context(), job.BackupRequest{Database: database}, "")
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	for _, record := range records {
		w.streaming(client, record.ID, mebibyte)
		_, err := client.StartBackup(t.Context(), job.BackupRequest{Database: record.Database}, "")
		expectProblem(t, err, http.StatusConflict, record.ID)
		_, err = client.StartRestore(t.Context(), job.RestoreRequest{Database: record.Database, Backup: job.Latest}, "")
		expectProblem(t, err, http.StatusConflict, record.ID)
		if second := w.run("backup", "--database", record.Database).expect(t, 1); !strings.Contains(second.stderr, record.ID) {
			t.Errorf("the command line does not name job %s, which is in the way: %s", record.ID, second.stderr)
		}
	}
	var manifests []*backup.Manifest
	for i, record := range records {
		ended := w.ended(client, record.ID)
		if ended.State != job.StateSucceeded {
			t.Fatalf("the backup of %s ended %s: %v", ended.Database, ended.State, ended.Error)
		}
		if !ended.FinishedAt.After(records[1-i].StartedAt) {
			t.Error("the backups did not run at once")
		}
		records[i] = ended
		manifests = append(manifests, w.manifest(ended.Database, ended.BackupID))
	}
	w.expectAgreement(records[0], manifests[1])
	w.expectAgreement(records[1], manifests[0])
	w.stopDaemon()
}

// expectProblem checks an error that the daemon reported.
func expectProblem(t *testing.T, err error, status int, id string) {
	t.Helper()
	problem, is := errors.AsType[*httpapi.Problem](err)
	if !is || problem.Status != status || problem.JobID != id {
		t.Errorf("got %v (%+v), expected status %d and job %s", err, problem, status, id)
	}
}

// TestManyStreamsShareOneBudget starts three backups at once that together want
// more memory than the daemon may use: they take turns, or one is refused with
// the reason, but none waits for ever.
func TestManyStreamsShareOneBudget(t *testing.T) {
	t.Parallel()
	sizes := slices.Repeat([]int64{6 * mebibyte}, 12)
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{
			systemDB(), {Name: "ONE", Volumes: volumes(sizes...)}, {Name: "TWO", Volumes: volumes(sizes...)}, {Name: "THREE", Volumes: volumes(sizes...)},
		},
		Profile: hanasim.Dotname,
	}, openLocal(t), map[string]any{"memoryBudget": "160MiB", "store": map[string]any{"streams": 16}})
	client := w.client()
	var records []job.Record
	for _, database := range []string{"ONE", "TWO", "THREE"} {
		record, err := client.StartBackup(t.Context(), job.BackupRequest{Database: database}, "")
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	succeeded := 0
	for _, record := range records {
		ended := w.ended(client, record.ID)
		switch {
		case ended.State == job.StateSucceeded:
			succeeded++
		case ended.Error == nil || ended.Error.Code != job.CodeMemory:
			t.Errorf("the backup of %s ended %s: %+v", ended.Database, ended.State, ended.Error)
		}
	}
	t.Logf("%d of %d backups succeeded at once", succeeded, len(records))
	for _, database := range []string{"ONE", "TWO", "THREE"} {
		w.backUp(database)
	}
	w.expectNoPipes()
	w.stopDaemon()
}

// TestIdempotency repeats a request with its key.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(mebibyte)}},
	}, openLocal(t), nil)
	args := []string{"--database", "HXE", "--idempotency-key", "nightly 1"}
	first := w.run("backup", args...).expect(t, 0).record(t)
	second := w.run("backup", args...).expect(t, 0).record(t)
	if first.ID != second.ID || second.IdempotencyKey != "nightly 1" {
		t.Errorf("jobs %s and %s, expected one", first.ID, second.ID)
	}
	_, err := w.client().StartBackup(t.Context(), job.BackupRequest{Database: "SYSTEMDB"}, "nightly 1")
	expectProblem(t, err, http.StatusConflict, first.ID)

	// It is remembered beyond the daemon's life, and the daemon is waited for.
	w.stopDaemon()
	early := w.beginProcess("backup", args...)
	select {
	case <-early.ended:
		t.Errorf("without a daemon it ends at once: %s", early.finish().stderr)
	case <-time.After(time.Second):
	}
	w.startDaemon()
	if third := early.finish().expect(t, 0).record(t); third.ID != first.ID {
		t.Errorf("after a restart the key started job %s, expected %s", third.ID, first.ID)
	}
	if rows := w.hana.catalog("HXE"); len(rows) != 1 {
		t.Errorf("HANA made %d backups: %+v", len(rows), rows)
	}
	w.stopDaemon()
}

// TestCancel ends a backup in the middle, by request and by Ctrl-C.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		store  func(*testing.T) *depot
		cancel func(w *world, client *httpapi.Client, v *verb, id string)
	}{
		{"by request, s3", openS3, func(w *world, client *httpapi.Client, _ *verb, id string) {
			if err := client.Cancel(w.t.Context(), id); err != nil {
				w.t.Error(err)
			}
		}},
		{"by Ctrl-C, local", openLocal, func(_ *world, _ *httpapi.Client, v *verb, _ string) { v.signal(syscall.SIGINT) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newSlowWorld(t, test.store(t))
			client := w.client()
			v := w.beginProcess("backup", "--database", "HXE")
			id := w.awaitJob(client)
			w.streaming(client, id, 6*mebibyte)
			test.cancel(w, client, v, id)
			record := v.finish().expect(t, 130).record(t)
			expectCause(t, record, job.StateCanceled, job.CodeCanceled)
			w.expectUnfinished()
			_, err := client.Backup(t.Context(), "HXE", job.Latest)
			expectProblem(t, err, http.StatusNotFound, "")

			w.hana.set("delay-write", "0s")
			w.expectAgreement(w.backUp("HXE"))
			w.stopDaemon()
		})
	}
}

// awaitJob waits for the first job of the daemon.
func (w *world) awaitJob(client *httpapi.Client) string {
	w.t.Helper()
	var id string
	eventually(w.t, "a job starts", func() bool {
		jobs, err := client.Jobs(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(jobs) > 0 {
			id = jobs[0].ID
		}
		return id != ""
	})
	return id
}

// expectUnfinished checks that the only backup has come to nothing: HANA says
// so and runs none, the store shows nothing, and no pipe is left.
func (w *world) expectUnfinished() {
	w.t.Helper()
	rows := w.hana.catalog("HXE")
	if len(rows) != 1 || !slices.Contains([]string{"canceled", "failed"}, rows[0].State) {
		w.t.Errorf("HANA's catalog: %+v, expected one backup that is canceled or failed", rows)
	}
	w.expectNothingStored()
	w.expectNoPipes()
}

// TestSignal ends the daemon as Kubernetes does, in the middle of a backup: it
// takes no new job, gives the running one its grace, then ends it cleanly.
func TestSignal(t *testing.T) {
	t.Parallel()
	w := newSlowWorld(t, openS3(t))
	client := w.client()
	v := w.beginProcess("backup", "--database", "HXE")
	id := w.awaitJob(client)
	w.streaming(client, id, 6*mebibyte)
	w.daemon.signal(syscall.SIGTERM)
	eventually(t, "the daemon refuses new jobs", func() bool {
		// Of the busy database: until the signal is seen, another one's is taken.
		_, err := client.StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, "")
		problem, is := errors.AsType[*httpapi.Problem](err)
		return is && problem.Status == http.StatusServiceUnavailable
	})
	record := v.finish().expect(t, 130).record(t)
	expectCause(t, record, job.StateCanceled, job.CodeCanceled)
	if status := w.daemon.wait(); status != 0 {
		t.Errorf("the daemon ended with %d, expected 0", status)
	}
	w.expectUnfinished()

	w.hana.set("delay-write", "0s")
	w.startDaemon()
	again, err := w.client().Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	record.Streams, again.Streams = nil, nil
	if diff := gocmp.Diff(record.State, again.State); diff != "" {
		t.Errorf("the job after a restart (-before +after):\n%s", diff)
	}
	w.expectAgreement(w.backUp("HXE"))
	w.stopDaemon()
}

// TestSignalLetsAJobFinish ends the daemon in the middle of a backup that needs
// less than the grace: the backup is completed.
func TestSignalLetsAJobFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(20 * mebibyte)}},
		Profile:   hanasim.Dotname, WriteSize: 256 << 10,
	}, openLocal(t), map[string]any{"shutdownGrace": "1m"})
	w.hana.set("delay-write", "20ms")
	client := w.client()
	v := w.beginProcess("backup", "--database", "HXE")
	w.streaming(client, w.awaitJob(client), mebibyte)
	w.stopDaemon()
	record := v.finish().expect(t, 0).record(t)
	w.startDaemon()
	w.expectAgreement(record)
	w.stopDaemon()
}
