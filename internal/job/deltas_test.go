package job

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// again is a conductor of the next process.
func (w whole) again(t *testing.T) *Conductor {
	t.Helper()
	next, err := NewConductor(w.config, w.parts, zaptest.NewLogger(t), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	return next
}

func (w whole) work(t *testing.T) {
	t.Helper()
	if err := w.system.Work("HXE", 3); err != nil {
		t.Fatal(err)
	}
}

func (w whole) kindOf(t *testing.T, kind backup.Kind) Record {
	t.Helper()
	record, err := w.StartBackup(t.Context(), BackupRequest{Database: "HXE", Kind: kind}, "")
	if err != nil {
		t.Fatal(err)
	}
	return await(t, w.Conductor, record.ID)
}

func (w whole) mustBackUp(t *testing.T, kind backup.Kind) Record {
	t.Helper()
	record := w.kindOf(t, kind)
	if record.State != StateSucceeded {
		t.Fatalf("%s backup %s because of %v, %q", kind, record.State, record.Error, record.Consequences)
	}
	return record
}

// ship stores the log and catalog backups that HANA has written, with an index.
func (w whole) ship(t *testing.T) {
	t.Helper()
	directory := filepath.Join(w.logs, "DB_HXE")
	files, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	index := &backup.LogIndex{Version: backup.LogIndexVersion, SID: "HXE", Database: "HXE", Sequence: time.Now().UnixMilli()}
	for _, file := range files {
		path := filepath.Join(directory, file.Name())
		content, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		upload, err := w.parts.Store.Begin(t.Context(), backup.LogKey("HXE", "HXE", file.Name()), backup.UploadOptions{Encode: true})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := upload.Consume(t.Context(), content)
		if err := errors.Join(err, upload.Commit(context.WithoutCancel(t.Context())), content.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
		index.Files = append(index.Files, backup.LogFile{
			Name: file.Name(), Size: stored.Bytes, SHA256: stored.SHA256, Objects: stored.Objects, WrittenAt: time.Now(), Confirmed: true,
		})
	}
	text, err := index.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeObject(t.Context(), w.parts.Store, backup.LogIndexKey("HXE", "HXE", index.Sequence), text, time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestDeltas(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Direct))
	complete := w.mustBackUp(t, backup.KindComplete)
	w.work(t)
	first := w.mustBackUp(t, backup.KindIncremental)
	w.work(t)
	second := w.mustBackUp(t, backup.KindIncremental)
	w.work(t)
	differential := w.mustBackUp(t, backup.KindDifferential)
	w.work(t)
	third := w.mustBackUp(t, backup.KindIncremental)
	got := []int64{first.BaseID, second.BaseID, differential.BaseID, third.BaseID}
	want := []int64{complete.BackupID, first.BackupID, complete.BackupID, differential.BackupID}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	if left := names(t, w.pipes); len(left) > 0 {
		t.Errorf("left in the backup directory: %v", left)
	}
	w.ship(t)
	record := w.expectRestored(t, RestoreRequest{Database: "HXE", Backup: Latest})
	if diff := cmp.Diff([]int64{differential.BackupID, third.BackupID}, record.Plan.Deltas); diff != "" || record.Plan.Complete != complete.BackupID {
		t.Errorf("plan %+v (-want +got):\n%s", record.Plan, diff)
	}
}

func TestDeltasAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, w whole)
		code  string
	}{
		{"without a complete backup", func(*testing.T, whole) {}, CodeBaseMissing},
		{"with one of another tool", func(t *testing.T, w whole) {
			t.Helper()
			record := w.mustBackUp(t, backup.KindComplete)
			if err := w.parts.Store.Remove(t.Context(), record.Manifest); err != nil {
				t.Fatal(err)
			}
		}, CodeBaseMissing},
		{"with an object missing", func(t *testing.T, w whole) {
			t.Helper()
			record := w.mustBackUp(t, backup.KindComplete)
			if err := w.parts.Store.Remove(t.Context(), backup.StreamKey("HXE", "HXE", record.Prefix, backup.StreamID{VolumeID: 3, PartID: 1})); err != nil {
				t.Fatal(err)
			}
		}, CodeBaseMissing},
		{"after a recovery", func(t *testing.T, w whole) {
			t.Helper()
			w.mustBackUp(t, backup.KindComplete)
			w.expectRestored(t, RestoreRequest{Database: "HXE", Backup: Latest})
		}, CodeBaseForeign},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
			test.spoil(t, w)
			record := w.kindOf(t, backup.KindDifferential)
			if record.State != StateFailed || record.Error.Code != test.code || record.Error.Hint == "" {
				t.Errorf("%s because of %+v", record.State, record.Error)
			}
		})
	}
	t.Run("through pipes only", func(t *testing.T) {
		t.Parallel()
		w := startWhole(t, throughDoor(DoorFIFO, hanasim.Dotname))
		_, err := w.StartBackup(t.Context(), BackupRequest{Database: "HXE", Kind: backup.KindDifferential}, "")
		if field, is := errors.AsType[*FieldError](err); !is || field.Field != "kind" {
			t.Errorf("got %v", err)
		}
	})
}

// moment is a point in time to which a restore must come, and what it must find.
type moment struct {
	at     time.Time
	points map[int]hanasim.Point
}

// now waits for the next whole second, so that nothing happens in the one of the
// moment: RECOVER knows no smaller piece of time.
func (w whole) now() moment {
	at := time.Now().Truncate(time.Second).Add(time.Second)
	points := w.system.Points("HXE")
	time.Sleep(time.Until(at.Add(time.Millisecond)))
	return moment{at, points}
}

func TestPointInTime(t *testing.T) {
	t.Parallel()
	for name, around := range map[string]func(*testing.T, Store) Store{
		"as it is": func(_ *testing.T, s Store) Store { return s }, "encoded": encoded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pointInTime(t, around)
		})
	}
}

// encoded is store with data and log compressed and encrypted.
func encoded(t *testing.T, store Store) Store {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(file, []byte(identity.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	around, err := codec.New(store, codec.Config{Compression: "fastest", Recipients: []string{identity.Recipient().String()}, IdentityFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return around
}

func pointInTime(t *testing.T, around func(*testing.T, Store) Store) {
	t.Helper()
	w := startWhole(t, func(sim *hanasim.Config, parts *Parts, c *Config) {
		throughDoor(DoorAuto, hanasim.Dotname)(sim, parts, c)
		parts.Store = around(t, parts.Store)
	})
	backupLog := func() {
		t.Helper()
		w.work(t)
		if err := w.system.LogBackup(t.Context(), "HXE"); err != nil {
			t.Fatal(err)
		}
	}
	w.mustBackUp(t, backup.KindComplete)
	backupLog()
	first := w.now()
	backupLog()
	w.mustBackUp(t, backup.KindDifferential)
	backupLog()
	second := w.now()
	backupLog()
	w.ship(t)
	newest := w.system.Points("HXE")

	for name, test := range map[string]struct {
		until  string
		points map[int]hanasim.Point
	}{
		"before the delta": {first.at.UTC().Format(time.RFC3339), first.points},
		"after the delta":  {second.at.UTC().Format(time.DateTime), second.points},
		"latest":           {Latest, newest},
	} {
		if err := w.system.Destroy("HXE"); err != nil {
			t.Fatal(err)
		}
		dry := w.restoreTo(t, RestoreRequest{Database: "HXE", Until: test.until, DryRun: true})
		if dry.State != StateSucceeded || dry.Plan == nil || dry.Plan.Logs == 0 || dry.Plan.Catalog == "" {
			t.Fatalf("%s: plan %+v because of %v", name, dry.Plan, dry.Error)
		}
		record := w.restoreTo(t, RestoreRequest{Database: "HXE", Until: test.until})
		if record.State != StateSucceeded {
			t.Fatalf("%s: %s because of %v, %q", name, record.State, record.Error, record.Consequences)
		}
		if diff := cmp.Diff(test.points, w.system.Points("HXE")); diff != "" {
			t.Errorf("%s: log after the restore (-want +got):\n%s", name, diff)
		}
		if left, err := os.ReadDir(w.pipes); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the backup directory: %v, %v", name, left, err)
		}
	}
}

// TestMissedPoint lets HANA stop early without a word, as it does when it does
// not find a log backup.
func TestMissedPoint(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	w.mustBackUp(t, backup.KindComplete)
	for range 3 {
		w.work(t)
		if err := w.system.LogBackup(t.Context(), "HXE"); err != nil {
			t.Fatal(err)
		}
	}
	w.ship(t)
	w.parts.Recoverer = &lostLog{Recoverer: w.parts.Recoverer}
	record := w.restoreTo(t, RestoreRequest{Database: "HXE", Until: Latest})
	if record.State != StateFailed || record.Error.Code != CodePointMissed || !strings.Contains(record.Error.Message, "log_backup_") {
		t.Errorf("%s because of %+v", record.State, record.Error)
	}
}

// lostLog is a recoverer to which a log backup gets lost when it begins.
type lostLog struct{ backup.Recoverer }

func (l *lostLog) RecoverTo(ctx context.Context, r backup.Recovery) error {
	files, err := os.ReadDir(r.LogPaths[0])
	if err != nil {
		return err
	}
	logs := slices.DeleteFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), "log_backup_0_") })
	return errors.Join(os.Remove(filepath.Join(r.LogPaths[0], logs[len(logs)-1].Name())), l.Recoverer.RecoverTo(ctx, r))
}

// A point that cannot be reached is refused before HANA is touched, with the
// reason and a point that can be.
func TestUnreachablePoint(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorAuto, hanasim.Dotname))
	w.mustBackUp(t, backup.KindComplete)
	var until string
	for range 2 {
		w.work(t)
		if err := w.system.LogBackup(t.Context(), "HXE"); err != nil {
			t.Fatal(err)
		}
		if until == "" {
			until = w.now().at.UTC().Format(time.DateTime)
		}
	}
	w.ship(t)
	objects, err := w.parts.Store.List(t.Context(), backup.LogPrefix("HXE", "HXE"))
	if err != nil {
		t.Fatal(err)
	}
	lost := slices.IndexFunc(objects, func(o backup.Object) bool { return !strings.Contains(o.Key, "log_backup_0_") })
	if err := w.parts.Store.Remove(t.Context(), objects[lost].Key); err != nil {
		t.Fatal(err)
	}
	before := w.system.Points("HXE")
	record := w.restoreTo(t, RestoreRequest{Database: "HXE", Until: until})
	if record.State != StateFailed || record.Error.Code != CodePointUnreachable || !strings.Contains(record.Error.Message, filepath.Base(objects[lost].Key)) {
		t.Errorf("%s because of %+v", record.State, record.Error)
	}
	if diff := cmp.Diff(before, w.system.Points("HXE")); diff != "" {
		t.Errorf("HANA was touched:\n%s", diff)
	}
}

func TestRestoreRequestsAreRefused(t *testing.T) {
	t.Parallel()
	for field, request := range map[string]RestoreRequest{
		"database":    {Database: "a b", Until: Latest},
		"backup":      {Database: "HXE"},
		"until":       {Database: "HXE", Until: "0001-01-01T00:00:00Z"},
		"until ":      {Database: "HXE", Until: "2026-01-31 10:00:00.5"},
		"until  ":     {Database: "HXE", Until: "yesterday"},
		"until   ":    {Database: "HXE", Until: Latest, Backup: Latest},
		"to_database": {Database: "SYSTEMDB", Until: Latest, ToDatabase: "HXE"},
	} {
		_, _, _, err := request.parse()
		if e, is := errors.AsType[*FieldError](err); !is || e.Field != strings.TrimSpace(field) {
			t.Errorf("%+v gave %v, expected a word about %s", request, err, field)
		}
	}
}

// A backup through files for which the volume has no room is refused before HANA
// is told.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	w := startWhole(t, throughDoor(DoorSpool, hanasim.Dotname))
	for name, test := range map[string]struct {
		punched  bool
		obstacle error
		refused  bool
	}{
		"nothing is punched":       {false, nil, true},
		"punching makes room":      {true, nil, false},
		"punching is not possible": {true, errors.New("not on this file system"), true},
	} {
		w.parts.Volume = fullVolume{w.parts.Volume, test.punched, test.obstacle}
		record := w.backupOf(t, "HXE")
		if refused := record.State == StateFailed && record.Error.Code == CodeRoom && record.Error.Hint != ""; refused != test.refused {
			t.Fatalf("%s: %s because of %+v", name, record.State, record.Error)
		}
		if test.obstacle != nil && !strings.Contains(record.Error.Message, test.obstacle.Error()) {
			t.Errorf("%s: %q", name, record.Error.Message)
		}
	}
}

// fullVolume has room for little.
type fullVolume struct {
	Volume

	punched  bool
	obstacle error
}

func (fullVolume) Room() (int64, error) { return 1000, nil }

func (v fullVolume) Punching() (bool, error) { return v.punched, v.obstacle }

// A spool backup that was killed after its manifest was written still gives its
// files back; one killed before names them.
func TestFilesOfAnInterruptedBackup(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(_ *hanasim.Config, _ *Parts, c *Config) { c.Door, c.KeepFor = DoorSpool, time.Hour })
	record := w.mustBackUp(t, backup.KindComplete)
	w.Close()
	record.State, record.Stage, record.Spooled, record.FinishedAt = StateRunning, StageStream, nil, time.Time{}
	if err := w.journal.save(entry{Record: record, Request: "backup"}); err != nil {
		t.Fatal(err)
	}
	next := w.again(t)
	if after := await(t, next, record.ID); after.State != StateSucceeded || len(after.Spooled) != 3 {
		t.Errorf("%s with %v on the volume", after.State, after.Spooled)
	}
}

// TestRestoreIntoAnotherTenant leaves the source alone.
func TestRestoreIntoAnotherTenant(t *testing.T) {
	t.Parallel()
	w := startWhole(t, func(sim *hanasim.Config, _ *Parts, c *Config) {
		c.Door = DoorAuto
		sim.Databases = append(sim.Databases, hanasim.Database{Name: "COPY", Volumes: []hanasim.Volume{{ID: 2, Service: "xsengine", Size: 99}, {ID: 3, Size: 99}}})
	})
	w.mustBackUp(t, backup.KindComplete)
	w.work(t)
	if err := w.system.LogBackup(t.Context(), "HXE"); err != nil {
		t.Fatal(err)
	}
	w.ship(t)
	want := w.system.Points("HXE")
	for _, until := range []string{Latest, ""} {
		request := RestoreRequest{Database: "HXE", Until: until, ToDatabase: "COPY"}
		if until == "" {
			request.Backup = Latest
		}
		record := w.restoreTo(t, request)
		if record.State != StateSucceeded || record.Database != "COPY" || record.Source != "HXE" {
			t.Fatalf("%s of %s because of %v", record.State, record.Database, record.Error)
		}
		same := cmp.Equal(want, w.system.Points("COPY"))
		if same != (until == Latest) {
			t.Errorf("restore %+v: COPY is at %v, HXE at %v", request, w.system.Points("COPY"), want)
		}
	}
	if diff := cmp.Diff(want, w.system.Points("HXE")); diff != "" {
		t.Errorf("the source was touched:\n%s", diff)
	}
}
