package hdbtrigger

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestBackupAnswers(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	if err := trigger.Backup(t.Context(), samplePlan(nil)); err != nil {
		t.Error(err)
	}
	text := "backup could not be completed, [2000008] Error during asynchronous file transfer (io_getevents), rc=32: Broken pipe"
	hana.execute = func(context.Context, string) error { return &wire.Error{Code: 447, State: "HY000", Text: text} }
	err := trigger.Backup(t.Context(), samplePlan(nil))
	got, found := errors.AsType[*backup.HANAError](err)
	if !found {
		t.Fatalf("%v is not HANA's", err)
	}
	want := &backup.HANAError{Code: 447, Inner: []int{2000008}, Text: text, Statement: "BACKUP DATA"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for result, want := range map[string]float64{"ok": 1, "error": 1, "unknown": 0} {
		if n := testutil.ToFloat64(trigger.metrics.statements.WithLabelValues(kindBackup, result)); n != want {
			t.Errorf("metric: %v statements with result %s, expected %v", n, result, want)
		}
	}
	if code := testutil.ToFloat64(trigger.metrics.lastError); code != 447 {
		t.Errorf("metric: last error %v", code)
	}
}

// TestLostConnectionSendsNothingTwice is the reason for *sql.Conn: on *sql.DB
// the same cut made three backups.
func TestLostConnectionSendsNothingTwice(t *testing.T) {
	hana, config := startScripted(t, nil)
	hana.execute = func(context.Context, string) error { return wire.ErrHangUp }
	trigger := newTrigger(t, config)
	err := trigger.Backup(t.Context(), samplePlan(nil))
	if _, answered := errors.AsType[*backup.HANAError](err); err == nil || answered {
		t.Errorf("%v: expected an unknown answer", err)
	}
	if sent := hana.statements(); len(sent) != 1 {
		t.Errorf("sent %d times", len(sent))
	}
	if n := testutil.ToFloat64(trigger.metrics.statements.WithLabelValues(kindBackup, "unknown")); n != 1 {
		t.Errorf("metric: %v statements without an answer, expected 1", n)
	}
}

func TestEndOfContextAbandonsTheWaitOnly(t *testing.T) {
	hana, config := startScripted(t, nil)
	started, clientGone, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	hana.execute = func(ctx context.Context, _ string) error {
		close(started)
		select {
		case <-ctx.Done():
			close(clientGone)
		case <-release:
		}
		return ctx.Err()
	}
	trigger := newTrigger(t, config)
	cause := errors.New("somebody asked for it")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- trigger.Backup(ctx, samplePlan(nil)) }()
	<-started
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Error(err)
	}
	// The connection is still good: the other one answers meanwhile.
	if err := trigger.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-clientGone:
		t.Error("the connection was closed under the backup")
	default:
	}
	close(release)
	poll(t, func() bool {
		return testutil.ToFloat64(trigger.metrics.statements.WithLabelValues(kindBackup, "ok")) == 1
	})
}

func TestCloseEndsAStatement(t *testing.T) {
	hana, config := startScripted(t, nil)
	started := make(chan struct{})
	hana.execute = func(ctx context.Context, _ string) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}
	trigger := newTrigger(t, config)
	done := make(chan error, 1)
	go func() { done <- trigger.Backup(t.Context(), samplePlan(nil)) }()
	<-started
	if err := trigger.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v", err)
	}
}

func TestWrongPasswordIsSentOnce(t *testing.T) {
	hana, config := startScripted(t, nil)
	hana.setPassword("changed")
	trigger := newTrigger(t, config)
	calls := map[string]func() error{
		"ping":   func() error { return trigger.Ping(t.Context()) },
		"backup": func() error { return trigger.Backup(t.Context(), samplePlan(nil)) },
		"plan": func() error {
			_, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete)
			return err
		},
	}
	for range 3 {
		for name, call := range calls {
			err := call()
			got, found := errors.AsType[*backup.HANAError](err)
			if !found || got.Code != 10 || got.Statement != "CONNECT" {
				t.Errorf("%s: %v", name, err)
			}
			if !strings.Contains(Hint(err), "password file") {
				t.Errorf("%s: hint %q", name, Hint(err))
			}
		}
	}
	if n := hana.loginCount(); n != 1 {
		t.Errorf("%d logins, expected one: HANA would lock the user", n)
	}
	if err := os.WriteFile(config.PasswordFile, []byte("changed\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := trigger.Ping(t.Context()); err != nil {
		t.Errorf("after the file was corrected: %v", err)
	}
	if n := hana.loginCount(); n != 2 {
		t.Errorf("%d logins, expected two", n)
	}
}

func TestConcurrentCallersSendAWrongPasswordOnce(t *testing.T) {
	hana, config := startScripted(t, nil)
	hana.setPassword("changed")
	trigger := newTrigger(t, config)
	done := make(chan error)
	for range 8 {
		go func() { done <- trigger.Ping(t.Context()) }()
	}
	for range 8 {
		if err := <-done; err == nil {
			t.Error("no error")
		}
	}
	if n := hana.loginCount(); n != 1 {
		t.Errorf("%d logins, expected one", n)
	}
}

func TestPasswordRotation(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, password := range []string{"secret", "next", "the one after"} {
		hana.setPassword(password)
		if err := os.WriteFile(config.PasswordFile, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := trigger.Backup(t.Context(), samplePlan(nil)); err != nil { // always a new connection
			t.Errorf("%q: %v", password, err)
		}
	}
	if n := hana.loginCount(); n != 3 {
		t.Errorf("%d logins, expected one for each statement", n)
	}
}

func TestEntry(t *testing.T) {
	hana, config := startScripted(t, nil)
	plan := samplePlan(nil)
	const id = 1755519941920
	started := time.UnixMilli(id).UTC()
	ended := started.Add(7285 * time.Millisecond)
	hana.set("SYS_DATABASES.M_BACKUP_CATALOG",
		catalogRow("HXE", "another job", "successful", "complete data backup", id-1, ended),
		catalogRow("HXE", plan.JobID, "successful", "complete data backup", id, ended),
		catalogRow("OTHER", plan.JobID, "failed", "complete data backup", id+9, ended))
	file := func(database string, entry, volume int64, source string) []any {
		return []any{database, entry, int64(id), volume, source, "host1", "indexserver", int64(4096), "file", "/hana/backup/PS", nil, nil, nil, nil, nil}
	}
	hana.set("SYS_DATABASES.M_BACKUP_CATALOG_FILES",
		file("HXE", id+1, 3, "volume"), file("HXE", id+1, 0, "topology"), file("HXE", id, 3, "volume"), file("OTHER", id+1, 3, "volume"))
	got, err := newTrigger(t, config).Entry(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	files := func(volume int, source string) backup.CatalogFile {
		return backup.CatalogFile{
			VolumeID: volume, SourceType: source, Service: "indexserver", Host: "host1", Size: 4096, DestinationType: "file", Path: "/hana/backup/PS",
		}
	}
	want := backup.CatalogEntry{
		EntryID: id + 1, BackupID: id, EntryType: "complete data backup", State: backup.CatalogSuccessful, Message: "<ok>", Comment: plan.JobID,
		StartedAt: started, EndedAt: ended, Files: []backup.CatalogFile{files(0, "topology"), files(3, "volume")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEntryThatIsNotThere(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	plan := samplePlan(nil)
	if _, err := trigger.Entry(t.Context(), plan); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("%v", err)
	}
	hana.set("SYS_DATABASES.M_BACKUP_CATALOG",
		catalogRow("HXE", plan.JobID, "successful", "complete data backup", 1755519941920, time.UnixMilli(1755519941921).UTC()),
		catalogRow("HXE", plan.JobID, "running", "complete data backup", 1755519941999, nil))
	_, err := trigger.Entry(t.Context(), plan)
	if err == nil || errors.Is(err, backup.ErrNotFound) || !strings.Contains(err.Error(), "1755519941920") || !strings.Contains(err.Error(), "1755519941999") {
		t.Errorf("two of them: %v", err)
	}
}

func TestCancel(t *testing.T) {
	plan := samplePlan(nil)
	const id = 1755519941920
	tests := []struct {
		name string
		rows [][]any
		want []string
	}{
		{"running", [][]any{catalogRow("HXE", plan.JobID, "running", "complete data backup", id, nil)}, []string{"BACKUP CANCEL 1755519941920"}},
		{"none", nil, nil},
		{"somebody else's", [][]any{catalogRow("HXE", "nightly", "running", "complete data backup", id, nil)}, nil},
		{"ended", [][]any{catalogRow("HXE", plan.JobID, "failed", "complete data backup", id, nil)}, nil},
		{"being canceled", [][]any{catalogRow("HXE", plan.JobID, "cancel pending", "complete data backup", id, nil)}, nil},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.reset()
			hana.set("SYS_DATABASES.M_BACKUP_CATALOG", tt.rows...)
			if err := trigger.Cancel(t.Context(), plan); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, hana.statements()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCancelThatHANARefuses(t *testing.T) {
	plan := samplePlan(nil)
	for _, after := range []string{"running", "successful"} {
		t.Run("then "+after, func(t *testing.T) {
			hana, config := startScripted(t, nil)
			row := func(state string) {
				ended := time.UnixMilli(1755519941921).UTC()
				hana.set("SYS_DATABASES.M_BACKUP_CATALOG", catalogRow("HXE", plan.JobID, state, "complete data backup", 1755519941920, ended))
			}
			row("running")
			hana.execute = func(context.Context, string) error {
				row(after)
				return &wire.Error{Code: 2, State: "HY000", Text: "general error"}
			}
			err := newTrigger(t, config).Cancel(t.Context(), plan)
			if (err == nil) != (after == "successful") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestRecover(t *testing.T) {
	const stop, start = `ALTER SYSTEM STOP DATABASE "HXE"`, `ALTER SYSTEM START DATABASE "HXE"`
	const recovery = `RECOVER DATA FOR "HXE" USING FILE ('/hana/backup/PS_20260102') CLEAR LOG`
	failure := func(code int) error { return &wire.Error{Code: code, Text: "no", State: "HY000"} }
	tests := []struct {
		name    string
		status  string            // of the tenant before
		becomes map[string]string // by statement, also when it fails
		fails   map[string]error
		want    []string
		mention string // of the error; "" for none
	}{
		{"RECOVER starts the tenant", "YES", map[string]string{stop: "NO", recovery: "YES"}, nil, []string{stop, recovery}, ""},
		{"RECOVER leaves it stopped", "YES", map[string]string{stop: "NO", start: "YES"}, nil, []string{stop, recovery, start}, ""},
		{"stopped already", "NO", map[string]string{recovery: "YES"}, nil, []string{recovery}, ""},
		{
			"START comes too late", "YES",
			map[string]string{stop: "NO", start: "YES"},
			map[string]error{start: failure(2)},
			[]string{stop, recovery, start},
			"",
		},
		{
			"START fails", "YES",
			map[string]string{stop: "NO"},
			map[string]error{start: failure(2)},
			[]string{stop, recovery, start},
			"which is stopped",
		},
		{
			"RECOVER fails", "YES",
			map[string]string{stop: "NO"},
			map[string]error{recovery: failure(448)},
			[]string{stop, recovery},
			"left stopped",
		},
		{"connection lost", "YES", map[string]string{stop: "NO"}, map[string]error{recovery: wire.ErrHangUp}, []string{stop, recovery}, "not known"},
		{"STOP fails", "YES", nil, map[string]error{stop: failure(258)}, []string{stop}, "nothing was recovered"},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.reset()
			status := func(s string) { hana.set("SYS.M_DATABASES", []any{"HXE", "", s, "", "", "", ""}) }
			status(tt.status)
			hana.execute = func(_ context.Context, text string) error {
				if s := tt.becomes[text]; s != "" {
					status(s)
				}
				return tt.fails[text]
			}
			err := recoverTenant(t.Context(), trigger, samplePlan(nil))
			if (tt.mention == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.mention)) {
				t.Errorf("error %v, expected %q in it", err, tt.mention)
			}
			if diff := cmp.Diff(tt.want, hana.statements()); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("unknown tenant", func(t *testing.T) {
		hana.reset()
		err := recoverTenant(t.Context(), trigger, samplePlan(func(p *backup.Plan) { p.Database = "NOPE" }))
		if !errors.Is(err, backup.ErrNotFound) || len(hana.statements()) > 0 {
			t.Errorf("%v, sent %q", err, hana.statements())
		}
	})
}

// recoverTenant does what a restore does.
func recoverTenant(ctx context.Context, trigger *Trigger, plan backup.Plan) error {
	for _, step := range []func(context.Context, backup.Plan) error{
		trigger.CheckRecovery, trigger.Stop, trigger.Recover, trigger.Start,
	} {
		if err := step(ctx, plan); err != nil {
			return err
		}
	}
	return nil
}

// poll waits until done, or fails.
func poll(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 10 s")
		}
		time.Sleep(time.Millisecond)
	}
}
