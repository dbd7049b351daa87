package job

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
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
		NewSource: func() Source { return fifo.NewSource(fifo.Config{Directory: w.pipes}, log, nil) },
		NewSink:   func() Sink { return fifo.NewSink(fifo.Config{Directory: w.pipes}, log, nil) },
	}
	parts.Store = openStore(t, w.bucket, log)
	change(&sim, &parts, &config)
	w.system = startSystem(t, sim)
	parts.Trigger = openTrigger(t, w.system, parts.Trigger, log)
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

// openTrigger connects to the system; fault, when set, stands in front.
func openTrigger(t *testing.T, system *hanasim.System, fault backup.Trigger, log *zap.Logger) backup.Trigger {
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
		Host: host, Port: number, User: "SYSTEM", PasswordFile: password, TLS: hdbtrigger.TLS{Off: true},
	}, log, hdbtrigger.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trigger.Close(); err != nil {
			t.Error(err)
		}
	})
	if fault, wraps := fault.(*faultyTrigger); wraps {
		fault.Trigger = trigger
		return fault
	}
	return trigger
}

// faultyTrigger is the real trigger with one fault of the connection.
type faultyTrigger struct {
	backup.Trigger

	backup func(ctx context.Context, plan backup.Plan, real func() error) error
	entry  func(real backup.CatalogEntry, err error) (backup.CatalogEntry, error)
}

func (t *faultyTrigger) Backup(ctx context.Context, plan backup.Plan) error {
	send := func() error { return t.Trigger.Backup(ctx, plan) }
	if t.backup == nil {
		return send()
	}
	return t.backup(ctx, plan, send)
}

func (t *faultyTrigger) Entry(ctx context.Context, plan backup.Plan) (backup.CatalogEntry, error) {
	entry, err := t.Trigger.Entry(ctx, plan)
	if t.entry == nil {
		return entry, err
	}
	return t.entry(entry, err)
}

// faultyStore fails one operation.
type faultyStore struct {
	Store

	failing string
}

var errFaulty = errors.New("503 SlowDown")

func (s *faultyStore) Check(ctx context.Context) error {
	if s.failing == "check" {
		return errFaulty
	}
	return s.Store.Check(ctx)
}

func (s *faultyStore) Begin(ctx context.Context, key string, o backup.UploadOptions) (backup.Upload, error) {
	isManifest := strings.Contains(key, "/manifests/")
	if s.failing == "begin" || s.failing == "manifest" && isManifest {
		return nil, errFaulty
	}
	upload, err := s.Store.Begin(ctx, key, o)
	return &faultyUpload{Upload: upload, failing: s.failing, last: strings.HasSuffix(key, "/3_1")}, err
}

type faultyUpload struct {
	backup.Upload

	failing string
	last    bool
}

func (u *faultyUpload) Consume(ctx context.Context, r io.Reader) (backup.Stored, error) {
	if u.failing == "consume" && u.last {
		_, err := u.Upload.Consume(ctx, io.MultiReader(io.LimitReader(r, 2<<20), &failingReader{}))
		return backup.Stored{}, err
	}
	if u.failing == "consume at the end" && u.last {
		if _, err := u.Upload.Consume(ctx, r); err != nil {
			return backup.Stored{}, err
		}
		return backup.Stored{}, errFaulty
	}
	return u.Upload.Consume(ctx, r)
}

func (u *faultyUpload) Commit(ctx context.Context) error {
	if u.failing == "commit" && u.last {
		return errFaulty
	}
	return u.Upload.Commit(ctx)
}

type failingReader struct{}

func (*failingReader) Read([]byte) (int, error) { return 0, errFaulty }

// backupOf runs a backup to its end.
func (w whole) backupOf(t *testing.T, database string) Record {
	t.Helper()
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: database}, "")
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
	if all, err := w.Backups(t.Context(), ""); err != nil || len(all) != 2 || all[0].BackupID < all[1].BackupID {
		t.Errorf("backups: %v, %v", all, err)
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

// TestBackupFaults breaks one thing in each backup: it ends in one state with
// one cause, nothing is visible, no pipe is left, and the next backup works.
func TestBackupFaults(t *testing.T) {
	t.Parallel()
	store := func(failing string) func(*hanasim.Config, *Parts, *Config) {
		return func(_ *hanasim.Config, p *Parts, _ *Config) { p.Store = &faultyStore{Store: p.Store, failing: failing} }
	}
	trigger := func(fault *faultyTrigger) func(*hanasim.Config, *Parts, *Config) {
		return func(_ *hanasim.Config, p *Parts, c *Config) {
			p.Trigger = fault
			c.AnswerTimeout = time.Second
		}
	}
	for _, test := range []struct {
		name   string
		change func(*hanasim.Config, *Parts, *Config)
		state  State
		stage  Stage
		code   string
		stream string
	}{
		{"store cannot be used", store("check"), StateFailed, StagePlan, CodeStoreUnusable, ""},
		{"upload cannot begin", store("begin"), StateFailed, StageArm, CodeStoreUnusable, "0_1"},
		{"upload fails midway", store("consume"), StateFailed, StageStream, CodeUpload, "3_1"},
		{"upload fails after HANA's last byte", store("consume at the end"), StateLost, StageStream, CodeUpload, "3_1"},
		{"commit fails", store("commit"), StateLost, StageCommit, CodeCommit, "3_1"},
		{"manifest cannot be written", store("manifest"), StateLost, StageCommit, CodeManifest, ""},
		{"another system answers", func(_ *hanasim.Config, _ *Parts, c *Config) { c.SID = "ABC" }, StateFailed, StagePlan, CodeWrongSystem, ""},
		{
			"HANA writes past the pipes", func(s *hanasim.Config, _ *Parts, _ *Config) { s.Profile = hanasim.Replace },
			StateLost, StageStream, CodeIntrusion, "",
		},
		{
			"HANA insists on O_DIRECT", func(s *hanasim.Config, _ *Parts, _ *Config) { s.Profile = hanasim.Direct },
			StateFailed, StageTrigger, CodeHANA, "",
		},
		{
			"the answer gets lost and the backup fails", trigger(&faultyTrigger{
				backup: func(context.Context, backup.Plan, func() error) error { return errors.New("connection reset") },
			}), StateFailed, StageTrigger, CodeAnswerUnknown, "",
		},
		{
			"success without a catalog entry", trigger(&faultyTrigger{
				entry: func(backup.CatalogEntry, error) (backup.CatalogEntry, error) {
					return backup.CatalogEntry{}, backup.ErrNotFound
				},
			}), StateFailed, StageSettle, CodeCatalogMissing, "",
		},
		{
			"success with a failed catalog entry", trigger(&faultyTrigger{
				entry: func(e backup.CatalogEntry, err error) (backup.CatalogEntry, error) {
					e.State = backup.CatalogFailed
					return e, err
				},
			}), StateFailed, StageSettle, CodeCatalog, "",
		},
		{
			"a catalog size that differs", trigger(&faultyTrigger{
				entry: func(e backup.CatalogEntry, err error) (backup.CatalogEntry, error) {
					for i := range e.Files {
						if e.Files[i].VolumeID == 3 {
							e.Files[i].Size++
						}
					}
					return e, err
				},
			}), StateLost, StageSettle, CodeCatalog, "3_1",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, test.change)
			record := w.backupOf(t, "HXE")
			if record.State != test.state || record.Error == nil {
				t.Fatalf("got state %s because of %v", record.State, record.Error)
			}
			if e := record.Error; e.Stage != test.stage || e.Code != test.code || e.Stream != test.stream || e.Message == "" || e.Hint == "" {
				t.Errorf("got cause %+v", e)
			}
			for _, name := range names(t, w.bucket) {
				t.Errorf("visible in the store: %s", name)
			}
			for _, name := range names(t, w.pipes) {
				if info, err := os.Lstat(filepath.Join(w.pipes, name)); err != nil || !info.Mode().IsRegular() {
					t.Errorf("left in the backup directory: %s", name)
				}
			}
			if _, err := w.Backup(t.Context(), "HXE", Latest); !errors.Is(err, backup.ErrNotFound) && test.code != CodeWrongSystem {
				t.Errorf("looking for a backup gave %v", err)
			}
		})
	}
}

// TestAnswerLostButBackupGood shows that a connection lost during the backup is
// no reason to give up a backup that HANA finishes.
func TestAnswerLostButBackupGood(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, p *Parts, _ *Config) {
		p.Trigger = &faultyTrigger{backup: func(_ context.Context, _ backup.Plan, send func() error) error {
			return errors.Join(send(), errors.New("connection reset"))
		}}
	})
	if record := w.backupOf(t, "HXE"); record.State != StateSucceeded {
		t.Errorf("got %s because of %v", record.State, record.Error)
	}
}

func TestCancelStopsHANA(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(s *hanasim.Config, _ *Parts, _ *Config) {
		s.WriteSize = 4096
		s.Delay.Write = hanasim.Range{Min: 5 * time.Millisecond, Max: 5 * time.Millisecond}
	})
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	records, end, err := w.Subscribe(record.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for r := range records {
		if len(r.Streams) > 0 && r.Streams[len(r.Streams)-1].Bytes > 0 {
			break
		}
	}
	if err := w.Cancel(record.ID); err != nil {
		t.Fatal(err)
	}
	record = await(t, w.Conductor, record.ID)
	if record.State != StateCanceled || record.Error.Code != CodeCanceled {
		t.Errorf("got %s because of %v", record.State, record.Error)
	}
	if left := append(names(t, w.bucket), names(t, w.pipes)...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRestoreFaults damages one object: HANA gets a short stream, and the first
// cause is the object, not HANA's complaint.
func TestRestoreFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, path string)
		stage  Stage
		code   string
	}{
		{"object missing", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, StagePlan, CodeObject},
		{"object cut short", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path, 1<<20); err != nil {
				t.Fatal(err)
			}
		}, StagePlan, CodeObject},
		{"a flipped byte", func(t *testing.T, path string) {
			t.Helper()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)-1] ^= 1
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}, StageStream, CodeObject},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
			saved := w.backupOf(t, "HXE")
			if saved.State != StateSucceeded {
				t.Fatal(saved.Error)
			}
			test.damage(t, filepath.Join(w.bucket, "HXE", "HXE", "data", saved.Prefix, "3_1"))
			record, err := w.StartRestore(t.Context(), RestoreRequest{Database: "HXE", Backup: strconv.FormatInt(saved.BackupID, 10)}, "")
			if err != nil {
				t.Fatal(err)
			}
			record = await(t, w.Conductor, record.ID)
			if e := record.Error; record.State != StateFailed || e == nil || e.Stage != test.stage || e.Code != test.code || e.Stream != "3_1" {
				t.Errorf("got %s because of %+v, then %v", record.State, e, record.Consequences)
			}
			if left := names(t, w.pipes); len(left) > 0 {
				t.Errorf("left in the backup directory: %v", left)
			}
		})
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
	if err := WriteFiles(t.Context(), w.parts.Store, manifest, dir, nil); err != nil {
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
	if err := WriteFiles(t.Context(), w.parts.Store, manifest, dir, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second restore into the directory gave %v", err)
	}
	if got := len(names(t, dir)); got != len(manifest.Streams) {
		t.Errorf("the directory has %d files, expected %d", got, len(manifest.Streams))
	}
}
