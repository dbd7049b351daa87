package logship_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// Where no log backups can be found, nobody says that all is well.
func TestFleetTrouble(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	root := filepath.Join(t.TempDir(), "log")
	core, log := observer.New(zapcore.ErrorLevel)
	w := world{t: t, registry: prometheus.NewRegistry()}
	fleet := logship.NewFleet(logship.Config{SID: sid}, spool.Config{Directory: root},
		logship.Parts{Store: newMemoryStore(), Historian: &hana{}, Bases: newBases()}, zap.New(core), logship.NewMetrics(w.registry), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	w.mustGauge("directory_failing", 0)
	for i, step := range []struct {
		directory string
		trouble   string
		databases int
	}{
		{"", "no such file", 0},
		{root, "no directory of a database", 0},
		{root + "/DB_lower", "no directory of a database", 0},
		{root + "/SYSTEMDB", "", 1},
		{root + "/DB_PRD", "", 2},
	} {
		if step.directory != "" {
			if err := os.Mkdir(step.directory, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		fleet.Look(ctx)
		got := fleet.Trouble()
		if !strings.Contains(got, step.trouble) || (got == "") != (step.trouble == "") {
			t.Errorf("step %d: trouble %q, expected %q", i, got, step.trouble)
		}
		if n := len(fleet.Status()); n != step.databases {
			t.Errorf("step %d: %d databases, expected %d", i, n, step.databases)
		}
		want := 1.0
		if step.trouble == "" {
			want = 0
		}
		w.mustGauge("directory_failing", want)
	}
	if got := log.FilterMessage("log backups cannot be looked for").Len(); got != 2 {
		t.Errorf("told %d times, expected each trouble once", got)
	}
}

// What is called like a directory of a database and is none is told, beside those
// that are shipped, and never followed.
func TestFleetFollowsNoLinks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	root, other := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(root, "SYSTEMDB"), 0o700), os.Symlink(other, filepath.Join(root, "DB_PRD")),
		os.WriteFile(filepath.Join(root, "DB_QAS"), nil, 0o600), os.WriteFile(filepath.Join(root, "notes"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	fleet := logship.NewFleet(logship.Config{SID: sid}, spool.Config{Directory: root},
		logship.Parts{Store: newMemoryStore(), Historian: &hana{}, Bases: newBases()}, zap.NewNop(), logship.NewMetrics(nil), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	fleet.Look(ctx)
	got := fleet.Trouble()
	for _, want := range []string{"DB_PRD is a symbolic link", "DB_QAS is not a directory"} {
		if !strings.Contains(got, want) {
			t.Errorf("trouble %q, expected %q", got, want)
		}
	}
	if strings.Contains(got, "notes") || len(fleet.Status()) != 1 {
		t.Errorf("trouble %q, %d databases", got, len(fleet.Status()))
	}
}
