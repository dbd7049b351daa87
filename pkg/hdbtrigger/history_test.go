package hdbtrigger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	viewCatalog = "SYS_DATABASES.M_BACKUP_CATALOG"
	viewFiles   = "SYS_DATABASES.M_BACKUP_CATALOG_FILES"
	viewBroken  = "SYS_DATABASES.M_BACKUP_HISTORY_BROKEN"

	firstID = int64(1755519941920)
)

// entryOf is a catalog row that ended a second after it began.
func entryOf(database, state, kind string, id int64) []any {
	return catalogRow(database, "", state, kind, id, time.UnixMilli(id+1000).UTC())
}

// fileOf is a row of the catalog's files, for the entry that entryOf makes.
func fileOf(database string, id, volume int64, source, path string, redo, first, last, commit any) []any {
	return []any{database, id + 1, id, volume, source, "host1", "indexserver", int64(4096), "file", path, nil, redo, first, last, commit}
}

func TestBase(t *testing.T) {
	const complete, differential, incremental = "complete data backup", "differential data backup", "incremental data backup"
	tests := []struct {
		name string
		kind backup.Kind
		rows [][]any
		want int64 // after firstID; -1 for none
	}{
		{"nothing was ever backed up", backup.KindIncremental, nil, -1},
		{"the newest, in any order", backup.KindDifferential, [][]any{
			entryOf("HXE", "successful", complete, firstID+2), entryOf("HXE", "successful", complete, firstID+9), entryOf("HXE", "successful", complete, firstID),
		}, 9},
		{"a differential one builds on a complete one", backup.KindDifferential, [][]any{
			entryOf("HXE", "successful", complete, firstID), entryOf("HXE", "successful", differential, firstID+1), entryOf("HXE", "successful", incremental, firstID+2),
		}, 0},
		{"an incremental one on a differential one", backup.KindIncremental, [][]any{
			entryOf("HXE", "successful", complete, firstID), entryOf("HXE", "successful", differential, firstID+1),
		}, 1},
		{"an incremental one on an incremental one", backup.KindIncremental, [][]any{
			entryOf("HXE", "successful", complete, firstID), entryOf("HXE", "successful", incremental, firstID+1),
		}, 1},
		{"only on what succeeded", backup.KindIncremental, [][]any{
			entryOf("HXE", "successful", complete, firstID), entryOf("HXE", "failed", complete, firstID+1), entryOf("HXE", "canceled", incremental, firstID+2),
			entryOf("HXE", "running", complete, firstID+3), entryOf("HXE", "prepared", "data snapshot", firstID+4),
		}, 0},
		{"a log backup is no base", backup.KindIncremental, [][]any{entryOf("HXE", "successful", backup.EntryLog, firstID)}, -1},
		{"another tenant's is no base", backup.KindDifferential, [][]any{entryOf("OTHER", "successful", complete, firstID)}, -1},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.set(viewCatalog, tt.rows...)
			hana.set(viewFiles,
				fileOf("HXE", firstID+tt.want, 3, "volume", "/hana/backup/PS", int64(113012992), nil, nil, nil),
				fileOf("HXE", firstID+77, 3, "volume", "/hana/backup/other", nil, nil, nil, nil))
			got, err := trigger.Base(t.Context(), "hxe", tt.kind)
			if tt.want < 0 {
				if !errors.Is(err, backup.ErrNotFound) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.BackupID != firstID+tt.want || len(got.Files) != 1 || got.Files[0].RedoLogPosition != 113012992 {
				t.Errorf("%+v, expected backup id %d and its file", got, firstID+tt.want)
			}
		})
	}
	t.Run("a complete backup has none", func(t *testing.T) {
		_, err := trigger.Base(t.Context(), "HXE", backup.KindComplete)
		if err == nil || errors.Is(err, backup.ErrNotFound) || !strings.Contains(err.Error(), `kind "complete"`) {
			t.Errorf("%v", err)
		}
	})
}

func TestBreaks(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	row := func(database string, utc, reason, message any) []any {
		return []any{database, at.Add(-time.Hour), utc, "host1", "indexserver", firstID, reason, message}
	}
	tests := []struct {
		name    string
		rows    [][]any
		want    []backup.Break
		is      error
		mention string
	}{
		{"never", nil, nil, nil, ""},
		{"another tenant's", [][]any{row("OTHER", at, "log mode", "")}, nil, nil, ""},
		{
			"all, by UTC",
			[][]any{row("HXE", at.Add(-time.Second), "old", ""), row("HXE", at, "log mode overwrite", "changed"), row("HXE", at.Add(-time.Minute), "older", nil)},
			[]backup.Break{
				{At: at.Add(-time.Minute), Reason: "older"},
				{At: at.Add(-time.Second), Reason: "old"},
				{At: at, Reason: "log mode overwrite", Message: "changed"},
			},
			nil, "",
		},
		{"no message", [][]any{row("HXE", at, "log mode overwrite", nil)}, []backup.Break{{At: at, Reason: "log mode overwrite"}}, nil, ""},
		{"no time", [][]any{row("HXE", nil, "log mode overwrite", "")}, nil, nil, "column UTC_TIME is NULL"},
		{"no reason", [][]any{row("HXE", at, nil, "")}, nil, nil, "column REASON is NULL"},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.set(viewBroken, tt.rows...)
			got, err := trigger.Breaks(t.Context(), "HXE")
			expectError(t, err, tt.is, tt.mention)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// expectError wants an error that is one and mentions something, or none when
// neither is given.
func expectError(t *testing.T, err, is error, mention string) {
	t.Helper()
	switch {
	case is == nil && mention == "":
		if err != nil {
			t.Error(err)
		}
	case err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), mention):
		t.Errorf("%v, expected %v and %q", err, is, mention)
	}
}

// A HANA before 2.00.040 has no such view, which must not stop anybody; any
// other refusal must, for silence would pass for an unbroken history.
func TestBreaksWithoutTheView(t *testing.T) {
	for code, found := range map[int]bool{259: false, 258: true} {
		hana, config := startScripted(t, nil)
		hana.refuse(viewBroken, code)
		core, logs := observer.New(zapcore.DebugLevel)
		trigger, err := New(config, zap.New(core), NewMetrics(prometheus.NewRegistry()))
		if err != nil {
			t.Fatal(err)
		}
		_, err = trigger.Breaks(t.Context(), "HXE")
		if (err != nil) != found {
			t.Errorf("error %d: %v", code, err)
		}
		if said := logs.FilterMessageSnippet("backup history").FilterLevelExact(zapcore.DebugLevel).Len(); (said == 1) == found {
			t.Errorf("error %d: %d lines", code, said)
		}
		if err := trigger.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLogs(t *testing.T) {
	hana, config := startScripted(t, nil)
	commit := time.Date(2025, 8, 18, 12, 25, 40, 123_456_700, time.UTC)
	hana.set(viewCatalog,
		entryOf("HXE", "successful", backup.EntryLog, firstID+30),
		catalogRow("HXE", "", "running", backup.EntryLog, firstID+40, nil),
		entryOf("HXE", "successful", backup.EntryLog, firstID+10),
		entryOf("HXE", "failed", backup.EntryLog, firstID+20),
		entryOf("HXE", "successful", "complete data backup", firstID+15),
		entryOf("OTHER", "successful", backup.EntryLog, firstID+16),
		entryOf("HXE", "successful", backup.EntryLog, firstID+9),
		entryOf("HXE", "successful", backup.EntryLog, firstID+41))
	hana.set(viewFiles,
		fileOf("HXE", firstID+30, 0, "catalog", "/log/c", nil, nil, nil, nil),
		fileOf("HXE", firstID+10, 3, "volume", "/log/b", nil, int64(100), int64(200), commit),
		fileOf("HXE", firstID+30, 2, "volume", "/log/a", nil, int64(7), int64(9), commit.Add(time.Second)),
		fileOf("OTHER", firstID+10, 3, "volume", "/log/x", nil, int64(1), int64(2), commit),
		fileOf("HXE", firstID+15, 3, "volume", "/data/x", int64(100), nil, nil, nil))
	trigger := newTrigger(t, config)
	got, err := trigger.Logs(t.Context(), "hxe", firstID+10, firstID+40)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(id int64, state string, files ...backup.CatalogFile) backup.CatalogEntry {
		e := backup.CatalogEntry{
			EntryID: id + 1, BackupID: id, EntryType: backup.EntryLog, State: state, Message: "<ok>",
			StartedAt: time.UnixMilli(id).UTC(), EndedAt: time.UnixMilli(id + 1000).UTC(), Files: append([]backup.CatalogFile{}, files...),
		}
		if state == "running" {
			e.EndedAt = time.Time{}
		}
		return e
	}
	file := func(volume int, source, path string, first, last int64, commit time.Time) backup.CatalogFile {
		return backup.CatalogFile{
			VolumeID: volume, SourceType: source, Service: "indexserver", Host: "host1", Size: 4096, DestinationType: "file", Path: path,
			FirstLogPosition: first, LastLogPosition: last, LastCommit: commit,
		}
	}
	want := []backup.CatalogEntry{
		entry(firstID+10, "successful", file(3, "volume", "/log/b", 100, 200, commit)),
		entry(firstID+20, "failed"),
		entry(firstID+30, "successful", file(0, "catalog", "/log/c", 0, 0, time.Time{}), file(2, "volume", "/log/a", 7, 9, commit.Add(time.Second))),
		entry(firstID+40, "running"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, bounds := range map[string][2]int64{"none there": {1, firstID}, "backwards": {firstID + 40, firstID}} {
		if got, err := trigger.Logs(t.Context(), "HXE", bounds[0], bounds[1]); err != nil || len(got) != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Whatever is wrong with one row must not be taken for a gap or for its absence.
func TestLogsWithNulls(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	row := entryOf("HXE", "successful", backup.EntryLog, firstID)
	hana.set(viewCatalog, row)
	hana.set(viewFiles, fileOf("HXE", firstID, 3, "volume", "/log/a", nil, int64(9), int64(7), nil))
	_, err := trigger.Logs(t.Context(), "HXE", 0, maxBackupID)
	if err == nil || !strings.Contains(err.Error(), "column LAST_REDO_LOG_POSITION") || !strings.Contains(err.Error(), "1755519941920") {
		t.Errorf("%v", err)
	}
	row[8] = nil
	if _, err := trigger.Logs(t.Context(), "HXE", 0, maxBackupID); err == nil || !strings.Contains(err.Error(), "column STATE_NAME is NULL") {
		t.Errorf("%v", err)
	}
}

// Many entries are one question, not one for each.
func TestLogsAskOnce(t *testing.T) {
	const entries = 1000
	hana, config := startScripted(t, nil)
	var rows, files [][]any
	for i := range int64(entries) {
		id := firstID + (i*7919)%entries // in no order
		rows = append(rows, entryOf("HXE", "successful", backup.EntryLog, id))
		files = append(files,
			fileOf("HXE", id, 3, "volume", "/log/a", nil, id, id+1, time.UnixMilli(id).UTC()),
			fileOf("HXE", id, 0, "catalog", "/log/b", nil, nil, nil, nil))
	}
	hana.set(viewCatalog, rows...)
	hana.set(viewFiles, files...)
	trigger := newTrigger(t, config)
	got, err := trigger.Logs(t.Context(), "HXE", firstID, firstID+entries)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != entries {
		t.Fatalf("%d entries, expected %d", len(got), entries)
	}
	for i, e := range got {
		if e.BackupID != firstID+int64(i) || len(e.Files) != 2 || e.Files[1].FirstLogPosition != e.BackupID {
			t.Fatalf("entry %d: %+v", i, e)
		}
	}
	if asked := testutil.ToFloat64(trigger.metrics.statements.WithLabelValues(kindSelect, "ok")); asked != 1 {
		t.Errorf("%v questions, expected one", asked)
	}
}

func TestHistorianRefusesNames(t *testing.T) {
	_, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	const name = "H'XE"
	_, errBase := trigger.Base(t.Context(), name, backup.KindIncremental)
	_, errBroken := trigger.Breaks(t.Context(), name)
	_, errLogs := trigger.Logs(t.Context(), name, 1, 2)
	for what, err := range map[string]error{"base": errBase, "broken": errBroken, "logs": errLogs} {
		if err == nil || errors.Is(err, backup.ErrNotFound) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The second attempt of a job has a comment of its own, "<job id>_2", which the
// first is not to be confused with: neither by a wildcard nor by a beginning.
func TestEntryOfASecondAttempt(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	first := samplePlan(nil)
	second := samplePlan(func(p *backup.Plan) { p.Attempt = 2 })
	row := func(plan backup.Plan, state string, id int64) []any {
		return catalogRow("HXE", plan.Comment(), state, "complete data backup", id, time.UnixMilli(id+1).UTC())
	}
	hana.set(viewCatalog, row(second, "successful", firstID+5))
	if _, err := trigger.Entry(t.Context(), first); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("only the second is there: %v", err)
	}
	hana.set(viewCatalog, row(second, "successful", firstID+5), row(first, "failed", firstID))
	for plan, want := range map[*backup.Plan]int64{&first: firstID, &second: firstID + 5} {
		entry, err := trigger.Entry(t.Context(), *plan)
		if err != nil || entry.BackupID != want || entry.Comment != plan.Comment() {
			t.Errorf("%s: %+v, %v", plan.Comment(), entry, err)
		}
	}
	if err := trigger.Backup(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	sent := hana.statements()
	if len(sent) != 1 || !strings.HasSuffix(sent[0], " COMMENT '"+first.JobID+"_2'") {
		t.Errorf("%q", sent)
	}
}
