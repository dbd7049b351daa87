package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// diary keeps what an upload tells.
type diary struct {
	mu      sync.Mutex
	trouble []error
	// told is closed at the first trouble, much at the fifth.
	told, much chan struct{}
}

func newDiary() *diary { return &diary{told: make(chan struct{}), much: make(chan struct{})} }

func (d *diary) options() backup.UploadOptions { return backup.UploadOptions{Trouble: d.note} }

func (d *diary) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble = append(d.trouble, err)
	switch len(d.trouble) {
	case 1:
		close(d.told)
	case 5:
		close(d.much)
	}
}

// wantOver fails unless there was trouble and it has passed.
func (d *diary) wantOver(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.trouble) < 2 || d.trouble[0] == nil || d.trouble[len(d.trouble)-1] != nil {
		t.Errorf("told %v, want errors and nil at the end", d.trouble)
	}
}

// marked yields data; when rest bytes were read it closes reached and calls then.
type marked struct {
	io.Reader
	rest    int
	reached chan struct{}
	then    func()
	once    sync.Once
}

func (s *marked) Read(p []byte) (int, error) {
	if s.rest <= 0 {
		s.once.Do(func() {
			close(s.reached)
			if s.then != nil {
				s.then()
			}
		})
	}
	n, err := s.Reader.Read(p)
	s.rest -= n
	return n, err
}

func awaitClosed(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing within 20s", what)
	}
}

// outages are the ways in which a store can be away.
func outages(g *gate, server *s3Server) map[string]func() {
	return map[string]func(){
		"connections refused": g.refuse,
		"black hole":          g.swallow,
		"503 storm": func() {
			server.faults.add(&fault{func(*http.Request) bool { return true }, 1 << 30, answer(http.StatusServiceUnavailable, "SlowDown")})
		},
		"resets": func() {
			server.faults.add(&fault{func(*http.Request) bool { return true }, 1 << 30, reset})
		},
	}
}

func openBehind(t *testing.T, g *gate, server *s3Server, change func(*Config)) *Store {
	t.Helper()
	store, _ := openS3(t, server, func(cfg *Config) {
		cfg.Options["endpoint"] = "http://" + g.address
		cfg.StallTimeout = 500 * time.Millisecond
		if change != nil {
			change(cfg)
		}
	})
	return store
}

// A store that is away in the middle of a stream, for less than is tolerated,
// costs nothing but time.
func TestShortOutageIsAbsorbed(t *testing.T) {
	server := startS3(t)
	g := startGate(t, server.Listener.Addr().String())
	data := bytes.Repeat([]byte("0123456789abcdef"), 4*smallestPart/16)
	for name, begin := range outages(g, server) {
		t.Run(name, func(t *testing.T) {
			store := openBehind(t, g, server, nil)
			told := newDiary()
			upload, err := store.Begin(t.Context(), "k", told.options())
			if err != nil {
				t.Fatal(err)
			}
			source := &marked{Reader: bytes.NewReader(data), rest: smallestPart, reached: make(chan struct{})}
			go func() {
				<-source.reached
				begin()
				<-told.told
				server.faults.clear()
				g.open()
			}()
			stored, err := upload.Consume(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			if err := upload.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			told.wantOver(t)
			wantStream(t, store, stored, data)
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Errorf("%d leftovers, %v", left, err)
			}
		})
	}
}

// A name server that does not know the store for a while is an outage, too.
func TestUnknownNameIsAbsorbed(t *testing.T) {
	server := startS3(t)
	g := startGate(t, server.Listener.Addr().String())
	names := startResolver(t)
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		t.Fatal(err)
	}
	store := openBehind(t, g, server, func(cfg *Config) { cfg.Options["endpoint"] = "http://store.test:" + port })
	told := newDiary()
	upload, err := store.Begin(t.Context(), "k", told.options())
	if err != nil {
		t.Fatal(err)
	}
	names.set(true)
	g.drop()
	go func() {
		<-told.told
		names.set(false)
	}()
	data := make([]byte, 2*smallestPart)
	stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names.refusals() == 0 {
		t.Error("the name was never asked for")
	}
	told.wantOver(t)
	wantStream(t, store, stored, data)
}

// A longer outage ends the stream, within the tolerance and one silence, with an
// error that says how long it was tried, where, and what was the matter.
func TestOutageIsBounded(t *testing.T) {
	server := startS3(t)
	g := startGate(t, server.Listener.Addr().String())
	const tolerance, stall = 2 * time.Second, time.Second
	// Which of the errors comes last is a matter of time.
	words := map[string][]string{
		"connections refused": {"connection refused", "connection reset", "broken pipe", "EOF", "use of closed network connection"},
		"black hole":          {"the store was silent for 1s"},
		"503 storm":           {"SlowDown"},
		"resets":              {"connection reset", "broken pipe", "EOF", "use of closed network connection"},
	}
	for name, begin := range outages(g, server) {
		t.Run(name, func(t *testing.T) {
			store := openBehind(t, g, server, func(cfg *Config) {
				cfg.OutageTolerance, cfg.StallTimeout, cfg.Concurrency = tolerance, stall, 1
			})
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			source := &marked{Reader: bytes.NewReader(make([]byte, 2*smallestPart)), rest: 1, reached: make(chan struct{})}
			began := make(chan time.Time, 1)
			go func() {
				<-source.reached
				begin()
				began <- time.Now()
			}()
			_, err = upload.Consume(t.Context(), source)
			took := time.Since(<-began)
			if err == nil {
				t.Fatal("Consume succeeded")
			}
			for _, want := range []string{"of k (bytes ", "no success within 2s: "} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if !slices.ContainsFunc(words[name], func(word string) bool { return strings.Contains(err.Error(), word) }) {
				t.Errorf("error %q says none of %q", err, words[name])
			}
			// rclone's own pauses are on top: up to 2 s for each of 2 parts.
			if most := tolerance + stall + 4*time.Second; took > most {
				t.Errorf("took %s, want at most %s", took, most)
			}
			server.faults.clear()
			g.open()
			// rclone lets the first request wait after such a time.
			for tries := 3; ; tries-- {
				if err := upload.Abort(t.Context()); err == nil {
					break
				} else if tries == 0 {
					t.Fatal(err)
				}
			}
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Errorf("%d leftovers, %v", left, err)
			}
		})
	}
}

// The error names the part, and its bytes in the whole stream.
func TestFailedPartIsNamed(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, func(cfg *Config) { cfg.MaxParts = 2 })
	server.faults.add(&fault{func(r *http.Request) bool {
		return isPart(1)(r) && strings.HasSuffix(r.URL.Path, backup.SegmentKey("k", 2))
	}, 1, answer(http.StatusBadRequest, "Injected")})
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = upload.Consume(t.Context(), bytes.NewReader(make([]byte, 2*smallestPart+100)))
	want := fmt.Sprintf("part 1 of %s (bytes %d-%d): ", backup.SegmentKey("k", 2), 2*smallestPart, 2*smallestPart+99)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	if err := upload.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A cancelled context ends what waits for a store that is away, at once, and
// Abort does not wait for it long. What stays is removed later.
func TestCancelInAnOutage(t *testing.T) {
	server := startS3(t)
	g := startGate(t, server.Listener.Addr().String())
	errStop := errors.New("stopped by the test")
	for name, begin := range outages(g, server) {
		t.Run(name, func(t *testing.T) {
			store := openBehind(t, g, server, func(cfg *Config) {
				cfg.StallTimeout = 2 * time.Second
			})
			told := newDiary()
			upload, err := store.Begin(t.Context(), "k", told.options())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			begin()
			ended := make(chan error, 1)
			go func() {
				_, err := upload.Consume(ctx, bytes.NewReader(make([]byte, 4*smallestPart)))
				ended <- err
			}()
			// By then rclone keeps requests back for seconds, whatever their
			// context, if they fail fast.
			awaitClosed(t, "trouble", told.much)
			started := time.Now()
			cancel(errStop)
			wantIs(t, <-ended, errStop)
			if took := time.Since(started); took > time.Second {
				t.Errorf("Consume took %s to end", took)
			}
			started = time.Now()
			err = upload.Abort(context.WithoutCancel(t.Context()))
			if took := time.Since(started); took > awayPatience+time.Second {
				t.Errorf("Abort took %s", took)
			}
			if err == nil || !strings.Contains(err.Error(), "stays there until a later sweep") {
				t.Errorf("Abort: %v, want it to say what stays", err)
			}
			server.faults.clear()
			g.open()
			for tries := 3; ; tries-- {
				if err := store.AbortLeft(t.Context()); err == nil {
					break
				} else if tries == 0 {
					t.Fatal(err)
				}
			}
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Errorf("%d leftovers, %v", left, err)
			}
			wantIs(t, upload.Commit(t.Context()), backup.ErrAborted)
			if err := store.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// While every part is on its way, the stream is not read, and the store is named
// as what is waited for.
func TestWaitingForASlowStore(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, func(cfg *Config) { cfg.Concurrency = 1 })
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server.faults.add(&fault{isPart(1), 1, func(w http.ResponseWriter, r *http.Request) {
		<-release
		server.pass(w, r)
	}})
	var states []bool
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{Waiting: func(forStore bool) {
		states = append(states, forStore) // by the goroutine of Consume
		if len(states) == 1 {
			once.Do(func() { close(held) })
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	server.faults.add(&fault{isPart(2), 1, func(w http.ResponseWriter, r *http.Request) {
		<-release
		server.pass(w, r)
	}})
	source := &marked{Reader: bytes.NewReader(make([]byte, 3*smallestPart)), rest: 2*smallestPart + 1, reached: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		_, err := upload.Consume(t.Context(), source)
		ended <- err
	}()
	awaitClosed(t, "Waiting", held)
	select {
	case <-source.reached:
		t.Error("the third part was read although there was no room for it")
	default:
	}
	close(release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(states) < 2 || !states[0] || states[1] {
		t.Errorf("told %v, want true, then false", states)
	}
	if err := upload.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}
