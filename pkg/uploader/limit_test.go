package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// always is a limit that does not depend on the time.
func always(rate int64) Bandwidth { return func(time.Time) int64 { return rate } }

func newTestLimiter(t *testing.T, rate Bandwidth) *limiter {
	t.Helper()
	metrics, err := NewMetrics(prometheus.NewPedanticRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l := newLimiter(rate, metrics)
	metrics.limiter.Store(l)
	return l
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestLimitIsKept has one stream read as fast as it may, by a clock of its own.
func TestLimitIsKept(t *testing.T) {
	for _, test := range []struct {
		name       string
		rate, size int64
		buffer     int
	}{
		{"slow", 64 << 10, 1 << 20, 32 << 10},
		{"usual", 20 << 20, 100 << 20, 32 << 10},
		{"small reads", 1 << 20, 2 << 20, 100},
		{"large reads", 1 << 20, 10 << 20, 4 << 20},
		{"fast", 10 << 30, 4 << 30, 64 << 10},
		{"an odd rate", 1_234_567, 9_999_999, 32 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newTestLimiter(t, always(test.rate))
				r := io.LimitReader(l.share().reader(t.Context(), zeros{}), test.size)
				started := time.Now()
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, test.buffer))
				if err != nil || n != test.size {
					t.Fatalf("read %d bytes, %v", n, err)
				}
				took, want := time.Since(started).Seconds(), float64(test.size)/float64(test.rate)
				// The first grant is free.
				if free := float64(largestGrant) / float64(test.rate); took > want*1.001 || took < want*0.999-free {
					t.Errorf("%d bytes at %d bytes/s took %.3f s, expected %.3f", test.size, test.rate, took, want)
				}
				if waited := testutil.ToFloat64(l.metrics.limitWait); math.Abs(waited-took) > 0.001 {
					t.Errorf("the metric tells a wait of %.3f s, expected %.3f", waited, took)
				}
			})
		})
	}
}

// TestUnusedRateIsNotSaved has a stream that pauses: it may not make up for it.
func TestUnusedRateIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		s := newTestLimiter(t, always(rate)).share()
		if err := s.pay(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		started := time.Now()
		for range 64 {
			if err := s.pay(t.Context(), 16<<10, nil); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(started); took < time.Second-saved-50*time.Millisecond || took > time.Second {
			t.Errorf("1 MiB at 1 MiB/s after a pause took %s, expected at most %s less than 1s", took, saved)
		}
	})
}

// TestStreamsShareEvenly has streams with unlike numbers of parts on their way
// and unlike reads.
func TestStreamsShareEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLimiter(t, always(10<<20))
		ctx, cancel := context.WithCancel(t.Context())
		var moved [4]atomic.Int64
		var running sync.WaitGroup
		for i, stream := range []struct{ parts, read int }{{1, 64 << 10}, {4, 64 << 10}, {4, 1 << 10}, {16, 17_000}} {
			s := l.share()
			for range stream.parts {
				running.Go(func() {
					buffer := make([]byte, stream.read)
					for r := s.reader(ctx, zeros{}); ; {
						n, err := r.Read(buffer)
						if err != nil {
							return
						}
						moved[i].Add(int64(n))
					}
				})
			}
		}
		time.Sleep(20 * time.Second)
		cancel()
		running.Wait()
		const fair = 50 << 20
		for i := range moved {
			if got := moved[i].Load(); math.Abs(float64(got)-fair) > fair*0.02 {
				t.Errorf("stream %d moved %d bytes, expected %d", i, got, fair)
			}
		}
	})
}

// TestLimitEndsWithItsContext cancels streams that wait: at the head of the
// queue, in it, and behind another part of the same stream.
func TestLimitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLimiter(t, always(1))
		first, second := l.share(), l.share()
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		var running sync.WaitGroup
		for _, s := range []*share{first, first, second} {
			running.Go(func() {
				if err := s.pay(ctx, 1<<20, nil); !errors.Is(err, cause) {
					t.Errorf("pay: %v, expected the cause", err)
				}
			})
		}
		time.Sleep(time.Minute)
		began := time.Now()
		cancel(cause)
		running.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("they ended after %s, expected at once", took)
		}
		l.set(always(1 << 20))
		if err := first.pay(t.Context(), 1<<10, nil); err != nil {
			t.Errorf("pay after the others were cancelled: %v", err)
		}
	})
}

// TestLimitChangesForThoseWhoWait changes the limit in the midst of a stream
// that would wait for hours.
func TestLimitChangesForThoseWhoWait(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where the clock of synctest begins
	evening := func(at time.Time) int64 {
		if at.Before(start.Add(time.Hour)) {
			return 1
		}
		return 0
	}
	for _, test := range []struct {
		name       string
		begin      Bandwidth
		change     Bandwidth
		changes    bool
		from, upTo time.Duration
	}{
		{"lifted", always(1), nil, true, 90500 * time.Millisecond, 90500 * time.Millisecond},
		{"raised", always(1), always(1 << 20), true, 100 * time.Second, 101 * time.Second},
		{"lifted by the timetable", evening, nil, false, time.Hour, time.Hour + lookAgain},
		{"a timetable that says off", always(1), evening, true, time.Hour, time.Hour + lookAgain},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newTestLimiter(t, test.begin)
				started := time.Now()
				var ends [3]time.Duration
				var running sync.WaitGroup
				for i := range ends {
					s := l.share()
					running.Go(func() {
						if _, err := io.CopyN(io.Discard, s.reader(t.Context(), zeros{}), 10<<20/3); err != nil {
							t.Error(err)
						}
						ends[i] = time.Since(started)
					})
				}
				if test.changes {
					time.Sleep(90500 * time.Millisecond) // not when they look by themselves
					l.set(test.change)
				}
				running.Wait()
				for i, end := range ends {
					if end < test.from || end > test.upTo {
						t.Errorf("stream %d ended after %s, expected %s to %s", i, end, test.from, test.upTo)
					}
				}
			})
		})
	}
}

// TestNoLimitCostsNothing counts what a read pays when there is no limit.
func TestNoLimitCostsNothing(t *testing.T) {
	for name, rate := range map[string]Bandwidth{"none": nil, "off at this hour": always(0)} {
		s := newTestLimiter(t, rate).share()
		if n := testing.AllocsPerRun(100, func() {
			if err := s.pay(t.Context(), 1<<20, nil); err != nil || s.most(1<<20) != 1<<20 {
				t.Fatal("a read was held back", err)
			}
		}); n != 0 {
			t.Errorf("%s: %.0f allocations, expected none", name, n)
		}
		if testutil.ToFloat64(s.limiter.metrics.limitWait) != 0 {
			t.Errorf("%s: the metric tells a wait", name)
		}
	}
}

// TestWaitingIsNotSilence sends a part at a rate at which each read waits longer
// than a store may be silent.
func TestWaitingIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t, Config{Type: "local", Root: t.TempDir(), PartSize: smallestPart, Streams: 1, MemoryBudget: 2 * smallestPart, StallTimeout: time.Second, Bandwidth: always(100)})
		u := &upload{store: store, share: store.limiter.share()}
		p := &part{segment: &segment{store: store, upload: u}, data: make([]byte, 10<<10)}
		if err := store.tryPart(t.Context(), sendingWriter{}, p); err != nil {
			t.Errorf("tryPart: %v", err)
		}
		if took := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); took < 90*time.Second {
			t.Errorf("it took %s, and nothing was waited for", took)
		}
		if err := store.tryPart(t.Context(), sendingWriter{silent: true}, p); !errors.Is(err, errSilent) {
			t.Errorf("tryPart of a silent store: %v, expected %v", err, errSilent)
		}
	})
}

// sendingWriter makes a checksum of a part and sends it, as rclone does, or is
// silent after that.
type sendingWriter struct{ silent bool }

func (w sendingWriter) send(ctx context.Context, _ *part, r io.ReadSeeker) error {
	r.(interface{ DelayAccounting(pass int) }).DelayAccounting(2)
	for range 2 {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if w.silent {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (sendingWriter) signs() bool                    { return false }
func (sendingWriter) complete(context.Context) error { return nil }
func (sendingWriter) abort(context.Context) error    { return nil }

// TestLimitOnTheWire measures both lanes, up and down. rclone reads each part of
// s3 twice for checksums before it sends it, which must not be paid for.
func TestLimitOnTheWire(t *testing.T) {
	t.Parallel()
	const rate, size = 4 << 20, 8 << 20
	s3 := startS3(t).config()
	s3.PartSize, s3.Streams, s3.MemoryBudget = smallestPart, 2, 8*smallestPart
	for name, cfg := range map[string]Config{"chunks": s3, "partial": {Type: "local", Root: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Bandwidth = always(rate)
			store := open(t, cfg)
			ideal := time.Duration(float64(size) / rate * float64(time.Second))
			expect := func(what string, took time.Duration) {
				t.Helper()
				if took < ideal*9/10 || took > ideal*22/10 {
					t.Errorf("%s took %s, expected about %s", what, took, ideal)
				}
			}
			started := time.Now()
			stored := limitedUpload(t, store, "k", size)
			expect("the upload", time.Since(started))
			started = time.Now()
			r, err := store.OpenStream(t.Context(), stored.Objects)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, r)
			if err := errors.Join(err, r.Close()); err != nil || n != size {
				t.Fatalf("read %d bytes back: %v", n, err)
			}
			expect("the download", time.Since(started))
			started = time.Now()
			if r, err = store.Open(t.Context(), "k", 0, size); err != nil {
				t.Fatal(err)
			}
			n, err = io.Copy(io.Discard, r)
			if err := errors.Join(err, r.Close()); err != nil || n != size {
				t.Fatalf("read %d bytes: %v", n, err)
			}
			expect("reading a range", time.Since(started))
		})
	}
}

// TestDocumentsAreNotLimited writes and reads what is small at a rate at which
// it would take hours.
func TestDocumentsAreNotLimited(t *testing.T) {
	store := open(t, Config{Type: "local", Root: t.TempDir(), Bandwidth: always(1)})
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{AtHand: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upload.Consume(t.Context(), strings.NewReader(strings.Repeat("x", 100<<10))); err != nil {
		t.Fatal(err)
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	if err := errors.Join(err, r.Close()); err != nil || n != 100<<10 {
		t.Errorf("read %d bytes: %v", n, err)
	}
}

func limitedUpload(t *testing.T, store *Store, key string, size int64) backup.Stored {
	t.Helper()
	upload, err := store.Begin(t.Context(), key, backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestStreamsShareTheWire has two uploads and what a server sees of them; then
// the limit is lifted.
func TestStreamsShareTheWire(t *testing.T) {
	const rate, size, watched = 2 << 20, 16 << 20, 6 << 20
	server := startS3(t)
	var seen [2]atomic.Int64
	for i := range seen {
		key := fmt.Sprintf("stream-%d", i)
		server.faults.add(&fault{
			match: func(r *http.Request) bool { return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, key) },
			count: math.MaxInt,
			serve: func(w http.ResponseWriter, r *http.Request) {
				r.Body = counted{r.Body, &seen[i]}
				server.pass(w, r)
			},
		})
	}
	store, metrics := openS3(t, server, func(cfg *Config) {
		cfg.MemoryBudget, cfg.Bandwidth = 9*smallestPart, always(rate)
		cfg.Streams = 2
	})
	if got := testutil.ToFloat64(store.metrics.limitWait); got != 0 {
		t.Errorf("%f s were waited before anything was sent", got)
	}
	started := time.Now()
	var running sync.WaitGroup
	for i := range seen {
		running.Go(func() { limitedUpload(t, store, fmt.Sprintf("stream-%d", i), size) })
	}
	await := func(reached func() bool) {
		for !reached() {
			time.Sleep(time.Millisecond)
		}
	}
	await(func() bool { return seen[0].Load() > 0 && seen[1].Load() > 0 })
	begun := [2]int64{seen[0].Load(), seen[1].Load()}
	await(func() bool { return seen[0].Load()+seen[1].Load()-begun[0]-begun[1] >= watched })
	one, other := float64(seen[0].Load()-begun[0]), float64(seen[1].Load()-begun[1])
	if took, least := time.Since(started).Seconds(), (one+other)/rate*0.9; took < least {
		t.Errorf("the server saw %.1f MiB within %.2f s, expected at least %.2f", (one+other)/mebibyte, took, least)
	}
	if math.Abs(one-other) > 0.2*(one+other)/2 {
		t.Errorf("the streams got %.1f and %.1f MiB, expected alike", one/mebibyte, other/mebibyte)
	}
	if got := metrics.limit(); got != rate {
		t.Errorf("the metric tells a limit of %f, expected %d", got, rate)
	}
	store.Limit(nil)
	lifted := time.Now()
	running.Wait()
	if took := time.Since(lifted); took > (2*size-watched)/rate*time.Second/2 {
		t.Errorf("the rest took %s without a limit", took)
	}
	if testutil.ToFloat64(metrics.limitWait) == 0 || metrics.limit() != 0 {
		t.Errorf("waited %f s, limit %f", testutil.ToFloat64(metrics.limitWait), metrics.limit())
	}
}

type counted struct {
	io.ReadCloser

	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
