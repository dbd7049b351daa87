package uploader

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// fault answers requests that match in the server's place, count times.
type fault struct {
	match func(*http.Request) bool
	count int
	serve http.HandlerFunc
}

type faults struct {
	mu   sync.Mutex
	list []*fault
}

func (f *faults) add(one *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, one)
}

// clear ends all faults.
func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
}

// unused counts what was prepared and did not happen.
func (f *faults) unused() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, one := range f.list {
		n += max(one.count, 0)
	}
	return n
}

func (f *faults) apply(w http.ResponseWriter, r *http.Request) bool {
	f.mu.Lock()
	var hit *fault
	for _, one := range f.list {
		if one.count > 0 && one.match(r) {
			one.count--
			hit = one
			break
		}
	}
	f.mu.Unlock()
	if hit == nil {
		return false
	}
	hit.serve(w, r)
	return true
}

func isPart(number int) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == strconv.Itoa(number)
	}
}

func isComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func answer(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Without its body read, a request may break instead of being answered.
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>injected</Message></Error>", code)
	}
}

// reset reads some of the request and breaks the connection.
func reset(_ http.ResponseWriter, r *http.Request) {
	_, _ = r.Body.Read(make([]byte, 1000))
	panic(http.ErrAbortHandler)
}

// hole swallows the request and never answers.
func hole(_ http.ResponseWriter, r *http.Request) {
	// A server notices a client that went away only after the body.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func openS3(t *testing.T, server *s3Server, change func(*Config)) (*Store, *Metrics) {
	t.Helper()
	cfg := server.config()
	cfg.Root = "bucket/" + strings.ReplaceAll(t.Name(), "/", "-")
	cfg.PartSize, cfg.Streams, cfg.MemoryBudget = smallestPart, 4, 8*smallestPart
	if change != nil {
		change(&cfg)
	}
	metrics, err := NewMetrics(prometheus.NewPedanticRegistry())
	if err != nil {
		t.Fatal(err)
	}
	store, err := New(t.Context(), cfg, zaptest.NewLogger(t), metrics)
	if err != nil {
		t.Fatal(err)
	}
	return store, metrics
}

func TestFaultsAreAbsorbed(t *testing.T) {
	server := startS3(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 3*smallestPart/16)
	for _, test := range []struct {
		name  string
		fault fault
	}{
		{"503 burst on a part", fault{isPart(2), 6, answer(http.StatusServiceUnavailable, "SlowDown")}},
		{"500 on a part", fault{isPart(1), 3, answer(http.StatusInternalServerError, "InternalError")}},
		{"429 on a part", fault{isPart(3), 3, answer(http.StatusTooManyRequests, "TooManyRequests")}},
		{"damaged on the way", fault{isPart(1), 3, answer(http.StatusBadRequest, "BadDigest")}},
		{"connection reset on a part", fault{isPart(2), 4, reset}},
		{"503 on start", fault{func(r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Query().Has("uploads")
		}, 3, answer(http.StatusServiceUnavailable, "SlowDown")}},
		{"503 on completion", fault{isComplete, 3, answer(http.StatusServiceUnavailable, "SlowDown")}},
		{"completion lost on the way", fault{isComplete, 3, reset}},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, metrics := openS3(t, server, nil)
			server.faults.add(&test.fault)
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if err := upload.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantStream(t, store, stored, data)
			if n := server.faults.unused(); n != 0 {
				t.Errorf("%d faults did not happen", n)
			}
			if testutil.CollectAndCount(metrics.retries) == 0 {
				t.Error("no retry was counted")
			}
		})
	}
}

func wantStream(t *testing.T, store *Store, stored backup.Stored, want []byte) {
	t.Helper()
	body, err := store.OpenStream(t.Context(), stored.Objects)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("%d bytes differ from the %d that were stored", got.Len(), len(want))
	}
}

// The completion reaches the server but its answer is lost, each time.
func TestLostAnswerOfCompletion(t *testing.T) {
	server := startS3(t)
	for _, checked := range []bool{false, true} {
		t.Run(fmt.Sprintf("checked %v", checked), func(t *testing.T) {
			store, _ := openS3(t, server, nil)
			if checked {
				if err := store.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !store.conditional.Load() {
					t.Error("Check has not seen that versitygw honours If-None-Match")
				}
			}
			server.faults.add(&fault{isComplete, 2, func(_ http.ResponseWriter, r *http.Request) {
				server.forward(t, r)
				panic(http.ErrAbortHandler)
			}})
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := upload.Consume(t.Context(), strings.NewReader("content"))
			if err != nil {
				t.Fatal(err)
			}
			if err := upload.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantStream(t, store, stored, []byte("content"))
		})
	}
}

// An object that appears between our look and the completion is refused by a
// store that honours If-None-Match, and Abort leaves it alone.
func TestRaceForAKey(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, nil)
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upload.Consume(t.Context(), strings.NewReader("ours")); err != nil {
		t.Fatal(err)
	}
	server.faults.add(&fault{isComplete, 1, func(w http.ResponseWriter, r *http.Request) {
		if err := (subject{store}).Overwrite(r.Context(), "k", []byte("them")); err != nil {
			t.Error(err)
		}
		server.pass(w, r)
	}})
	err = upload.Commit(t.Context())
	wantIs(t, err, backup.ErrExists)
	if err := upload.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	body, err := store.Open(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil || got.String() != "them" {
		t.Fatalf("%q, %v; want the other's object", got.String(), err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPermanentFaultFailsAtOnce(t *testing.T) {
	server := startS3(t)
	data := make([]byte, 3*smallestPart)
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			store, _ := openS3(t, server, nil)
			server.faults.add(&fault{isPart(2), 1000, answer(status, "Injected")})
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			_, err = upload.Consume(t.Context(), bytes.NewReader(data))
			if err == nil || !strings.Contains(err.Error(), "part 2 of k") || !strings.Contains(err.Error(), "Injected") {
				t.Errorf("error %v, want one that names part 2, the key and the store's answer", err)
			}
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			server.faults.clear()
			wantIs(t, upload.Commit(t.Context()), backup.ErrAborted)
			if err := upload.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Fatalf("%d leftovers, %v", left, err)
			}
		})
	}
	t.Run("Begin without rights", func(t *testing.T) {
		store, _ := openS3(t, server, func(cfg *Config) { cfg.Options["secret_access_key"] = "wrong-canary" })
		_, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
		if err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") || strings.Contains(err.Error(), "canary") {
			t.Fatalf("error %v, want the store's reason without the secret", err)
		}
	})
	t.Run("no bucket", func(t *testing.T) {
		store, _ := openS3(t, server, func(cfg *Config) { cfg.Root = "absent/x" })
		if err := store.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
			t.Fatalf("error %v, want NoSuchBucket", err)
		}
	})
}

// A read of a part that breaks off is repeated, the stream goes on.
func TestReadIsRepeated(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, nil)
	data := bytes.Repeat([]byte("0123456789abcdef"), 3*smallestPart/16)
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	isRange := func(r *http.Request) bool { return r.Method == http.MethodGet && r.Header.Get("Range") != "" }
	server.faults.add(&fault{isRange, 2, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(smallestPart))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", smallestPart-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[:1<<20])
		panic(http.ErrAbortHandler)
	}})
	// A part that was damaged on the way once.
	server.faults.add(&fault{isRange, 1, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(smallestPart))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, smallestPart))
	}})
	wantStream(t, store, stored, data)
	if n := server.faults.unused(); n != 0 {
		t.Errorf("%d faults did not happen", n)
	}
}
