package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// A webhook is told that no log backups are found: nothing is shipped then, and no
// database has a status that says so. A HANA that starts for the first time has time
// to make the directories.
func TestLogTroublesOfNoDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := filepath.Join(t.TempDir(), "log")
		p := &parts{fleet: logship.NewFleet(logship.Config{SID: "HXE"}, spool.Config{Directory: directory}, logship.Parts{}, zap.NewNop(), logship.NewMetrics(prometheus.NewRegistry()), nil)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.fleet.Run(ctx) }()
		for _, want := range []string{"", "log backups cannot be found: open " + directory} {
			time.Sleep(unfoundPatience - time.Minute)
			synctest.Wait()
			if got := p.logTroubles(nil)[""]; !strings.HasPrefix(got, want) || (got == "") != (want == "") {
				t.Errorf("%q, expected %q", got, want)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// startedHANA has two databases, and has backed up the log of one.
type startedHANA struct{ backup.Historian }

func (startedHANA) Databases(context.Context) ([]string, error) {
	return []string{backup.SystemDB, "PRD"}, nil
}

func (startedHANA) NewestLog(_ context.Context, database string) (backup.CatalogEntry, error) {
	if database == "PRD" {
		return backup.CatalogEntry{BackupID: time.Now().UnixMilli()}, nil
	}
	return backup.CatalogEntry{}, backup.ErrNotFound
}

func (startedHANA) Logs(context.Context, string, int64, int64) ([]backup.CatalogEntry, error) {
	return nil, nil
}

func (startedHANA) Breaks(context.Context, string) ([]backup.Break, error) { return nil, nil }

// slowStore does not answer.
type slowStore struct{ logship.Store }

func (slowStore) List(ctx context.Context, _ string) ([]backup.Object, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

type noBases struct{ logship.Bases }

// Of what earlier processes have told, only that is over which is known to be: not
// the trouble of a database whose state is not known yet, or that has no directory
// now, but that of a database that is gone.
func TestLogTroublesAfterAStart(t *testing.T) {
	directory := t.TempDir()
	if err := os.Mkdir(filepath.Join(directory, backup.SystemDB), 0o700); err != nil {
		t.Fatal(err)
	}
	p := &parts{fleet: logship.NewFleet(logship.Config{SID: "HXE"}, spool.Config{Directory: directory},
		logship.Parts{Store: slowStore{}, Historian: startedHANA{}, Bases: noBases{}}, zap.NewNop(), logship.NewMetrics(prometheus.NewRegistry()), nil)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	troubled := []string{"", backup.SystemDB, "GONE", "PRD"}
	if got := p.logTroubles(troubled); len(got) > 0 {
		t.Errorf("before anything is known: %q", got)
	}
	go func() { ended <- p.fleet.Run(ctx) }()
	for end := time.Now().Add(10 * time.Second); !p.fleet.Absent(""); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("HANA was not asked")
		}
	}
	if diff := cmp.Diff(map[string]string{"": "", "GONE": ""}, p.logTroubles(troubled)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
