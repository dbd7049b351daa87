package logship_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/hdbtrigger"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// startHANA is the simulator, behind the real driver; no real HANA has shown this.
// It writes log backups below logs.
func startHANA(t *testing.T, logs string) (*hanasim.System, *hdbtrigger.Trigger) {
	t.Helper()
	system, err := hanasim.Start(hanasim.Config{
		Password: "secret", LogDir: logs,
		Databases: []hanasim.Database{{Name: "SYSTEMDB", Volumes: []hanasim.Volume{{ID: 1, Size: 4096}}}, {Name: "HXE", Volumes: []hanasim.Volume{{ID: 3, Size: 4096}}}},
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = system.Close() })
	host, text, err := net.SplitHostPort(system.Addr("SYSTEMDB"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	trigger, err := hdbtrigger.New(hdbtrigger.Config{
		Host: host, Port: port, User: "SYSTEM", PasswordFile: password, TLS: hdbtrigger.TLS{Off: true}, AllowParts: true,
	}, zap.NewNop(), hdbtrigger.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trigger.Close(); err != nil {
			t.Error(err)
		}
	})
	return system, trigger
}

// Before HANA has written any log backup there is nothing to find, and that is no
// trouble. When its catalog knows some, or when it cannot be asked, it is.
func TestNoLogYet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	system, trigger := startHANA(t, t.TempDir())
	w := world{t: t, registry: prometheus.NewRegistry()}
	fleet := logship.NewFleet(logship.Config{SID: sid, AskTimeout: 5 * time.Second}, spool.Config{Directory: t.TempDir()},
		logship.Parts{Store: newMemoryStore(), Historian: trigger, Bases: newBases()}, zap.NewNop(), logship.NewMetrics(w.registry), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	must := func(when, note, trouble string) {
		t.Helper()
		fleet.Look(ctx)
		got, _ := fleet.Trouble()
		if fleet.Note() != note || !strings.Contains(got, trouble) || (got == "") != (trouble == "") {
			t.Errorf("%s: note %q, trouble %q", when, fleet.Note(), got)
		}
	}
	must("at first", logship.NoLogYet, "")
	w.mustGauge("directory_failing", 0)
	writeLogs(t, system, trigger)
	must("before HANA is asked again", logship.NoLogYet, "")
	fleet.AskAgain()
	must("HANA writes them elsewhere", "", "has no directory of a database: expected SYSTEMDB or DB_<tenant>")
	w.mustGauge("directory_failing", 1)
	if err := system.Close(); err != nil {
		t.Fatal(err)
	}
	fleet.AskAgain()
	must("HANA is away", "", "has no directory of a database")
}

// withoutTenants is a HANA whose tenants were dropped.
type withoutTenants struct {
	*hdbtrigger.Trigger

	dropped atomic.Bool
}

func (h *withoutTenants) Databases(ctx context.Context) ([]string, error) {
	databases, err := h.Trigger.Databases(ctx)
	if h.dropped.Load() {
		databases = slices.DeleteFunc(databases, func(name string) bool { return name != backup.SystemDB })
	}
	return databases, err
}

// writeLogs has the simulator write a log backup of HXE, which needs a data backup.
func writeLogs(t *testing.T, system *hanasim.System, trigger *hdbtrigger.Trigger) {
	t.Helper()
	if err := trigger.Backup(t.Context(), backup.Plan{
		SID: "HXE", Database: "HXE", Kind: backup.KindComplete, JobID: "j", Directory: t.TempDir(), Prefix: "P",
	}); err != nil {
		t.Fatal(err)
	}
	if err := system.LogBurst(t.Context(), "HXE", 1); err != nil {
		t.Fatal(err)
	}
}

// HANA writes the log of one database where nobody looks, while that of SYSTEMDB is
// shipped. It is no trouble before HANA has written any, nor once the tenant is gone.
func TestLogElsewhere(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	system, trigger := startHANA(t, t.TempDir())
	hana := &withoutTenants{Trigger: trigger}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, backup.SystemDB), 0o700); err != nil {
		t.Fatal(err)
	}
	w := world{t: t, registry: prometheus.NewRegistry()}
	fleet := logship.NewFleet(logship.Config{SID: sid, AskTimeout: 5 * time.Second}, spool.Config{Directory: root},
		logship.Parts{Store: newMemoryStore(), Historian: hana, Bases: newBases()}, zap.NewNop(), logship.NewMetrics(w.registry), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	must := func(when, trouble string) {
		t.Helper()
		fleet.Look(ctx)
		got, _ := fleet.Trouble()
		if !strings.Contains(got, trouble) || (got == "") != (trouble == "") {
			t.Errorf("%s: trouble %q", when, got)
		}
		failing := 0.0
		if trouble != "" {
			failing = 1
		}
		w.mustGauge("directory_failing", failing)
	}
	must("before the first log backup", "")
	writeLogs(t, system, trigger)
	fleet.AskAgain()
	must("HANA writes them elsewhere", "/DB_HXE, which is not directly below "+root)
	if err := os.Mkdir(filepath.Join(root, "DB_HXE"), 0o700); err != nil {
		t.Fatal(err)
	}
	fleet.AskAgain()
	must("it has a directory", "")
	if err := os.Remove(filepath.Join(root, "DB_HXE")); err != nil {
		t.Fatal(err)
	}
	must("it has none again", "/DB_HXE, which is not directly below "+root)
	hana.dropped.Store(true)
	fleet.AskAgain()
	must("the tenant is gone", "")
}

// copied is a HANA whose tenant is a copy of another, which wrote the log backups in
// its catalog.
type copied struct {
	*hdbtrigger.Trigger

	of atomic.Pointer[string]
}

func (h *copied) Logs(ctx context.Context, database string, from, to int64) ([]backup.CatalogEntry, error) {
	entries, err := h.Trigger.Logs(ctx, database, from, to)
	if of := h.of.Load(); of != nil {
		for i := range entries {
			for j := range entries[i].Files {
				file := &entries[i].Files[j]
				file.Path = filepath.Join(*of, filepath.Base(file.Path))
			}
		}
	}
	return entries, err
}

// Only directories that stand directly in that of the log backups are looked into: a
// tenant whose log HANA writes further below has nobody who ships it. A copy whose
// catalog names the log of its original is no trouble.
func TestLogFurtherBelow(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	root := t.TempDir()
	system, trigger := startHANA(t, filepath.Join(root, "HXE"))
	hana := &copied{Trigger: trigger}
	if err := os.Mkdir(filepath.Join(root, backup.SystemDB), 0o700); err != nil {
		t.Fatal(err)
	}
	w := world{t: t, registry: prometheus.NewRegistry()}
	fleet := logship.NewFleet(logship.Config{SID: sid, AskTimeout: 5 * time.Second}, spool.Config{Directory: root + "/"},
		logship.Parts{Store: newMemoryStore(), Historian: hana, Bases: newBases()}, zap.NewNop(), logship.NewMetrics(w.registry), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	writeLogs(t, system, trigger)
	for _, step := range []struct {
		of, trouble string
		failing     float64
	}{
		{"", "HANA writes the log backups of HXE to " + root + "/HXE/DB_HXE, which is not directly below " + root, 1},
		{root + "/DB_OTHER", "", 0},
		{root, "HANA writes the log backups of HXE to " + root + ", which is not directly below " + root, 1},
	} {
		if step.of != "" {
			hana.of.Store(&step.of)
		}
		fleet.AskAgain()
		fleet.Look(ctx)
		if got, _ := fleet.Trouble(); !strings.Contains(got, step.trouble) || (got == "") != (step.trouble == "") {
			t.Errorf("log of %q: trouble %q, expected %q", step.of, got, step.trouble)
		}
		w.mustGauge("directory_failing", step.failing)
	}
}

// A tenant that was dropped, and whose directory is gone, leaves no trouble and no
// metrics behind. One that HANA has is not given up.
func TestDroppedTenant(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, trigger := startHANA(t, t.TempDir())
	root, registry := t.TempDir(), prometheus.NewRegistry()
	fleet := logship.NewFleet(logship.Config{SID: sid, AskTimeout: 5 * time.Second}, spool.Config{Directory: root, Rescan: 100 * time.Millisecond},
		logship.Parts{Store: newMemoryStore(), Historian: trigger, Bases: newBases()}, zap.NewNop(), logship.NewMetrics(registry), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	for _, directory := range []string{"/DB_DROPPED", "/DB_HXE"} {
		if err := errors.Join(os.Mkdir(root+directory, 0o700), os.WriteFile(root+directory+"/"+logName(2, 0, 1, 1), []byte("log"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	both := func(is func(*logship.Status) bool) func() bool {
		return func() bool {
			status := fleet.Status()
			return len(status) == 2 && is(&status[0]) && is(&status[1])
		}
	}
	fleet.Look(ctx)
	eventually(t, "the files are found", both(func(s *logship.Status) bool { return s.UnconfirmedFiles == 1 }))
	if err := errors.Join(os.RemoveAll(root+"/DB_DROPPED"), os.RemoveAll(root+"/DB_HXE")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "their directories are gone", both(func(s *logship.Status) bool { return s.VolumeTrouble != "" }))
	fleet.AskAgain()
	fleet.Look(ctx)
	eventually(t, "the shipper ends", func() bool { return len(fleet.Status()) < 2 })
	if status := fleet.Status(); len(status) != 1 || status[0].Database != "HXE" || status[0].VolumeTrouble == "" {
		t.Errorf("status %+v", status)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if strings.Contains(family.String(), "DROPPED") {
			t.Errorf("%s is still there", family.GetName())
		}
	}
	if err := os.Mkdir(root+"/DB_DROPPED", 0o700); err != nil {
		t.Fatal(err)
	}
	fleet.Look(ctx)
	if len(fleet.Status()) != 2 {
		t.Error("a new tenant of that name is not shipped")
	}
}
