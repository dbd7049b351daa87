package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// faultyTrigger is the real trigger with one fault of the connection.
type faultyTrigger struct {
	backup.Trigger

	backup func(ctx context.Context, plan backup.Plan, send func() error) error
	entry  func(e backup.CatalogEntry, err error) (backup.CatalogEntry, error)
	deaf   bool // HANA goes on whoever leaves or cancels
}

func (t *faultyTrigger) Backup(ctx context.Context, plan backup.Plan) error {
	if t.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	send := func() error { return t.Trigger.Backup(ctx, plan) }
	if t.backup == nil {
		return send()
	}
	return t.backup(ctx, plan, send)
}

func (t *faultyTrigger) Cancel(ctx context.Context, plan backup.Plan) error {
	if t.deaf {
		return nil
	}
	return t.Trigger.Cancel(ctx, plan)
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
		{
			"upload fails after HANA's last byte", func(s *hanasim.Config, p *Parts, c *Config) {
				store("consume at the end")(s, p, c)
				p.Trigger = &faultyTrigger{deaf: true}
			},
			StateLost, StageStream, CodeUpload, "3_1",
		},
		{"commit fails", store("commit"), StateLost, StageCommit, CodeCommit, "3_1"},
		{"manifest cannot be written", store("manifest"), StateLost, StageCommit, CodeUnwritten, ""},
		{"another system answers", func(_ *hanasim.Config, _ *Parts, c *Config) { c.SID = "ABC" }, StateFailed, StagePlan, CodeWrongSystem, ""},
		{
			"HANA writes past the pipes", func(s *hanasim.Config, p *Parts, _ *Config) {
				s.Profile, p.Trigger = hanasim.Replace, &faultyTrigger{deaf: true}
			},
			StateLost, StageStream, CodeIntrusion, "",
		},
		{
			"HANA insists on O_DIRECT", func(s *hanasim.Config, _ *Parts, _ *Config) { s.Profile = hanasim.Direct },
			StateFailed, StageStream, CodeDirect, "any",
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
			}), StateLost, StageSettle, CodeCatalogMissing, "",
		},
		{
			"HANA never starts and never answers", trigger(&faultyTrigger{
				backup: func(ctx context.Context, _ backup.Plan, send func() error) error {
					<-ctx.Done()
					return errors.Join(context.Cause(ctx), send())
				},
			}), StateFailed, StageStream, CodeUnopened, "",
		},
		{
			"all streams end and HANA never answers", trigger(&faultyTrigger{
				backup: func(ctx context.Context, _ backup.Plan, send func() error) error {
					err := send()
					<-ctx.Done()
					return errors.Join(context.Cause(ctx), err)
				},
				entry: func(e backup.CatalogEntry, err error) (backup.CatalogEntry, error) {
					e.State = backup.CatalogRunning
					return e, err
				},
			}), StateFailed, StageTrigger, CodeAnswerUnknown, "",
		},
		{
			"the answer gets lost and the catalog never ends", trigger(&faultyTrigger{
				backup: func(_ context.Context, _ backup.Plan, send func() error) error {
					return errors.Join(send(), errors.New("connection reset"))
				},
				entry: func(e backup.CatalogEntry, err error) (backup.CatalogEntry, error) {
					e.State = backup.CatalogRunning
					return e, err
				},
			}), StateFailed, StageTrigger, CodeAnswerUnknown, "",
		},
		{
			"the statement cannot be sent", trigger(&faultyTrigger{
				backup: func(context.Context, backup.Plan, func() error) error {
					return fmt.Errorf("BACKUP DATA: %w: connection refused", backup.ErrNotSent)
				},
			}), StateFailed, StageTrigger, CodeUnreachable, "",
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
			if e := record.Error; e.Stage != test.stage || e.Code != test.code || e.Stream != test.stream && test.stream != "any" || e.Message == "" || e.Hint == "" {
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

// TestAnswerMissingButBackupGood shows the same of an answer that never comes.
func TestAnswerMissingButBackupGood(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, p *Parts, c *Config) {
		c.AnswerTimeout = 500 * time.Millisecond
		p.Trigger = &faultyTrigger{backup: func(ctx context.Context, _ backup.Plan, send func() error) error {
			err := send()
			<-ctx.Done()
			return errors.Join(context.Cause(ctx), err)
		}}
	})
	if record := w.backupOf(t, "HXE"); record.State != StateSucceeded {
		t.Errorf("got %s because of %v", record.State, record.Error)
	}
}

func TestPrefixIsUsedOnce(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(*hanasim.Config, *Parts, *Config) {})
	for _, want := range []State{StateSucceeded, StateFailed} {
		record, err := w.StartBackup(t.Context(), BackupRequest{Database: "HXE", Prefix: "MONDAY"}, "")
		if err != nil {
			t.Fatal(err)
		}
		record = await(t, w.Conductor, record.ID)
		if record.State != want || want == StateFailed && (record.Error.Code != CodePrefixUsed || record.Error.Stage != StagePlan) {
			t.Errorf("got %s because of %v", record.State, record.Error)
		}
	}
	if _, err := w.Backup(t.Context(), "HXE", Latest); err != nil {
		t.Errorf("the first backup is gone: %v", err)
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
