package hdbtrigger

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// startSimulator gives a system with SYSTEMDB and two tenants, the second of
// which is stopped, and what a Trigger needs to reach it.
func startSimulator(t *testing.T, change func(*hanasim.Config)) (*hanasim.System, Config) {
	t.Helper()
	config := hanasim.Config{
		User: "BACKUP", Password: "secret", LogDir: t.TempDir(), Seed: 1, WriteSize: 4096,
		Databases: []hanasim.Database{
			{Name: "SYSTEMDB", Volumes: []hanasim.Volume{{ID: 1, Size: 100_000}}},
			{Name: "HXE", Volumes: []hanasim.Volume{{ID: 2, Service: "xsengine", Size: 50_000}, {ID: 3, Size: 200_000}}},
			{Name: "DOWN", Volumes: []hanasim.Volume{{ID: 2, Size: 1000}}},
		},
	}
	if change != nil {
		change(&config)
	}
	system, err := hanasim.Start(config, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := system.StopDatabase("DOWN"); err != nil {
		t.Fatal(err)
	}
	host, port := splitAddress(t, system.Addr("SYSTEMDB"))
	return system, Config{Host: host, Port: port, User: "BACKUP", PasswordFile: writeFile(t, "secret\n"), TLS: TLS{Off: true}}
}

func splitAddress(t *testing.T, address string) (string, int) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return host, number
}

// planned plans a backup and fills in what the conductor would.
func planned(t *testing.T, trigger *Trigger, database, dir string) backup.Plan {
	t.Helper()
	plan, err := trigger.Plan(t.Context(), database, backup.KindComplete)
	if err != nil {
		t.Fatal(err)
	}
	plan.JobID, plan.Directory, plan.Prefix = "job-1", dir, "PS_1"
	return plan
}

func set(t *testing.T, system *hanasim.System, key, value string) {
	t.Helper()
	if err := system.Set(key, value); err != nil {
		t.Fatal(err)
	}
}

func TestSimulatorBackupIsInTheCatalog(t *testing.T) {
	for _, database := range []string{"SYSTEMDB", "HXE"} {
		t.Run(database, func(t *testing.T) {
			_, config := startSimulator(t, nil)
			trigger, dir := newTrigger(t, config), t.TempDir()
			plan := planned(t, trigger, database, dir)
			want := []string{"0_1 indexserver", "2_1 xsengine", "3_1 indexserver"}
			if database == "SYSTEMDB" {
				want = []string{"0_1 nameserver", "1_1 nameserver"}
			}
			var got []string
			for _, s := range plan.Streams {
				got = append(got, s.String()+" "+s.Service)
				if s.EstimatedSize == 0 && s.VolumeID != backup.TopologyVolume {
					t.Errorf("stream %s: no estimated size", s)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			if plan.SID != "HXE" || plan.HANAVersion != hanasim.Version {
				t.Errorf("SID %q, version %q", plan.SID, plan.HANAVersion)
			}
			before := time.Now().UTC().Truncate(time.Millisecond)
			if err := trigger.Backup(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			entry, err := trigger.Entry(t.Context(), plan)
			if err != nil {
				t.Fatal(err)
			}
			checkEntry(t, plan, entry, before)
		})
	}
}

// checkEntry compares the catalog with the plan and with the files.
func checkEntry(t *testing.T, plan backup.Plan, entry backup.CatalogEntry, before time.Time) {
	t.Helper()
	if entry.State != backup.CatalogSuccessful || entry.EntryType != "complete data backup" || entry.Comment != plan.JobID {
		t.Errorf("entry %+v", entry)
	}
	if entry.StartedAt.Before(before) || entry.EndedAt.Before(entry.StartedAt) || time.Since(entry.EndedAt) > time.Minute {
		t.Errorf("from %s to %s, expected UTC after %s", entry.StartedAt, entry.EndedAt, before)
	}
	files := map[string]backup.CatalogFile{}
	for i := range entry.Files {
		files[entry.Files[i].Path] = entry.Files[i]
	}
	for _, s := range plan.Streams {
		path := plan.Directory + "/" + plan.FileName(s.StreamID)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		header, err := backup.ParseHeader(content)
		if err != nil || header.BackupID != entry.BackupID || header.VolumeID != s.VolumeID {
			t.Errorf("%s: header %+v, %v", path, header, err)
		}
		source := backup.SourceVolume
		if s.VolumeID == backup.TopologyVolume {
			source = backup.SourceTopology
		}
		want := backup.CatalogFile{
			VolumeID: s.VolumeID, SourceType: source, Service: s.Service, Host: s.Host,
			Size: int64(len(content)), DestinationType: "file", Path: path, RedoLogPosition: files[path].RedoLogPosition,
		}
		if (source == backup.SourceVolume) != (want.RedoLogPosition > 0) {
			t.Errorf("%s: redo log position %d", path, want.RedoLogPosition)
		}
		if diff := cmp.Diff(want, files[path]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSimulatorRefusesPlans(t *testing.T) {
	system, config := startSimulator(t, nil)
	trigger := newTrigger(t, config)
	tests := []struct {
		name, key, value, database string
		is                         error
		mention                    string
	}{
		{"stopped tenant", "", "", "DOWN", nil, "not online"},
		{"unknown database", "", "", "NOPE", backup.ErrNotFound, "NOPE"},
		{"secondary site", "replication", "secondary", "HXE", backup.ErrNotPrimary, "actual_mode is sync"},
		{"primary site", "replication", "primary", "HXE", nil, ""},
		{"files are split", "chunk-size", "64KiB", "HXE", nil, "data_backup_max_chunk_size is 65536"},
		{"views look empty", "revoke", "BACKUP:CATALOG READ", "HXE", nil, "CATALOG READ"},
	}
	for _, tt := range tests { // what is set stays set
		t.Run(tt.name, func(t *testing.T) {
			if tt.key != "" {
				set(t, system, tt.key, tt.value)
			}
			_, err := trigger.Plan(t.Context(), tt.database, backup.KindComplete)
			expectError(t, err, tt.is, tt.mention)
		})
	}
}

func TestSimulatorMissingPrivilege(t *testing.T) {
	_, config := startSimulator(t, func(c *hanasim.Config) {
		c.Users = []hanasim.User{{
			Name: "POOR", Password: "secret", Missing: []string{"DATABASE BACKUP OPERATOR", "DATABASE BACKUP ADMIN", "DATABASE ADMIN", "DATABASE STOP"},
		}}
	})
	config.User = "POOR"
	trigger := newTrigger(t, config)
	plan := planned(t, trigger, "HXE", t.TempDir())
	for name, call := range map[string]func(context.Context, backup.Plan) error{"backup": trigger.Backup, "stop": trigger.Stop} {
		err := call(t.Context(), plan)
		hana, found := errors.AsType[*backup.HANAError](err)
		if !found || hana.Code != 258 || !strings.Contains(Hint(err), "DATABASE BACKUP OPERATOR") {
			t.Errorf("%s: %v, hint %q", name, err, Hint(err))
		}
	}
	if _, err := trigger.Entry(t.Context(), plan); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestSimulatorDoesNotLockTheUser(t *testing.T) {
	system, config := startSimulator(t, nil)
	set(t, system, "lock-after", "2")
	if err := os.WriteFile(config.PasswordFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	trigger := newTrigger(t, config)
	for range 20 {
		hana, found := errors.AsType[*backup.HANAError](trigger.Ping(t.Context()))
		if !found || hana.Code != 10 {
			t.Fatalf("%v, expected error 10 and never 416", hana)
		}
	}
	if err := os.WriteFile(config.PasswordFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := trigger.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSimulatorBusyThenCancel(t *testing.T) {
	system, config := startSimulator(t, nil)
	set(t, system, "delay-open", "1h")
	trigger := newTrigger(t, config)
	plan := planned(t, trigger, "HXE", t.TempDir())
	done := make(chan error, 1)
	go func() { done <- trigger.Backup(t.Context(), plan) }()
	poll(t, func() bool {
		_, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete)
		if err != nil && !errors.Is(err, backup.ErrBusy) {
			t.Fatal(err)
		}
		return err != nil
	})
	entry, err := trigger.Entry(t.Context(), plan)
	if err != nil || entry.State != backup.CatalogRunning || !entry.EndedAt.IsZero() || len(entry.Files) > 0 {
		t.Errorf("%+v, %v", entry, err)
	}
	if err := trigger.Cancel(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	hana, found := errors.AsType[*backup.HANAError](<-done)
	if !found || hana.Code != 447 {
		t.Errorf("%v", hana)
	}
	entry, err = trigger.Entry(t.Context(), plan)
	if err != nil || entry.State != backup.CatalogCanceled {
		t.Errorf("%+v, %v", entry, err)
	}
	if err := trigger.Cancel(t.Context(), plan); err != nil {
		t.Errorf("cancel what is canceled: %v", err)
	}
}

// TestSimulatorLostAnswer cuts the connection after the work is done. With a
// driver that sends again, three complete backups ran.
func TestSimulatorLostAnswer(t *testing.T) {
	system, config := startSimulator(t, nil)
	set(t, system, "fail", "hangup")
	trigger := newTrigger(t, config)
	plan := planned(t, trigger, "HXE", t.TempDir())
	err := trigger.Backup(t.Context(), plan)
	if _, answered := errors.AsType[*backup.HANAError](err); err == nil || answered {
		t.Fatalf("%v: expected an unknown answer", err)
	}
	entry, err := trigger.Entry(t.Context(), plan) // an error if there were several
	if err != nil || entry.State != backup.CatalogSuccessful || len(entry.Files) < len(plan.Streams) {
		t.Errorf("%+v, %v", entry, err)
	}
	if n := catalogCount(t, trigger); n != 1 {
		t.Errorf("%d backups in the catalog, expected one", n)
	}
}

// TestSimulatorConnectionCut cuts it in the middle.
func TestSimulatorConnectionCut(t *testing.T) {
	system, config := startSimulator(t, nil)
	set(t, system, "delay-open", "1h")
	direct := newTrigger(t, config)
	plan := planned(t, direct, "HXE", t.TempDir())
	relayed := config
	var cut func()
	relayed.Port, cut = relay(t, system.Addr("SYSTEMDB"))
	throughRelay := newTrigger(t, relayed)
	done := make(chan error, 1)
	go func() { done <- throughRelay.Backup(t.Context(), plan) }()
	poll(t, func() bool {
		entry, err := direct.Entry(t.Context(), plan)
		if err != nil && !errors.Is(err, backup.ErrNotFound) {
			t.Fatal(err)
		}
		return entry.State == backup.CatalogRunning
	})
	cut()
	err := <-done
	if _, answered := errors.AsType[*backup.HANAError](err); err == nil || answered {
		t.Errorf("%v: expected an unknown answer", err)
	}
	poll(t, func() bool { // the simulator cancels a backup whose client is gone
		entry, err := direct.Entry(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		return entry.State == backup.CatalogCanceled
	})
	if n := catalogCount(t, direct); n != 1 {
		t.Errorf("%d backups in the catalog, expected one", n)
	}
}

func catalogCount(t *testing.T, trigger *Trigger) int {
	t.Helper()
	var n int
	err := trigger.query(t.Context(), `SELECT COUNT(*) FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME = 'complete data backup'`,
		func(scan func(...any) error) error { return scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// relay passes connections on to address until cut, which may be repeated.
func relay(t *testing.T, address string) (port int, cut func()) {
	t.Helper()
	var mu sync.Mutex
	var open []net.Conn
	cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			closeQuietly(conn)
		}
	}
	port, _ = listen(t, func(client net.Conn) {
		server, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		open = append(open, client, server)
		mu.Unlock()
		// A broken copy is the purpose; each side's end ends the other.
		var copies sync.WaitGroup
		copies.Go(func() { _, _ = io.Copy(server, client); closeQuietly(server) })
		copies.Go(func() { _, _ = io.Copy(client, server); closeQuietly(client) })
		copies.Wait()
	})
	t.Cleanup(cut)
	return port, cut
}

func TestSimulatorRecover(t *testing.T) {
	system, config := startSimulator(t, nil)
	trigger := newTrigger(t, config)
	plan := planned(t, trigger, "HXE", t.TempDir())
	if err := trigger.Backup(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	saved := system.Content("HXE")
	if err := system.Destroy("HXE"); err != nil {
		t.Fatal(err)
	}

	set(t, system, "fail", "recover")
	err := recoverTenant(t.Context(), trigger, plan)
	hana, found := errors.AsType[*backup.HANAError](err)
	if !found || hana.Code != 448 || !cmp.Equal(hana.Inner, []int{71000018}) || !strings.Contains(err.Error(), "left stopped") {
		t.Errorf("%v", err)
	}
	if _, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete); err == nil || !strings.Contains(err.Error(), "not online") {
		t.Errorf("after a failed recovery: %v", err)
	}

	// Once more, from a tenant that is stopped already.
	if err := recoverTenant(t.Context(), trigger, plan); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(saved, system.Content("HXE")); diff != "" {
		t.Error(diff)
	}
	if _, err := trigger.Plan(t.Context(), "HXE", backup.KindComplete); err != nil {
		t.Errorf("after the recovery: %v", err)
	}
}
