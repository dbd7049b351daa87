package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/faultys3"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// The variables of the crash sweep. The daemon refuses unknown variables that
// begin with its own name.
const (
	// crashPointsVariable is how many points are swept, by default crashPoints.
	crashPointsVariable = "E2E_CRASH_POINTS"
	// crashSeedVariable repeats a sweep.
	crashSeedVariable = "E2E_CRASH_SEED"
	// crashPointVariable repeats one point of it.
	crashPointVariable = "E2E_CRASH_POINT"
)

const (
	// crashPoints is one more than the moments there are.
	crashPoints = 14
	// crashWorlds share the points, each one point at a time.
	crashWorlds = 3
)

// TestCrashSweep kills the daemon with SIGKILL at seeded random moments of a
// backup, starts it again, and checks after each that nobody was deceived:
// neither HANA, nor the store, nor who asks the daemon.
func TestCrashSweep(t *testing.T) {
	t.Parallel()
	seed := uint64(number(t, crashSeedVariable, int(time.Now().UnixNano()&0xffff_ffff)))
	first, points := 0, number(t, crashPointsVariable, crashPoints)
	if only := number(t, crashPointVariable, -1); only >= 0 {
		first, points = only, only+1
	}
	t.Logf("%s=%d", crashSeedVariable, seed)
	queue := make(chan int, points)
	for i := first; i < points; i++ {
		queue <- i
	}
	close(queue)
	started := time.Now()
	var mu sync.Mutex
	ends := make(map[string]int)
	var sweeping sync.WaitGroup
	for number := range min(crashWorlds, points-first) {
		sweeping.Go(func() {
			t.Run(fmt.Sprintf("world %d", number), func(t *testing.T) {
				s := newCrashSweep(t, seed)
				for i := range queue {
					end := s.point(i)
					mu.Lock()
					ends[end]++
					mu.Unlock()
				}
				s.expectSwept()
				s.stopDaemon()
			})
		})
	}
	sweeping.Wait()
	t.Logf("%d points in %.0f s: %v", points-first, time.Since(started).Seconds(), ends)
}

// number reads a variable.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// crashSweep is a world that survives many crashes.
type crashSweep struct {
	*world

	seed   uint64
	client *httpapi.Client
	store  *faultys3.Server
	// known are the jobs of earlier points.
	known map[string]bool
	// calm is how long a backup takes when nothing happens to it.
	calm time.Duration
	// uploads are multipart uploads that earlier crashes left in the store.
	uploads map[string]bool
}

// crashVolumes make a backup of two parts and some.
var crashVolumes = []int64{6 * mebibyte, 200_000}

func newCrashSweep(t *testing.T, seed uint64) *crashSweep {
	t.Helper()
	s := &crashSweep{seed: seed, known: make(map[string]bool), uploads: make(map[string]bool)}
	s.world = &world{t: t, depot: openS3(t), backups: directory(t), hana: startHANA(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(crashVolumes...)}},
		Profile:   hanasim.Dotname, WriteSize: 64 << 10, Seed: seed,
	})}
	s.store = startFaultyS3(t, s.depot.server)
	s.log.showOnFailure(t, "the daemon")
	s.configure(map[string]any{
		"store":    map[string]any{"options": map[string]any{"endpoint": "http://" + s.store.Address()}},
		"timeouts": map[string]any{"answer": "5s", "end": "1s", "clean": "10s"},
	})
	s.startDaemon()
	s.client = s.world.client()
	s.hana.set("delay-write", "2ms")
	began := time.Now()
	s.forget(s.backUp("HXE"))
	s.calm = time.Since(began)
	return s
}

// crashPoint is one crash. Everything about it follows from seed and number.
type crashPoint struct {
	*crashSweep

	random *rand.Rand
	// id is the job's, empty when the daemon never answered.
	id chan string
}

// point crashes one backup and returns how its job ended.
func (s *crashSweep) point(number int) (end string) {
	s.t.Helper()
	p := &crashPoint{crashSweep: s, random: rand.New(rand.NewPCG(s.seed, uint64(number))), id: make(chan string, 1)} //nolint:gosec // it is to be repeatable
	moments := crashMoments()
	// The short form sees every moment once.
	m := moments[number%len(moments)]
	settings := p.disturb()
	again := p.random.IntN(4) == 0
	defer func() {
		if s.t.Failed() {
			s.t.Fatalf("%s=%d %s=%d go test ./e2e -run TestCrashSweep: killed %s, twice: %t, HANA with %v",
				crashSeedVariable, s.seed, crashPointVariable, number, m.name, again, settings)
		}
	}()
	reached := m.begin(p)
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	go func() {
		record, err := s.client.StartBackup(ctx, job.BackupRequest{Database: "HXE"}, "")
		if err != nil {
			record.ID = "" // killed before it answered
		}
		p.id <- record.ID
	}()
	p.await(reached)
	time.Sleep(time.Duration(p.random.IntN(8)*p.random.IntN(2)) * time.Millisecond) // the point of the sweep
	s.kill()
	s.store.Clear()
	before := s.log.String()
	if again {
		s.crashWhileStarting(time.Duration(p.random.IntN(250)) * time.Millisecond)
		before += s.log.String()
	}
	s.restart()
	end = p.check(<-p.id)
	if s.t.Failed() {
		s.t.Logf("the log of the daemons that were killed:\n%s", before)
	}
	s.calmDown()
	s.expectNextBackup()
	return end
}

func (s *crashSweep) kill() {
	s.t.Helper()
	s.daemon.signal(syscall.SIGKILL)
	s.daemon.wait()
}

// restart begins a new log: that of hundreds of daemons would be cut off where
// startDaemon looks for the new address.
func (s *crashSweep) restart() {
	s.t.Helper()
	s.log.reset()
	s.startDaemon()
}

func (l *tail) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = nil
}

// crashWhileStarting kills a daemon that is about to take over.
func (s *crashSweep) crashWhileStarting(after time.Duration) {
	s.t.Helper()
	s.log.reset()
	env := []string{"PIPESTREAMER_METRICS_LISTEN=127.0.0.1:0"}
	s.daemon = startProcess(s.t, "the daemon", &s.log, env, daemonProgram(s.t), "serve", "--config", s.config)
	time.Sleep(after) // the point of the sweep
	s.kill()
}

// disturb gives HANA habits for this point and returns them.
func (p *crashPoint) disturb() map[string]string {
	p.t.Helper()
	pick := func(values ...string) string { return values[p.random.IntN(len(values))] }
	settings := map[string]string{
		"profile":     pick(string(hanasim.Dotname), string(hanasim.Plain), string(hanasim.DirectFallback)),
		"client-gone": pick("cancel", "continue"),
		"delay-open":  pick("0s", "0ms..30ms", "0ms..300ms"),
		"delay-write": pick("0s", "1ms", "0ms..5ms"),
		"delay-close": pick("0s", "0ms..50ms"), "delay-answer": pick("0s", "0ms..100ms"),
		"late-row": pick("0s", "0s", "50ms"), "late-state": pick("0s", "0s", "100ms"),
	}
	for key, value := range settings {
		p.hana.set(key, value)
	}
	return settings
}

// calmDown ends what disturb began.
func (s *crashSweep) calmDown() {
	s.t.Helper()
	for _, key := range []string{"delay-open", "delay-write", "delay-close", "delay-answer", "late-row", "late-state"} {
		s.hana.set(key, "0s")
	}
	s.hana.set("client-gone", "cancel")
}

// await polls until the moment has come, or the job has ended without it.
func (p *crashPoint) await(reached func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for !reached() && !p.over() {
		if time.Now().After(deadline) {
			p.t.Fatalf("the moment did not come within %s", patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// record is the job as the daemon shows it, without an ID while it has not
// answered.
func (p *crashPoint) record() job.Record {
	p.t.Helper()
	select {
	case id := <-p.id:
		p.id <- id
		if id == "" {
			p.t.Fatal("the daemon refused the backup")
		}
		record, err := p.client.Job(p.t.Context(), id)
		if err != nil {
			p.t.Fatal(err)
		}
		return record
	default:
		return job.Record{}
	}
}

func (p *crashPoint) over() bool {
	p.t.Helper()
	record := p.record()
	return record.ID != "" && record.State.Terminal()
}

// journal lists the files in which the daemon keeps its jobs.
func (s *crashSweep) journal() []os.FileInfo {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(s.socket), "jobs"))
	if err != nil {
		s.t.Fatal(err)
	}
	var files []os.FileInfo
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil { // it may be gone
			files = append(files, info)
		}
	}
	return files
}
