package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/logship"
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
			if got := p.logTroubles()[""]; !strings.HasPrefix(got, want) || (got == "") != (want == "") {
				t.Errorf("%q, expected %q", got, want)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
