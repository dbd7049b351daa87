package hdbtrigger

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func stream(volume int, service, host string, size int64) backup.Stream {
	return backup.Stream{
		StreamID: backup.StreamID{VolumeID: volume, PartID: 1}, Service: service, Host: host, EstimatedSize: size,
	}
}

func TestPlanListsTheStreams(t *testing.T) {
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	tests := []struct {
		name, database string
		kind           backup.Kind
		want           backup.Plan
	}{
		{"SYSTEMDB", "SYSTEMDB", backup.KindComplete, backup.Plan{
			Database: "SYSTEMDB", Kind: backup.KindComplete,
			Streams: []backup.Stream{stream(0, "nameserver", "host1", 0), stream(1, "nameserver", "host1", 1000)},
		}},
		{"a tenant on two hosts, in lower case", "hxe", backup.KindComplete, backup.Plan{
			Database: "HXE", Kind: backup.KindComplete,
			Streams: []backup.Stream{
				stream(0, "indexserver", "host2", 0), stream(2, "xsengine", "host1", 0),
				stream(3, "indexserver", "host1", 3000), stream(5, "indexserver", "host2", 5000),
			},
		}},
		{"a delta has sizes of its own", "HXE", backup.KindDifferential, backup.Plan{
			Database: "HXE", Kind: backup.KindDifferential,
			Streams: []backup.Stream{
				stream(0, "indexserver", "host2", 0), stream(2, "xsengine", "host1", 0),
				stream(3, "indexserver", "host1", 30), stream(5, "indexserver", "host2", 0),
			},
		}},
		// M_BACKUP_SIZE_ESTIMATIONS has no rows for it before the first complete one.
		{"a delta without a base has none", "HXE", backup.KindIncremental, backup.Plan{
			Database: "HXE", Kind: backup.KindIncremental,
			Streams: []backup.Stream{
				stream(0, "indexserver", "host2", 0), stream(2, "xsengine", "host1", 0),
				stream(3, "indexserver", "host1", 0), stream(5, "indexserver", "host2", 0),
			},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.SID, tt.want.HANAVersion = "HXE", "2.00.088.00.1760000000"
			got, err := trigger.Plan(t.Context(), tt.database, tt.kind)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if sent := hana.statements(); len(sent) > 0 {
		t.Errorf("a plan must only ask: %q", sent)
	}
}

func TestPlanIsRefused(t *testing.T) {
	const inifile, catalog = "SYS.M_INIFILE_CONTENTS", "SYS_DATABASES.M_BACKUP_CATALOG"
	const chunk = "data_backup_max_chunk_size"
	tests := []struct {
		name     string
		prepare  func(*scripted)
		database string
		kind     backup.Kind
		is       error
		mentions []string
	}{
		{"bad name", nil, "H'XE", backup.KindComplete, nil, []string{"H'XE"}},
		{"log backup", nil, "HXE", backup.KindLog, nil, []string{`kind "log"`}},
		{"unknown database", nil, "NOPE", backup.KindComplete, backup.ErrNotFound, []string{"NOPE", "CATALOG READ"}},
		{"stopped tenant", nil, "DOWN", backup.KindComplete, nil, []string{"DOWN", "not online", `"NO"`}},
		{"port of a tenant", func(h *scripted) {
			h.set("SYS.M_DATABASE", []any{"HXE", "HXE", "host1", nil, "2.00", ""})
		}, "HXE", backup.KindComplete, nil, []string{`"HXE"`, "3<instance>13"}},
		{"secondary by actual mode", func(h *scripted) {
			h.set(inifile, ini("SYSTEM", "", "system_replication", "actual_mode", "syncmem"), ini("SYSTEM", "", "system_replication", "mode", "primary"))
		}, "HXE", backup.KindComplete, backup.ErrNotPrimary, []string{"actual_mode is syncmem"}},
		{"secondary by mode", func(h *scripted) {
			h.set(inifile, ini("SYSTEM", "", "system_replication", "mode", "async"))
		}, "HXE", backup.KindComplete, backup.ErrNotPrimary, []string{"mode is async"}},
		{"running backup", func(h *scripted) {
			h.set(catalog, catalogRow("HXE", "other", "running", "incremental data backup", 1755519941920, nil))
		}, "HXE", backup.KindComplete, backup.ErrBusy, []string{"1755519941920", "2025-08-18T12:25:41Z", "incremental"}},
		{"backup that is being canceled", func(h *scripted) {
			h.set(catalog, catalogRow("HXE", "other", "cancel pending", "complete data backup", 1755519941920, nil))
		}, "HXE", backup.KindComplete, backup.ErrBusy, nil},
		{"chunk size of the system", func(h *scripted) {
			h.set(inifile, ini("DEFAULT", "", "backup", chunk, "0"), ini("SYSTEM", "", "backup", chunk, "60"))
		}, "HXE", backup.KindComplete, nil, []string{"[backup] " + chunk + " is 60"}},
		{"chunk size of the tenant", func(h *scripted) {
			h.set(inifile, ini("SYSTEM", "", "backup", chunk, "0"), ini("DATABASE", "HXE", "backup", chunk, "15"))
		}, "HXE", backup.KindComplete, nil, []string{chunk + " is 15"}},
		{"chunk size of one host", func(h *scripted) {
			h.set(inifile, ini("HOST", "", "backup", chunk, "0"), ini("HOST", "", "backup", chunk, "1"))
		}, "HXE", backup.KindComplete, nil, []string{chunk + " is 1"}},
		{"nothing visible", func(h *scripted) {
			h.set("SYS_DATABASES.M_VOLUMES")
		}, "HXE", backup.KindComplete, nil, []string{"CATALOG READ", "M_VOLUMES"}},
		{"a volume that cannot be", func(h *scripted) {
			h.set("SYS_DATABASES.M_VOLUMES", volumeRow("HXE", "host1", 30040, "indexserver", -1))
		}, "HXE", backup.KindComplete, nil, []string{"column VOLUME_ID", "-1"}},
		{"a volume without an id", func(h *scripted) {
			row := volumeRow("HXE", "host1", 30040, "indexserver", 3)
			row[4] = nil
			h.set("SYS_DATABASES.M_VOLUMES", row)
		}, "HXE", backup.KindComplete, nil, []string{"column VOLUME_ID is NULL"}},
		{"service down", func(h *scripted) {
			h.set("SYS_DATABASES.M_SERVICES", serviceRow("HXE", "host1", 30040, "indexserver", "NO", "MASTER"))
		}, "HXE", backup.KindComplete, nil, []string{"xsengine at host1:30043", "not active"}},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.reset()
			if tt.prepare != nil {
				tt.prepare(hana)
			}
			_, err := trigger.Plan(t.Context(), tt.database, tt.kind)
			if err == nil {
				t.Fatal("accepted")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			for _, part := range tt.mentions {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not mention %q", err, part)
				}
			}
		})
	}
}

// Who finds the further parts of a volume by itself may let HANA split files.
func TestPlanAllowsParts(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		hana, config := startScripted(t, nil)
		hana.set("SYS.M_INIFILE_CONTENTS", ini("SYSTEM", "", "backup", keyChunkSize, "60"))
		config.AllowParts = allowed
		trigger := newTrigger(t, config)
		plan, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete)
		if (err == nil) != allowed {
			t.Errorf("parts allowed %v: %v", allowed, err)
		}
		if allowed && len(plan.Streams) != 4 {
			t.Errorf("%+v: expected the first part of each volume", plan.Streams)
		}
		// Nothing else is let pass with it.
		hana.set("SYS_DATABASES.M_BACKUP_CATALOG", catalogRow("HXE", "other", "running", "complete data backup", 1755519941920, nil))
		if _, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete); !errors.Is(err, backup.ErrBusy) {
			t.Errorf("parts allowed %v, a backup runs: %v", allowed, err)
		}
	}
}

func TestPlanIsAccepted(t *testing.T) {
	const inifile = "SYS.M_INIFILE_CONTENTS"
	const chunk = "data_backup_max_chunk_size"
	tests := []struct {
		name    string
		prepare func(*scripted)
	}{
		{"no parameter is set", func(h *scripted) { h.set(inifile) }},
		{"primary", func(h *scripted) { h.set(inifile, ini("SYSTEM", "", "system_replication", "actual_mode", "primary")) }},
		{"primary after a takeover, registered as a secondary once", func(h *scripted) {
			h.set(inifile, ini("SYSTEM", "", "system_replication", "actual_mode", "primary"), ini("SYSTEM", "", "system_replication", "mode", "sync"))
		}},
		{"registered as a secondary once, ships its log now", func(h *scripted) {
			h.set(inifile, ini("SYSTEM", "", "system_replication", "mode", "sync"))
			h.set("SYS.M_SERVICE_REPLICATION", []any{"host1", int64(30001), int64(1), "A", "other", int64(30001), "SYNC", "ACTIVE", "", int64(0), int64(0)})
		}},
		{"chunk size of another tenant", func(h *scripted) {
			h.set(inifile, ini("DATABASE", "OTHER", "backup", chunk, "15"), ini("SYSTEM", "", "backup", chunk, ""))
		}},
		{"tenant overrules the system", func(h *scripted) {
			h.set(inifile, ini("DATABASE", "HXE", "backup", chunk, "0"), ini("SYSTEM", "", "backup", chunk, "15"))
		}},
		{"others are busy", func(h *scripted) {
			h.set("SYS_DATABASES.M_BACKUP_CATALOG",
				catalogRow("OTHER", "", "running", "complete data backup", 1755519941920, nil),
				catalogRow("HXE", "", "running", "log backup", 1755519941921, nil),
				catalogRow("HXE", "", "failed", "complete data backup", 1755519941922, nil))
		}},
	}
	hana, config := startScripted(t, nil)
	trigger := newTrigger(t, config)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hana.reset()
			tt.prepare(hana)
			if _, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete); err != nil {
				t.Error(err)
			}
		})
	}
}
