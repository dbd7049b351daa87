package hdbtrigger

import (
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func is[T any](value T) sql.Null[T] { return sql.Null[T]{V: value, Valid: true} }

func sampleEntryRow() entryRow {
	started := time.Date(2025, 8, 18, 12, 25, 41, 0, time.UTC)
	return entryRow{
		entryID: is(int64(7)), backupID: is(int64(1755519941920)), kind: is("complete data backup"), state: is(backup.CatalogSuccessful),
		text: is("<ok>"), remark: is("job-1"),
		started: sql.NullTime{Time: started, Valid: true}, ended: sql.NullTime{Time: started.Add(time.Minute), Valid: true},
	}
}

func sampleFileRow() fileRow {
	return fileRow{
		volume: is(int64(3)), size: is(int64(4096)), source: is(backup.SourceVolume), service: is("indexserver"), host: is("host1"),
		destination: is("file"), path: is("/hana/backup/PS_databackup_3_1"),
	}
}

// expectColumn wants an error that names the column, or none for "".
func expectColumn(t *testing.T, err error, column string) {
	t.Helper()
	if column == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	wrong, found := errors.AsType[*columnError](err)
	if !found || wrong.column != column || !strings.Contains(err.Error(), column) {
		t.Errorf("got %v, expected an error about %s", err, column)
	}
}

func TestEntryRow(t *testing.T) {
	tests := []struct {
		name   string
		change func(*entryRow)
		column string // that is wrong; "" for none
	}{
		{"good", func(*entryRow) {}, ""},
		{"no entry id", func(r *entryRow) { r.entryID.Valid = false }, "ENTRY_ID"},
		{"entry id 0", func(r *entryRow) { r.entryID.V = 0 }, "ENTRY_ID"},
		{"no backup id", func(r *entryRow) { r.backupID.Valid = false }, "BACKUP_ID"},
		{"negative backup id", func(r *entryRow) { r.backupID.V = -1 }, "BACKUP_ID"},
		{"huge backup id", func(r *entryRow) { r.backupID.V = math.MaxInt64 }, "BACKUP_ID"},
		{"no type", func(r *entryRow) { r.kind.Valid = false }, "ENTRY_TYPE_NAME"},
		{"no state", func(r *entryRow) { r.state.Valid = false }, "STATE_NAME"},
		{"blank state", func(r *entryRow) { r.state.V = " " }, "STATE_NAME"},
		{"state with a control character", func(r *entryRow) { r.state.V = "successful\x00" }, "STATE_NAME"},
		{"a state of another release", func(r *entryRow) { r.state.V = "interrupted" }, ""},
		{"comment with an escape", func(r *entryRow) { r.remark.V = "\x1b[2J" }, "COMMENT"},
		{"no start", func(r *entryRow) { r.started.Valid = false }, "UTC_START_TIME"},
		{"successful without an end", func(r *entryRow) { r.ended.Valid = false }, "UTC_END_TIME"},
		{"successful with an empty end", func(r *entryRow) { r.ended.Time = time.Time{} }, "UTC_END_TIME"},
		{"running without an end", func(r *entryRow) { r.state.V, r.ended = backup.CatalogRunning, sql.NullTime{} }, ""},
		{"failed without an end", func(r *entryRow) { r.state.V, r.ended = backup.CatalogFailed, sql.NullTime{} }, ""},
		{"the clock was set back", func(r *entryRow) { r.ended.Time = r.started.Time.Add(-time.Hour) }, ""},
		{"no message", func(r *entryRow) { r.text.Valid = false; r.text.V = "" }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row := sampleEntryRow()
			tt.change(&row)
			_, err := row.entry()
			expectColumn(t, err, tt.column)
		})
	}
}

func TestFileRow(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fileRow)
		column string
	}{
		{"good", func(*fileRow) {}, ""},
		{"empty file", func(r *fileRow) { r.size.V = 0 }, ""},
		{"the topology", func(r *fileRow) { r.source.V, r.volume.V = backup.SourceTopology, 0 }, ""},
		{"no type", func(r *fileRow) { r.source.Valid = false }, "SOURCE_TYPE_NAME"},
		{"no volume", func(r *fileRow) { r.volume.Valid = false }, "SOURCE_ID"},
		{"negative volume", func(r *fileRow) { r.volume.V = -1 }, "SOURCE_ID"},
		{"a volume that does not fit", func(r *fileRow) { r.volume.V = 1 << 32 }, "SOURCE_ID"},
		{"no size", func(r *fileRow) { r.size.Valid = false }, "BACKUP_SIZE"},
		{"negative size", func(r *fileRow) { r.size.V = -4096 }, "BACKUP_SIZE"},
		{"huge size", func(r *fileRow) { r.size.V = 1<<60 + 1 }, "BACKUP_SIZE"},
		{"no path", func(r *fileRow) { r.path.Valid = false }, "DESTINATION_PATH"},
		{"empty path", func(r *fileRow) { r.path.V = "" }, "DESTINATION_PATH"},
		{"path with a line end", func(r *fileRow) { r.path.V = "/a\nb" }, "DESTINATION_PATH"},
		{"path that is no text", func(r *fileRow) { r.path.V = "/a\xff" }, "DESTINATION_PATH"},
		{"no destination", func(r *fileRow) { r.destination.Valid = false }, "DESTINATION_TYPE_NAME"},
		{"host with an escape", func(r *fileRow) { r.host.V = "\x1b]0;x\a" }, "HOST"},
		{"service with a tab", func(r *fileRow) { r.service.V = "index\tserver" }, "SERVICE_TYPE_NAME"},
		{"positions of the log", func(r *fileRow) { r.redo, r.first, r.last = is(int64(7)), is(int64(5)), is(int64(9)) }, ""},
		{"a log backup that is empty", func(r *fileRow) { r.first, r.last = is(int64(5)), is(int64(5)) }, ""},
		{"negative position", func(r *fileRow) { r.redo = is(int64(-1)) }, "REDO_LOG_POSITION"},
		{"negative first position", func(r *fileRow) { r.first, r.last = is(int64(-1)), is(int64(1)) }, "FIRST_REDO_LOG_POSITION"},
		{"negative last position", func(r *fileRow) { r.first, r.last = is(int64(0)), is(int64(-1)) }, "LAST_REDO_LOG_POSITION"},
		{"positions that run backwards", func(r *fileRow) { r.first, r.last = is(int64(2)), is(int64(1)) }, "LAST_REDO_LOG_POSITION"},
		{"a first position only", func(r *fileRow) { r.first = is(int64(0)) }, "LAST_REDO_LOG_POSITION"},
		{"a last position only", func(r *fileRow) { r.last = is(int64(2)) }, "FIRST_REDO_LOG_POSITION"},
		{"the backup of the catalog may lack all of it", func(r *fileRow) { *r = fileRow{source: is(backup.SourceCatalog)} }, ""},
		{"but not have nonsense", func(r *fileRow) { *r = fileRow{source: is(backup.SourceCatalog), size: is(int64(-1))} }, "BACKUP_SIZE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row := sampleFileRow()
			tt.change(&row)
			_, err := row.file()
			expectColumn(t, err, tt.column)
		})
	}
}

// Over the wire NULL arrives as NULL and not as a zero.
func TestCatalogWithNulls(t *testing.T) {
	const id = 1755519941920
	plan := samplePlan(nil)
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	good := catalogRow("HXE", plan.JobID, "successful", "complete data backup", id, time.UnixMilli(id+1).UTC())
	file := []any{"HXE", int64(id + 1), int64(id), int64(3), "volume", "host1", "indexserver", int64(4096), "file", "/hana/backup/PS", nil, nil, nil, nil, nil}
	without := func(row []any, at int) []any {
		row = slices.Clone(row)
		row[at] = nil
		return row
	}
	for _, tt := range []struct {
		name      string
		row, file []any
		mention   string
	}{
		{"complete", good, file, ""},
		{"no backup id", without(good, 3), file, "column BACKUP_ID is NULL"},
		{"no start", without(good, 5), file, "column UTC_START_TIME is NULL"},
		{"no end", without(good, 7), file, "column UTC_END_TIME is NULL"},
		{"no state", without(good, 8), file, "column STATE_NAME is NULL"},
		{"no volume", good, without(file, 3), "column SOURCE_ID is NULL"},
		{"no size", good, without(file, 7), "column BACKUP_SIZE is NULL"},
		{"no path", good, without(file, 9), "column DESTINATION_PATH is NULL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hana.set("SYS_DATABASES.M_BACKUP_CATALOG", tt.row)
			hana.set("SYS_DATABASES.M_BACKUP_CATALOG_FILES", tt.file)
			_, err := trigger.Entry(t.Context(), plan)
			if (tt.mention == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.mention)) {
				t.Errorf("got %v, expected %q", err, tt.mention)
			}
		})
	}
}

// FuzzCatalogRows: whatever the catalog holds, a row is refused with the name of
// a column, or what comes of it is what was there and can be judged.
func FuzzCatalogRows(f *testing.F) {
	f.Add(int64(7), int64(1755519941920), "complete data backup", "successful", "job-1", int64(1755519941), int64(1755519999), uint16(0))
	f.Add(int64(0), int64(-1), "", " ", "\x1b[0m", int64(math.MinInt64), int64(math.MaxInt64), uint16(0xffff))
	f.Add(int64(3), int64(1<<60), "volume", "/hana/backup/PS_databackup_3_1", "file", int64(0), int64(0), uint16(5))
	f.Fuzz(func(t *testing.T, first, second int64, a, b, c string, started, ended int64, nulls uint16) {
		bit := 0
		valid := func() bool { bit++; return nulls&(1<<(bit-1)) == 0 }
		text := func(s string) sql.Null[string] { return sql.Null[string]{V: s, Valid: valid()} }
		count := func(n int64) sql.Null[int64] { return sql.Null[int64]{V: n, Valid: valid()} }
		moment := func(n int64) sql.NullTime { return sql.NullTime{Time: time.Unix(n, 0).UTC(), Valid: valid()} }

		row := entryRow{count(first), count(second), text(a), text(b), text(c), text(c), moment(started), moment(ended)}
		checkFuzzedEntry(t, row)
		bit = 0
		checkFuzzedFile(t, fileRow{
			count(first), count(second), text(a), text(c), text(c), text(c), text(b),
			count(first), count(second), count(started), moment(ended),
		})
		bit = 0
		checkFuzzedBreak(t, breakRow{moment(started), text(a), text(b)})
	})
}

func checkFuzzedEntry(t *testing.T, row entryRow) {
	t.Helper()
	e, err := row.entry()
	if err != nil {
		expectAnyColumn(t, err, []string{"ENTRY_ID", "BACKUP_ID", "ENTRY_TYPE_NAME", "STATE_NAME", "COMMENT", "UTC_START_TIME", "UTC_END_TIME"})
		return
	}
	if e.EntryID < 1 || e.BackupID < 1 || e.StartedAt.IsZero() || (e.State == backup.CatalogSuccessful && e.EndedAt.IsZero()) {
		t.Errorf("%+v", e)
	}
	if e.EntryID != row.entryID.V || e.BackupID != row.backupID.V || e.State != row.state.V || !e.StartedAt.Equal(row.started.Time) {
		t.Errorf("%+v is not %+v", e, row)
	}
	expectPrintable(t, e.EntryType, e.State, e.Comment)
}

func checkFuzzedFile(t *testing.T, row fileRow) {
	t.Helper()
	file, err := row.file()
	if err != nil {
		expectAnyColumn(t, err, []string{
			"SOURCE_TYPE_NAME", "SOURCE_ID", "BACKUP_SIZE", "SERVICE_TYPE_NAME", "HOST", "DESTINATION_TYPE_NAME", "DESTINATION_PATH",
			"REDO_LOG_POSITION", "FIRST_REDO_LOG_POSITION", "LAST_REDO_LOG_POSITION",
		})
		return
	}
	streamed := file.SourceType == backup.SourceVolume || file.SourceType == backup.SourceTopology
	if streamed && (!row.volume.Valid || !row.size.Valid || file.Path == "" || file.DestinationType == "") {
		t.Errorf("%+v came of %+v", file, row)
	}
	if row.volume.Valid && int64(file.VolumeID) != row.volume.V || row.size.Valid && file.Size != row.size.V {
		t.Errorf("%+v is not %+v", file, row)
	}
	if file.VolumeID < 0 || file.Size < 0 || file.RedoLogPosition < 0 || file.FirstLogPosition < 0 || file.LastLogPosition < file.FirstLogPosition {
		t.Errorf("%+v", file)
	}
	if row.first.V != file.FirstLogPosition && row.first.Valid || row.last.V != file.LastLogPosition && row.last.Valid || row.first.Valid != row.last.Valid {
		t.Errorf("%+v is not %+v", file, row)
	}
	expectPrintable(t, file.SourceType, file.Service, file.Host, file.DestinationType, file.Path)
}

func checkFuzzedBreak(t *testing.T, row breakRow) {
	t.Helper()
	b, err := row.value()
	if err != nil {
		expectAnyColumn(t, err, []string{"UTC_TIME", "REASON"})
		return
	}
	if b.At.IsZero() || !b.At.Equal(row.at.Time) || b.Reason != row.reason.V || b.Reason == "" {
		t.Errorf("%+v is not %+v", b, row)
	}
	expectPrintable(t, b.Reason)
}

func expectAnyColumn(t *testing.T, err error, columns []string) {
	t.Helper()
	wrong, found := errors.AsType[*columnError](err)
	if !found || !slices.Contains(columns, wrong.column) {
		t.Fatalf("%v names no column", err)
	}
	expectPrintable(t, err.Error())
}

func expectPrintable(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.ContainsFunc(text, unicode.IsControl) || !cmp.Equal(text, strings.ToValidUTF8(text, "")) {
			t.Errorf("%q", text)
		}
	}
}
