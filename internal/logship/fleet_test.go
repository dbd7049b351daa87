package logship_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// The databases share the volume: it lasts for as long as it takes all of them to
// fill it, and as long for one that writes nothing.
func TestFleetSharesTheVolume(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	root := t.TempDir()
	writers := []string{"SYSTEMDB", "DB_PRD", "DB_QAS"}
	for _, name := range append(writers, "DB_IDLE") {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fleet := logship.NewFleet(logship.Config{SID: sid}, spool.Config{Directory: root},
		logship.Parts{Store: newMemoryStore(), Historian: &hana{}, Bases: newBases()}, zap.NewNop(), logship.NewMetrics(nil), spool.NewMetrics(nil))
	defer fleet.Wait()
	defer cancel()
	const before = 30 * time.Minute
	fleet.Backdate(before)
	fleet.Look(ctx)
	const size = 1 << 20
	for _, name := range writers {
		hidden := filepath.Join(root, name, ".being-written")
		if err := errors.Join(os.WriteFile(hidden, make([]byte, size), 0o600), os.Rename(hidden, filepath.Join(root, name, logName(2, 0, 1, time.Now().UnixMilli())))); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		files, measured := 0, 0
		for _, s := range fleet.Status() {
			files += s.WaitingFiles + s.KeptFiles
			if s.SpaceFree != nil {
				measured++
			}
		}
		if files == len(writers) && measured == len(writers)+1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files were seen, and the space of %d databases", files, measured)
		}
	}
	for _, s := range fleet.Status() {
		room := max(*s.SpaceFree-max(size, min(*s.SpaceTotal/100, 1<<30)), 0)
		want := float64(room) / float64(len(writers)*size) * before.Seconds()
		if s.Lasts == nil {
			t.Errorf("%s: how long the volume lasts is not known", s.Database)
		} else if got := float64(*s.Lasts); math.Abs(got-want) > want/20+1 {
			t.Errorf("%s: the volume lasts %.0f s, expected about %.0f", s.Database, got, want)
		}
	}
}
