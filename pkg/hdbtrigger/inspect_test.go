package hdbtrigger

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	viewParameters = "SYS.M_INIFILE_CONTENTS"
	viewPrivileges = "SYS.EFFECTIVE_PRIVILEGES"
)

func inspect(t *testing.T, config Config, database string) Inspection {
	t.Helper()
	i, err := newTrigger(t, config).Inspect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	if i.Clock.RoundTrip <= 0 || i.Clock.Ahead.Abs() > i.Clock.RoundTrip+time.Second {
		t.Errorf("clock %+v of the same machine", i.Clock)
	}
	return i
}

func TestInspect(t *testing.T) {
	hana, config := startScripted(t, nil)
	privilege := func(user, kind, name, valid string) []any {
		return []any{user, "A_ROLE", "ROLE", kind, name, "FALSE", valid}
	}
	hana.set(viewPrivileges,
		privilege("BACKUP", "SYSTEMPRIVILEGE", "CATALOG READ", "TRUE"), privilege("BACKUP", "SYSTEMPRIVILEGE", "BACKUP OPERATOR", "TRUE"),
		privilege("BACKUP", "SYSTEMPRIVILEGE", "CATALOG READ", "TRUE"), privilege("BACKUP", "SYSTEMPRIVILEGE", "BACKUP ADMIN", "FALSE"),
		privilege("BACKUP", "TABLE", "SELECT", "TRUE"), privilege("OTHER", "SYSTEMPRIVILEGE", "DATABASE ADMIN", "TRUE"))
	host := ini("HOST", "", "backup", "max_log_backup_size", "16")
	host[3] = "host1"
	hana.set(viewParameters,
		ini("DEFAULT", "", "system_replication", "actual_mode", "primary"),
		ini("DEFAULT", "", "persistence", "log_mode", "normal"),
		ini("SYSTEM", "", "persistence", "log_mode", "overwrite"),
		ini("DATABASE", "HXE", "persistence", "log_mode", " normal "),
		ini("DATABASE", "OTHER", "persistence", "log_mode", "overwrite"),
		ini("DEFAULT", "", "persistence", "log_backup_timeout_s", "900"),
		ini("SYSTEM", "", "persistence", "basepath_logbackup", "/hana/log"),
		ini("DEFAULT", "", "persistence", "basepath_logbackup", "$(DIR_INSTANCE)/backup/log"),
		ini("DEFAULT", "", "persistence", "savepoint_interval_s", "300"),
		ini("DEFAULT", "", "backup", keyChunkSize, "0"),
		host, ini("HOST", "", "backup", "max_log_backup_size", "8"), ini("HOST", "", "backup", "max_log_backup_size", "16"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	hana.set(viewBroken, []any{"HXE", at, at, "host1", "indexserver", firstID, "log mode overwrite", "changed"})
	hana.set(viewCatalog,
		entryOf("HXE", "successful", "complete data backup", firstID), entryOf("HXE", "successful", "complete data backup", firstID+1),
		entryOf("HXE", "failed", "complete data backup", firstID+2), entryOf("HXE", "successful", "incremental data backup", firstID+3),
		catalogRow("HXE", "", "running", "differential data backup", firstID+4, nil),
		entryOf("HXE", "successful", backup.EntryLog, firstID+5), entryOf("HXE", "failed", backup.EntryLog, firstID+6),
		entryOf("OTHER", "successful", backup.EntryLog, firstID+7))
	entry := func(id int64, kind, state string) *backup.CatalogEntry {
		return &backup.CatalogEntry{
			EntryID: id + 1, BackupID: id, EntryType: kind, State: state, Message: "<ok>",
			StartedAt: time.UnixMilli(id).UTC(), EndedAt: time.UnixMilli(id + 1000).UTC(),
		}
	}
	want := Inspection{
		Database: "HXE", CurrentUser: "BACKUP", Privileges: []string{"BACKUP OPERATOR", "CATALOG READ"},
		PortDatabase: "SYSTEMDB", SID: "HXE", Version: "2.00.088.00.1760000000", Status: "YES", Primary: true, Mode: "actual_mode is primary",
		Parameters: map[string]Parameter{
			"persistence/log_mode": {"normal", "DATABASE"}, "persistence/log_backup_timeout_s": {"900", "DEFAULT"},
			"persistence/basepath_logbackup": {"/hana/log", "SYSTEM"}, "backup/data_backup_max_chunk_size": {"0", "DEFAULT"},
			"backup/max_log_backup_size": {"16, 8", "HOST"},
		},
		Running:        firstID + 4,
		NewestComplete: entry(firstID+1, "complete data backup", "successful"), NewestLog: entry(firstID+6, backup.EntryLog, "failed"),
		Broken: &backup.Break{At: at, Reason: "log mode overwrite", Message: "changed"}, Unreadable: map[string]error{},
	}
	got := inspect(t, config, "hxe")
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Inspection{}, "Clock")); diff != "" {
		t.Error(diff)
	}
	if !got.IsSystemDB() {
		t.Error("the port is SYSTEMDB's")
	}
	if sent := hana.statements(); len(sent) > 0 {
		t.Errorf("an inspection must only ask: %q", sent)
	}
}

// A system on which nothing has happened yet has nothing to tell, which is no
// error.
func TestInspectOfAnEmptySystem(t *testing.T) {
	_, config := startScripted(t, nil)
	got := inspect(t, config, "DOWN")
	want := Inspection{
		Database: "DOWN", CurrentUser: "BACKUP", PortDatabase: "SYSTEMDB", SID: "HXE", Version: "2.00.088.00.1760000000", Status: "NO",
		Primary: true, Mode: "actual_mode is none", Parameters: map[string]Parameter{"backup/data_backup_max_chunk_size": {"0", "DEFAULT"}},
		Unreadable: map[string]error{},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Inspection{}, "Clock")); diff != "" {
		t.Error(diff)
	}
}

func TestInspectGoesOn(t *testing.T) {
	refuse := func(view string, code int) func(*scripted) {
		return func(h *scripted) { h.refuse(view, code) }
	}
	tests := []struct {
		name    string
		prepare func(*scripted)
		want    []string // questions without an answer
		mention string
	}{
		{"privileges", refuse(viewPrivileges, 258), []string{AskPrivileges}, "258"},
		{"a privilege without a name", func(h *scripted) {
			h.set(viewPrivileges, []any{"BACKUP", "BACKUP", "USER", "SYSTEMPRIVILEGE", nil, "FALSE", "TRUE"})
		}, []string{AskPrivileges}, "column PRIVILEGE is NULL"},
		{"system", refuse("SYS.M_DATABASE", 258), []string{AskSystem}, "258"},
		{"status", refuse("SYS.M_DATABASES", 258), []string{AskStatus}, "258"},
		{"unknown database", func(h *scripted) { h.set("SYS.M_DATABASES") }, []string{AskStatus}, "CATALOG READ"},
		{"parameters", refuse(viewParameters, 258), []string{AskParameters, AskRole}, "258"},
		{"a parameter with an escape", func(h *scripted) {
			h.set(viewParameters, ini("SYSTEM", "", "persistence", "log_mode", "nor\x1b[31mmal"))
		}, []string{AskParameters}, "[persistence] log_mode"},
		{"catalog", refuse(viewCatalog, 258), []string{AskNewestComplete, AskNewestLog, AskRunning}, "258"},
		{"history", refuse(viewBroken, 258), []string{AskBroken}, "258"},
		{"no history in this release", refuse(viewBroken, 259), nil, ""},
		{"a break without a time", func(h *scripted) {
			h.set(viewBroken, []any{"HXE", nil, nil, "host1", "indexserver", firstID, "x", "y"})
		}, []string{AskBroken}, "column UTC_TIME"},
		{"user and clock", refuse("SYS.DUMMY", 258), []string{AskClock, AskUser}, "258"},
		{"no user and no clock", func(h *scripted) { h.set("SYS.DUMMY") }, []string{AskClock, AskUser}, "is NULL"},
		{"no system", func(h *scripted) { h.set("SYS.M_DATABASE") }, []string{AskSystem}, "M_DATABASE is empty"},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.reset()
			tt.prepare(hana)
			got, err := trigger.Inspect(t.Context(), "HXE")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(got.Unreadable))); diff != "" {
				t.Error(diff)
			}
			for question, err := range got.Unreadable {
				if !strings.Contains(err.Error(), tt.mention) {
					t.Errorf("%s: %v, expected %q in it", question, err, tt.mention)
				}
			}
		})
	}
}

func TestInspectOfASecondary(t *testing.T) {
	for parameter, want := range map[string]string{"actual_mode": "actual_mode is syncmem", "mode": "mode is syncmem"} {
		hana, config := startScripted(t, nil)
		hana.set(viewParameters, ini("SYSTEM", "", "system_replication", parameter, "syncmem"))
		if got := inspect(t, config, "HXE"); got.Primary || got.Mode != want {
			t.Errorf("primary %v, mode %q, expected %q", got.Primary, got.Mode, want)
		}
	}
}

func TestInspectAtThePortOfATenant(t *testing.T) {
	hana, config := startScripted(t, nil)
	hana.set("SYS.M_DATABASE", []any{"HXE", "T1", "host1", nil, "2.00", ""})
	if got := inspect(t, config, "T1"); got.IsSystemDB() || got.PortDatabase != "T1" {
		t.Errorf("%+v", got)
	}
}

// Without a connection there is one error, and one login: an inspection must
// not lock the user.
func TestInspectWithoutConnection(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	if _, err := trigger.Inspect(t.Context(), "H'XE"); err == nil || !strings.Contains(err.Error(), "H'XE") {
		t.Errorf("%v", err)
	}
	cause := errors.New("somebody asked for it")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := trigger.Inspect(ctx, "HXE"); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	hana.setPassword("changed")
	_, err := trigger.Inspect(t.Context(), "HXE")
	if refusal, found := errors.AsType[*backup.HANAError](err); !found || refusal.Code != 10 {
		t.Errorf("%v", err)
	}
	if n := hana.loginCount(); n != 1 {
		t.Errorf("%d logins, expected one", n)
	}
}

func TestCompareClocks(t *testing.T) {
	before := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := before.Add(100 * time.Millisecond)
	for theirs, want := range map[time.Time]time.Duration{
		before.Add(50 * time.Millisecond):               0,
		before.Add(50*time.Millisecond + time.Hour):     time.Hour,
		before.Add(50*time.Millisecond - 3*time.Second): -3 * time.Second,
	} {
		if got := compareClocks(theirs, before, after); got != (Clock{want, 100 * time.Millisecond}) {
			t.Errorf("%s: %+v", theirs, got)
		}
	}
}
