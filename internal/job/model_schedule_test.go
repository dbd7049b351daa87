package job

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// modelSchedule is everything that will happen in one world, drawn from one
// seed before anything happens.
type modelSchedule struct {
	seed    uint64
	faults  []string // for people
	codes   []string // the first causes that the faults may have
	sizes   []int    // of the streams that HANA plans
	hana    hanaSpec
	door    doorSpec
	store   storeSpec
	outside outsideSpec
	crash   crashSpec
	restore restoreSpec
	// deleteLost is the configuration's onLost; prefix is that of the request.
	deleteLost bool
	prefix     string
}

func (s *modelSchedule) String() string {
	faults := strings.Join(s.faults, ", ")
	if faults == "" {
		faults = "none"
	}
	if len(s.restore.faults) > 0 && s.restore.wanted {
		faults += "; at the restore: " + strings.Join(s.restore.faults, ", ")
	}
	if s.crash.after != nil && len(s.crash.after.faults) > 0 {
		faults += "; after that: " + strings.Join(s.crash.after.faults, ", ")
	}
	return fmt.Sprintf("seed %d: %d streams; faults: %s", s.seed, len(s.sizes), faults)
}

type startKind int

const (
	startRuns startKind = iota
	startNotSent
	startRefused
)

type answerKind int

const (
	answerPlain answerKind = iota
	answerLost
	answerNever
)

// hanaSpec is how HANA behaves.
type hanaSpec struct {
	planDelay time.Duration
	planErr   error
	otherSID  bool

	send  time.Duration // from the call to HANA
	start startKind
	begin time.Duration // from the statement to the first service
	// otherPause is how much longer each piece of the other database takes.
	otherPause time.Duration
	// finish is from the last file to the end, spread from one service's
	// failure to the others'.
	finish, spread time.Duration
	failsAtEnd     bool // after all bytes
	lies           bool // answers success, and the catalog says failed
	complains      bool // answers an error, and the catalog says successful

	answer answerKind
	// answerDelay is from the end to the answer; for a lost connection, from
	// the beginning.
	answerDelay time.Duration

	entryDelay time.Duration
	rowNever   bool
	rowAppears time.Duration // from the beginning
	rowSettles time.Duration // from the end to a row that says so
	distort    func(*backup.CatalogEntry)
	away       window // when the catalog cannot be asked
	awayHangs  bool

	cancelDelay, cancelTakes                time.Duration
	cancelFails, cancelHangs, cancelIgnored bool

	writers []writerSpec
}

type writeKind int

const (
	writeAll writeKind = iota
	writeNothing
	writeEmpty
	writeDies
	writeTwice
	writeNoEnd
	writeNoHeader
	writeOtherID
	writeOtherVolume
	writeTiny
	writeShort
	writeLong
	writeStalls
	writeDirect
)

// writerSpec is how one service writes its file.
type writerSpec struct {
	kind      writeKind
	open      time.Duration
	chunks    int
	chunk     time.Duration // before each
	stall     time.Duration
	unnoticed bool // HANA takes a file that was cut short for good
}

// doorSpec is how the front door behaves.
type doorSpec struct {
	capacity     int // pieces that fit into a pipe
	prepareDelay time.Duration
	closeDelay   time.Duration
	namesErr     error
	prepareErr   error
	openErr      error
	readErr      error
	readerErr    error
	closeErr     error
	breaks       int // the stream that openErr, readErr and readerErr are of
	breaksAt     int64
	intrusion    time.Duration // from Prepare, 0: never
	intrudes     int
	seesSecond   bool
	watchSleeps  bool
}

// storeSpec is how the store behaves.
type storeSpec struct {
	delays   map[string]time.Duration
	readSize int
	segment  int
	budget   int // memory
	taken    int // memory that others hold
	takenFor time.Duration
	faults   []*storeFault
}

// storeFault makes one operation fail, or hang until its context ends.
type storeFault struct {
	op       string
	suffix   string // of the key; empty for all
	manifest bool   // keys of manifests, and only those
	when     window
	times    int // 0: always
	hangs    bool
	after    bool // the operation takes effect first
	at       int  // offset, or the last segment that becomes visible
	stall    time.Duration
	recovers bool
}

func (f *storeFault) hits(key string, now time.Duration) bool {
	return strings.HasSuffix(key, f.suffix) && strings.Contains(key, "/manifests/") == f.manifest &&
		(f.when == window{} || f.when.has(now))
}

// window is a time since the birth of the world.
type window struct{ from, to time.Duration }

func (w window) has(d time.Duration) bool { return d >= w.from && d < w.to }

// always is a window without an end.
var always = window{to: 1000 * time.Hour}

// outsideSpec is what users and the kubelet do.
type outsideSpec struct {
	cancelAt time.Duration
	drainAt  time.Duration
	grace    time.Duration
	secondAt time.Duration
	otherAt  time.Duration // a backup of another database
	fullAt   time.Duration // the state directory cannot be written from then on
}

// draw is the random source of a schedule.
type draw struct{ *rand.Rand }

// upTo gives a duration that no other draw gives.
func (d draw) upTo(limit time.Duration) time.Duration {
	return time.Duration(1 + d.Int64N(int64(limit)))
}

func (d draw) often(percent int) bool { return d.IntN(100) < percent }

// drawSchedule draws everything that will happen.
func drawSchedule(seed uint64) *modelSchedule {
	d := draw{rand.New(rand.NewPCG(seed, 3))}
	s := &modelSchedule{seed: seed, sizes: make([]int, 1+d.IntN(6))}
	for i := range s.sizes {
		s.sizes[i] = 4097 + d.IntN(12_000)
	}
	s.draw(d)
	for range d.faults() {
		f := modelFaults[d.IntN(len(modelFaults))]
		f.draw(d, s)
		s.faults = append(s.faults, f.name)
		s.codes = append(s.codes, f.codes...)
	}
	if d.often(25) && s.outside.fullAt == 0 {
		drawCrash(s)
	}
	s.restore = drawRestore(seed)
	return s
}

// faults gives how many things go wrong: mostly one or two, so that each is
// seen alone as well as with others.
func (d draw) faults() int {
	return []int{0, 1, 1, 1, 1, 2, 2, 2, 3, 4}[d.IntN(10)]
}

// drawHealthy draws a world of the same plan in which nothing goes wrong.
func drawHealthy(s *modelSchedule) *modelSchedule {
	healthy := &modelSchedule{seed: s.seed, sizes: s.sizes}
	healthy.draw(draw{rand.New(rand.NewPCG(s.seed, 4))})
	return healthy
}

func (s *modelSchedule) draw(d draw) {
	s.hana = hanaSpec{
		planDelay: d.upTo(100 * time.Millisecond), send: d.upTo(50 * time.Millisecond), begin: d.upTo(200 * time.Millisecond),
		finish: d.upTo(300 * time.Millisecond), spread: d.upTo(100 * time.Millisecond), answerDelay: d.upTo(50 * time.Millisecond),
		entryDelay: d.upTo(20 * time.Millisecond), rowAppears: d.upTo(100 * time.Millisecond), rowSettles: 1,
		cancelDelay: d.upTo(100 * time.Millisecond), cancelTakes: d.upTo(300 * time.Millisecond),
	}
	for range s.sizes {
		s.hana.writers = append(s.hana.writers, writerSpec{
			open: d.upTo(500 * time.Millisecond), chunks: 1 + d.IntN(6), chunk: d.upTo(100 * time.Millisecond),
		})
	}
	s.door = doorSpec{capacity: d.IntN(3), prepareDelay: d.upTo(50 * time.Millisecond), closeDelay: d.upTo(30 * time.Millisecond)}
	s.store = storeSpec{delays: make(map[string]time.Duration), readSize: 1 << (10 + d.IntN(6)), budget: modelBudget}
	for _, op := range []string{opCheck, opList, opStat, opRemove, opOpen, opBegin, opConsume, opCommit, opAbort} {
		s.store.delays[op] = d.upTo(40 * time.Millisecond)
	}
	if d.often(30) {
		s.store.segment = 3000 + d.IntN(5_000)
	}
}
