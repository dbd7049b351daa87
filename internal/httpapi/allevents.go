package httpapi

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// allEventsPattern is the other route that stays open.
const allEventsPattern = "GET /v1/events"

// maxEventStreams is how many may follow all jobs at once. Each costs a record of
// every running job four times a second.
const maxEventStreams = 32

// maxStreamsOfOne is how many event streams of both kinds an identity may hold
// open: each is a connection, and a listener has maxConnections for all.
const maxStreamsOfOne = 32

// busyPause is after how many seconds who was one too many may try again.
const busyPause = 10

// followJobs sends the records of all jobs as server-sent events until the client
// or the server ends. Jobs never wait for it.
func (s *Server) followJobs(w http.ResponseWriter, r *http.Request) error {
	leave, err := s.following.enter(w, entryOf(r.Context()).identity, true)
	if err != nil {
		return err
	}
	defer leave()
	batches, unsubscribe := s.jobs.SubscribeAll()
	defer unsubscribe()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	// A browser calls the stream open when the header is there: at once, also
	// when no job runs.
	if !send(w, ": following\n\n") {
		return nil
	}
	heartbeat := time.NewTicker(s.options.Heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case batch := <-batches:
			if !sendRecords(w, batch) {
				return nil
			}
		case <-heartbeat.C:
			if !send(w, "event: heartbeat\ndata:\n\n") {
				return nil
			}
		case <-r.Context().Done():
			select { // after a drain, the records with which jobs ended
			case batch := <-batches:
				sendRecords(w, batch)
			default:
			}
			return nil
		}
	}
}

// followers counts the event streams that are open.
type followers struct {
	mu  sync.Mutex
	all int            // of all jobs
	of  map[string]int // of all jobs and of one, by identity
}

// enter lets one more stream of an identity be opened, of all jobs or of one. Who
// entered has to leave; the error says why there is no room.
func (f *followers) enter(w http.ResponseWriter, identity string, ofAll bool) (leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.of[identity] >= maxStreamsOfOne:
		return nil, tooManyFollowers(w, strconv.Itoa(maxStreamsOfOne)+" event streams of "+identity+" are open, which is the limit for one caller")
	case ofAll && f.all >= maxEventStreams:
		return nil, tooManyFollowers(w, strconv.Itoa(maxEventStreams)+" event streams are open, which is the limit")
	}
	if f.of == nil {
		f.of = make(map[string]int)
	}
	f.of[identity]++
	if ofAll {
		f.all++
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.of[identity]--; f.of[identity] == 0 {
			delete(f.of, identity)
		}
		if ofAll {
			f.all--
		}
	}, nil
}

func tooManyFollowers(w http.ResponseWriter, detail string) *Problem {
	w.Header().Set("Retry-After", strconv.Itoa(busyPause))
	p := newProblem(http.StatusServiceUnavailable, "too_many_followers", "Too many follow the jobs", detail)
	p.Hint = "close status pages that nobody looks at, or ask GET /v1/jobs"
	return p
}

func sendRecords(w http.ResponseWriter, batch []job.Record) bool {
	for i := range batch {
		if !sendRecord(w, batch[i]) {
			return false
		}
	}
	return true
}

// looks are those at the store that cost something.
type looks struct {
	recoveries shared[job.Recovery]
	backups    shared[job.BackupList]
}

// shared makes requests for the same thing that come while it is being looked up
// share one look at the store. Nothing is kept: who asks later gets what is true
// later.
type shared[T any] struct{ group singleflight.Group }

// lookPanic is a panic that ended a look. It is an error until it is in the goroutine
// of a request.
type lookPanic struct { //nolint:errname // it is a panic
	cause any
	stack []byte
}

// Error is for those who may not see the stack.
func (p *lookPanic) Error() string {
	return "a panic, which is a defect of pipestreamer; its log has the stack"
}

// do looks up what key stands for. The look is made with the context of one who
// asks; when that one leaves or runs out of time, another looks. Nobody waits for
// longer than their own context. A panic of the look is a *lookPanic: out of the
// goroutine in which singleflight looks, it would end the process.
func (s *shared[T]) do(ctx context.Context, key string, look func(context.Context) (T, error)) (found T, err error) {
	for {
		own := false
		looking := s.group.DoChan(key, func() (_ any, err error) {
			own = true
			defer func() {
				if cause := recover(); cause != nil {
					err = &lookPanic{cause, debug.Stack()}
				}
			}()
			return look(ctx)
		})
		var result singleflight.Result
		select {
		case result = <-looking:
		case <-ctx.Done():
			return found, ctx.Err()
		}
		ended := errors.Is(result.Err, context.Canceled) || errors.Is(result.Err, context.DeadlineExceeded)
		if ended && !own && ctx.Err() == nil {
			continue
		}
		found, _ = result.Val.(T)
		return found, result.Err
	}
}
