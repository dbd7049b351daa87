package httpapi

import (
	"net/http"
	"strconv"
	"sync"
)

// maxEventStreams is how many may follow all jobs at once. Each costs a record of
// every running job four times a second.
const maxEventStreams = 32

// maxStreamsOfOne is how many event streams of both kinds an identity may hold
// open: each is a connection, and a listener has maxConnections for all.
const maxStreamsOfOne = 32

// busyPause is after how many seconds who was one too many may try again.
const busyPause = 10

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
