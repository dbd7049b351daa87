package logship_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

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
