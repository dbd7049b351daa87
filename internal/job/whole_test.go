package job

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// whole is a conductor with all its real parts: the simulator behind the real
// driver, real pipes and a real store on disk.
type whole struct {
	*Conductor
	system *hanasim.System
	pipes  string
	bucket string
	state  string
	logs   string
}

func startWhole(t *testing.T, change func(*hanasim.Config, *Parts, *Config)) whole {
	t.Helper()
	log := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	w := whole{pipes: t.TempDir(), bucket: t.TempDir(), state: t.TempDir()}
	sim := hanasim.Config{
		Password: "secret", LogDir: t.TempDir(), Seed: 7, WriteSize: 64 << 10, Profile: hanasim.Dotname,
		Databases: []hanasim.Database{
			{Name: "SYSTEMDB", Volumes: []hanasim.Volume{{ID: 1, Size: 300_000}}},
			{Name: "HXE", Volumes: []hanasim.Volume{{ID: 2, Service: "xsengine", Size: 4097}, {ID: 3, Size: 3 << 20}}},
		},
	}
	config := Config{
		Tool: "pipestreamer test", SID: "HXE", Directory: w.pipes, StateDirectory: w.state,
		OpenTimeout: 5 * time.Second, AnswerTimeout: 5 * time.Second, EndTimeout: 2 * time.Second,
	}
	parts := Parts{
		NewSource: func(rescue bool) Source {
			return fifo.NewSource(fifo.Config{Directory: w.pipes, Rescue: rescue}, log, nil)
		},
		NewSink: func() Sink { return fifo.NewSink(fifo.Config{Directory: w.pipes}, log, nil) },
	}
	parts.Store = openStore(t, w.bucket, log)
	change(&sim, &parts, &config)
	if config.Door != "" {
		parts.Volume = spool.NewVolume(spool.Config{Directory: w.pipes})
		parts.NewSpool = func(pipes bool) Spool {
			return spool.NewSource(spool.Config{Directory: w.pipes, Pipes: pipes, Rescan: time.Second}, log, spool.NewMetrics(nil))
		}
	}
	w.system, w.logs = startSystem(t, sim), sim.LogDir
	trigger := openTrigger(t, w.system, log)
	parts.Recoverer, parts.Historian = trigger, trigger
	if fault, wraps := parts.Trigger.(*faultyTrigger); wraps {
		fault.Trigger = trigger
	} else {
		parts.Trigger = trigger
	}
	var err error
	if w.Conductor, err = NewConductor(config, parts, log, NewMetrics(prometheus.NewRegistry())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func openStore(t *testing.T, root string, log *zap.Logger) Store {
	t.Helper()
	metrics, err := uploader.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	store, err := uploader.New(t.Context(), uploader.Config{Type: "local", Root: root, PartSize: 1 << 20, MemoryBudget: 128 << 20}, log, metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return store
}

func startSystem(t *testing.T, config hanasim.Config) *hanasim.System {
	t.Helper()
	system, err := hanasim.Start(config, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	})
	return system
}

func openTrigger(t *testing.T, system *hanasim.System, log *zap.Logger) *hdbtrigger.Trigger {
	t.Helper()
	host, port, err := net.SplitHostPort(system.Addr("SYSTEMDB"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	trigger, err := hdbtrigger.New(hdbtrigger.Config{
		Host: host, Port: number, User: "SYSTEM", PasswordFile: password, TLS: hdbtrigger.TLS{Off: true}, AllowParts: true,
	}, log, hdbtrigger.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trigger.Close(); err != nil {
			t.Error(err)
		}
	})
	return trigger
}

// backupOf runs a backup to its end.
func (w whole) backupOf(t *testing.T, database string) Record {
	t.Helper()
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: database}, "")
	if err != nil {
		t.Fatal(err)
	}
	return await(t, w.Conductor, record.ID)
}

// restoreTo runs a restore to its end.
func (w whole) restoreTo(t *testing.T, request RestoreRequest) Record {
	t.Helper()
	record, err := w.StartRestore(t.Context(), request, "")
	if err != nil {
		t.Fatal(err)
	}
	return await(t, w.Conductor, record.ID)
}

// names lists all files below dir.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	for _, database := range []string{"SYSTEMDB", "HXE"} {
		record := w.backupOf(t, database)
		if record.State != StateSucceeded || record.BackupID == 0 || record.Manifest == "" || record.Stage != StageDone {
			t.Fatalf("backup of %s: %+v, %v", database, record, record.Error)
		}
		for _, s := range record.Streams {
			if !s.Done || s.Bytes == 0 || s.Stored != s.Bytes || s.Path == "" {
				t.Errorf("progress of stream %s: %+v", s.StreamID, s)
			}
		}
	}
	if left := names(t, w.pipes); len(left) > 0 {
		t.Errorf("left in the backup directory: %v", left)
	}
	if all, err := w.Backups(t.Context(), ""); err != nil || len(all.Backups) != 2 || all.Backups[0].BackupID < all.Backups[1].BackupID {
		t.Errorf("backups: %+v, %v", all, err)
	}

	before := w.system.Content("HXE")
	if err := w.system.Destroy("HXE"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.system.Content("HXE")); diff == "" {
		t.Fatal("nothing was destroyed")
	}
	record, err := w.StartRestore(t.Context(), RestoreRequest{Database: "HXE", Backup: Latest}, "")
	if err != nil {
		t.Fatal(err)
	}
	if record = await(t, w.Conductor, record.ID); record.State != StateSucceeded {
		t.Fatalf("restore: %+v, %v", record, record.Error)
	}
	if diff := cmp.Diff(before, w.system.Content("HXE")); diff != "" {
		t.Errorf("content after the restore (-before +after):\n%s", diff)
	}
	record, err = w.StartVerification(t.Context(), VerificationRequest{Database: "HXE", Backup: Latest}, "")
	if err != nil {
		t.Fatal(err)
	}
	if record = await(t, w.Conductor, record.ID); record.State != StateSucceeded || len(record.Findings) > 0 {
		t.Errorf("verification: %+v", record)
	}
}

func TestRestoreOfSystemDB(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.EndTimeout = 200 * time.Millisecond })
	if record := w.backupOf(t, "SYSTEMDB"); record.State != StateSucceeded {
		t.Fatalf("%+v", record.Error)
	}
	before := w.system.Content("SYSTEMDB")
	if err := w.system.Destroy("SYSTEMDB"); err != nil {
		t.Fatal(err)
	}
	record, err := w.StartRestore(t.Context(), RestoreRequest{Database: "SYSTEMDB", Backup: Latest}, "")
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for record.Command == "" && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
		if record, err = w.Job(record.ID); err != nil {
			t.Fatal(err)
		}
	}
	want := `HDBSettings.sh recoverSys.py --command="RECOVER DATA USING FILE ('` + w.pipes + "/" + record.Prefix + `') CLEAR LOG" --wait`
	if record.Command != want {
		t.Fatalf("the command is %q, expected %q", record.Command, want)
	}
	if err := w.system.RecoverSystemDB(t.Context(), w.pipes+"/"+record.Prefix); err != nil {
		t.Fatal(err)
	}
	if record = await(t, w.Conductor, record.ID); record.State != StateSucceeded {
		t.Fatalf("restore: %+v, %v", record, record.Error)
	}
	if diff := cmp.Diff(before, w.system.Content("SYSTEMDB")); diff != "" {
		t.Errorf("content after the restore (-before +after):\n%s", diff)
	}
}

func TestWriteFiles(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	if record := w.backupOf(t, "HXE"); record.State != StateSucceeded {
		t.Fatal(record.Error)
	}
	manifest, err := w.Backup(t.Context(), "hxe", Latest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := WriteFiles(t.Context(), w.parts.Store, chained(manifest), dir, nil); err != nil {
		t.Fatal(err)
	}
	for i := range manifest.Streams {
		s := &manifest.Streams[i]
		got, err := os.ReadFile(filepath.Join(dir, filepath.Base(s.Path)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(w.bucket, s.Objects[0].Key))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("file of stream %s differs", s.StreamID)
		}
	}
	if err := WriteFiles(t.Context(), w.parts.Store, chained(manifest), dir, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second restore into the directory gave %v", err)
	}
	if got := len(names(t, dir)); got != len(manifest.Streams) {
		t.Errorf("the directory has %d files, expected %d", got, len(manifest.Streams))
	}
}
