package hdbtrigger

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func sampleRecovery(change func(*backup.Recovery)) backup.Recovery {
	r := backup.Recovery{
		JobID: "job-1", SID: "HXE", Database: "HXE", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		CatalogPath: "/restore/catalog", LogPaths: []string{"/restore/log"}, DataPath: "/restore/data",
	}
	if change != nil {
		change(&r)
	}
	return r
}

func exactly(r *backup.Recovery) { r.Until, r.BackupID = time.Time{}, 1755519941920 }

func TestRecoverText(t *testing.T) {
	const until = ` UNTIL TIMESTAMP '2026-01-02 03:04:05' CLEAR LOG`
	const catalog, log, data = ` USING CATALOG PATH ('/restore/catalog')`, ` USING LOG PATH ('/restore/log')`, ` USING DATA PATH ('/restore/data')`
	tests := []struct {
		name   string
		change func(*backup.Recovery)
		want   string
	}{
		{"to a point in time", nil, `RECOVER DATABASE FOR "HXE"` + until + catalog + log + data},
		{"another zone is turned into UTC", func(r *backup.Recovery) {
			r.Until = r.Until.In(time.FixedZone("", 2*60*60))
		}, `RECOVER DATABASE FOR "HXE"` + until + catalog + log + data},
		{"from a backup that is named", func(r *backup.Recovery) {
			r.BackupID = 1755519941920
		}, `RECOVER DATABASE FOR "HXE"` + until + catalog + log + data + ` USING BACKUP_ID 1755519941920`},
		{"several log paths", func(r *backup.Recovery) {
			r.LogPaths = []string{"/a", "/b", "/c"}
		}, `RECOVER DATABASE FOR "HXE"` + until + catalog + ` USING LOG PATH ('/a','/b','/c')` + data},
		{"from another tenant of this system", func(r *backup.Recovery) {
			r.Source = "PRD"
		}, `RECOVER DATABASE FOR "HXE"` + until + ` USING SOURCE 'PRD@HXE'` + catalog + log + data},
		{"from the tenant of that name in another system", func(r *backup.Recovery) {
			r.SourceSID = "PR1"
		}, `RECOVER DATABASE FOR "HXE"` + until + ` USING SOURCE 'HXE@PR1'` + catalog + log + data},
		{"from itself, which needs no name", func(r *backup.Recovery) {
			r.Source, r.SourceSID = "HXE", "HXE"
		}, `RECOVER DATABASE FOR "HXE"` + until + catalog + log + data},
		{"SYSTEMDB is not named", func(r *backup.Recovery) {
			r.Database = backup.SystemDB
		}, `RECOVER DATABASE` + until + catalog + log + data},
		{"exactly one backup", exactly, `RECOVER DATA FOR "HXE" USING BACKUP_ID 1755519941920` + catalog + data + ` CLEAR LOG`},
		{"exactly one backup of another tenant", func(r *backup.Recovery) {
			exactly(r)
			r.Source, r.SourceSID = "PRD", "PR1"
		}, `RECOVER DATA FOR "HXE" USING BACKUP_ID 1755519941920 USING SOURCE 'PRD@PR1'` + catalog + data + ` CLEAR LOG`},
		{"exactly one backup needs no log", func(r *backup.Recovery) {
			exactly(r)
			r.LogPaths = nil
		}, `RECOVER DATA FOR "HXE" USING BACKUP_ID 1755519941920` + catalog + data + ` CLEAR LOG`},
		{"exactly one backup of SYSTEMDB", func(r *backup.Recovery) {
			exactly(r)
			r.Database = backup.SystemDB
		}, `RECOVER DATA USING BACKUP_ID 1755519941920` + catalog + data + ` CLEAR LOG`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := RecoverText(sampleRecovery(tt.change))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRecoverTextIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*backup.Recovery)
		want   string
	}{
		{"quote in the database", func(r *backup.Recovery) { r.Database = `H"XE` }, "database"},
		{"lower case", func(r *backup.Recovery) { r.Database = "hxe" }, "upper case"},
		{"no system", func(r *backup.Recovery) { r.SID = "" }, "sid"},
		{"quote in the source", func(r *backup.Recovery) { r.Source = "P'RD" }, "source: database"},
		{"quote in the source's system", func(r *backup.Recovery) { r.SourceSID = "P'1" }, "source: sid"},
		{"half a second", func(r *backup.Recovery) { r.Until = r.Until.Add(time.Second / 2) }, "until 2026-01-02T03:04:05.5Z: expected whole seconds"},
		{"before there were backups", func(r *backup.Recovery) { r.Until = time.Unix(-1, 0) }, "until"},
		{"after the year 9999", func(r *backup.Recovery) { r.Until = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "until"},
		{"the last moment of all", func(r *backup.Recovery) { r.Until = time.Unix(math.MaxInt64, 0) }, "until"},
		{"negative backup id", func(r *backup.Recovery) { r.BackupID = -1 }, "backup id -1"},
		{"neither time nor backup id", func(r *backup.Recovery) { r.Until = time.Time{} }, "backup id 0"},
		{"no catalog path", func(r *backup.Recovery) { r.CatalogPath = "" }, "catalog path"},
		{"relative catalog path", func(r *backup.Recovery) { exactly(r); r.CatalogPath = "restore" }, "catalog path"},
		{"no data path", func(r *backup.Recovery) { r.DataPath = "" }, "data path"},
		{"quote in the data path", func(r *backup.Recovery) { exactly(r); r.DataPath = "/a'b" }, "data path"},
		{"no log path", func(r *backup.Recovery) { r.LogPaths = nil }, "log paths"},
		{"a second log path with a quote", func(r *backup.Recovery) { r.LogPaths = []string{"/a", "/b') --"} }, "log path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := RecoverText(sampleRecovery(tt.change))
			if err == nil {
				t.Fatalf("built %q", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not mention %q", err, tt.want)
			}
		})
	}
}

func TestRecoverTo(t *testing.T) {
	refused := &wire.Error{Code: 449, State: "HY000", Text: "recovery strategy could not be determined: [111014] The backup with backup id '1' cannot be used for recovery"}
	for _, tt := range []struct {
		name    string
		change  func(*backup.Recovery)
		fails   error
		kind    string
		code    int
		mention string
	}{
		{"to a point in time", nil, nil, kindUntil, 0, ""},
		{"exactly one backup", exactly, nil, kindRecover, 0, ""},
		{"HANA finds no way", nil, refused, kindUntil, 449, "left stopped"},
		{"the connection is lost", exactly, wire.ErrHangUp, kindRecover, 0, "not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hana, config := startScripted(t, nil)
			hana.execute = func(context.Context, string) error { return tt.fails }
			trigger := newTrigger(t, config)
			r := sampleRecovery(tt.change)
			err := trigger.RecoverTo(t.Context(), r)
			expectError(t, err, nil, tt.mention)
			if got, found := errors.AsType[*backup.HANAError](err); found != (tt.code != 0) || found && (got.Code != tt.code || got.Statement != tt.kind) {
				t.Errorf("%+v, expected error %d of %s", got, tt.code, tt.kind)
			}
			text, err := RecoverText(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{text}, hana.statements()); diff != "" {
				t.Error(diff)
			}
			result := map[bool]string{true: "ok", false: "error"}[tt.fails == nil]
			if errors.Is(tt.fails, wire.ErrHangUp) {
				result = "unknown"
			}
			if n := testutil.ToFloat64(trigger.metrics.statements.WithLabelValues(tt.kind, result)); n != 1 {
				t.Errorf("metric: %v statements %s with result %s, expected 1", n, tt.kind, result)
			}
		})
	}
	for name, change := range map[string]func(*backup.Recovery){
		"recoverSys.py": func(r *backup.Recovery) { r.Database = backup.SystemDB },
		"catalog path":  func(r *backup.Recovery) { r.CatalogPath = "" },
	} {
		hana, config := startScripted(t, nil)
		expectError(t, newTrigger(t, config).RecoverTo(t.Context(), sampleRecovery(change)), nil, name)
		if sent := hana.statements(); len(sent) > 0 {
			t.Errorf("%s: sent %q", name, sent)
		}
	}
}

func TestRecoverToThatIsNotSent(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	if err := os.Remove(config.PasswordFile); err != nil {
		t.Fatal(err)
	}
	expectError(t, trigger.RecoverTo(t.Context(), sampleRecovery(nil)), backup.ErrNotSent, "left stopped")
	if sent := hana.statements(); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
}
