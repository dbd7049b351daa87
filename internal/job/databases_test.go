package job

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// lateLister is a HANA that starts after the daemon.
type lateLister struct {
	backup.Trigger

	begin, up time.Time
	asked     []time.Duration
}

func (l *lateLister) Databases(context.Context) ([]string, error) {
	l.asked = append(l.asked, time.Since(l.begin))
	if time.Now().Before(l.up) {
		return nil, errors.New("connection refused")
	}
	return []string{"SYSTEMDB"}, nil
}

// TestHANAStartsLater: a sidecar is up before HANA, and soon knows its databases.
func TestHANAStartsLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		hana := &lateLister{begin: begin, up: begin.Add(45 * time.Second)}
		c := &Conductor{parts: Parts{Trigger: hana}, log: zap.NewNop(), metrics: NewMetrics(prometheus.NewRegistry()), ends: newEnds()}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
		defer cancel()
		c.WatchDatabases(ctx)
		if diff := cmp.Diff([]time.Duration{0, databasesRetry, 2 * databasesRetry, 2*databasesRetry + databasesInterval}, hana.asked); diff != "" {
			t.Errorf("HANA was asked at (-want +got):\n%s", diff)
		}
		if got := value(c.metrics.present, "SYSTEMDB"); got != 1 {
			t.Errorf("present: %v, expected 1", got)
		}
	})
}

// TestLooksAndEndsAgree: a look at which databases there are does not put back what
// a job has just made known.
func TestLooksAndEndsAgree(t *testing.T) {
	t.Parallel()
	journal, err := openJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Conductor{log: zap.NewNop(), metrics: NewMetrics(prometheus.NewRegistry()), journal: journal, ends: newEnds()}
	for n := range 20_000 {
		state, want := StateSucceeded, 0.0
		if n%2 == 0 {
			state, want = StateFailed, 1
		}
		var all sync.WaitGroup
		all.Go(func() { c.know("HXE") })
		all.Go(func() {
			c.bookEnd(Record{ID: strconv.Itoa(n), Action: ActionBackup, Database: "HXE", Kind: backup.KindComplete, State: state})
		})
		all.Wait()
		if got := value(c.metrics.failing, "backup", "HXE"); got != want {
			t.Fatalf("after %d ends last_failed is %v, expected %v", n, got, want)
		}
	}
}
