package logship_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
func startHANA(t *testing.T) (*hanasim.System, *hdbtrigger.Trigger) {
	t.Helper()
	system, err := hanasim.Start(hanasim.Config{
		Password: "secret", LogDir: t.TempDir(),
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
	system, trigger := startHANA(t)
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
	if err := trigger.Backup(ctx, backup.Plan{
		SID: "HXE", Database: "HXE", Kind: backup.KindComplete, JobID: "j", Directory: t.TempDir(), Prefix: "P",
	}); err != nil {
		t.Fatal(err)
	}
	if err := system.LogBurst(ctx, "HXE", 1); err != nil {
		t.Fatal(err)
	}
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
