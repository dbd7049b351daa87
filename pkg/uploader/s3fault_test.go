package uploader

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// rewrite hands a request on and changes the answer.
func (s *s3Server) rewrite(change func(*httptest.ResponseRecorder)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		s.pass(recorder, r)
		change(recorder)
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	}
}

const wrongETag = `"0123456789abcdef0123456789abcdef"`

func isHead(r *http.Request) bool { return r.Method == http.MethodHead }

// Whatever the store answers: in the end there is the object with all its bytes,
// or an error and nothing at all.
func TestAllOrNothing(t *testing.T) {
	server := startS3(t)
	data := make([]byte, 2*smallestPart+17)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	inBody := func(code string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			answer(http.StatusOK, code)(w, r)
		}
	}
	for _, test := range []struct {
		name  string
		fault fault
		// want is in the error; without it the upload has to succeed.
		want string
	}{
		{"200 with InternalError on completion", fault{isComplete, 2, inBody("InternalError")}, ""},
		{"200 with SlowDown on completion", fault{isComplete, 2, inBody("SlowDown")}, ""},
		{"200 with AccessDenied on completion", fault{isComplete, 100, inBody("AccessDenied")}, "AccessDenied"},
		{"200 with an empty body on completion", fault{isComplete, 2, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }}, ""},
		{"200 with half an answer to a completion", fault{isComplete, 1, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><Bu")
		}}, ""},
		{"wrong ETag of the completed object", fault{isComplete, 1, server.rewrite(func(answer *httptest.ResponseRecorder) {
			text := answer.Body.String()
			from, to := strings.Index(text, "<ETag>"), strings.Index(text, "</ETag>")
			answer.Body = bytes.NewBufferString(text[:from] + "<ETag>" + wrongETag + text[to:])
			answer.Header().Del("Content-Length")
		})}, ""},
		{"wrong ETag of a part", fault{isPart(2), 1, server.rewrite(func(answer *httptest.ResponseRecorder) {
			answer.Header().Set("ETag", wrongETag)
		})}, "InvalidPart"},
		{"no ETag of a part", fault{isPart(2), 1, server.rewrite(func(answer *httptest.ResponseRecorder) {
			answer.Header().Del("ETag")
		})}, ""},
		{"answer to a part lost", fault{isPart(1), 2, func(_ http.ResponseWriter, r *http.Request) {
			server.forward(t, r)
			panic(http.ErrAbortHandler)
		}}, ""},
		{"completion answered with 404", fault{isComplete, 100, answer(http.StatusNotFound, "NoSuchUpload")}, "NoSuchUpload"},
		{"the object is not shown for a moment", fault{
			func(r *http.Request) bool { return isHead(r) && server.completed.Load() }, 2,
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		}, ""},
		{"the object is shown too short", fault{
			func(r *http.Request) bool { return isHead(r) && server.completed.Load() }, 1,
			server.rewrite(func(answer *httptest.ResponseRecorder) { answer.Header().Set("Content-Length", "17") }),
		}, "17 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			server.completed.Store(false)
			store, _ := openS3(t, server, func(cfg *Config) { cfg.OutageTolerance = 5 * time.Second })
			server.faults.add(&test.fault)
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
			if err == nil {
				err = upload.Commit(t.Context())
			}
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantStream(t, store, stored, data)
			} else {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want one with %q", err, test.want)
				}
				server.faults.clear()
				if err := upload.Abort(t.Context()); err != nil {
					t.Fatal(err)
				}
				_, err := store.Stat(t.Context(), "k")
				wantIs(t, err, backup.ErrNotFound)
			}
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Errorf("%d leftovers, %v", left, err)
			}
			if test.want == "" && server.faults.unused() > 0 {
				t.Error("the fault did not happen")
			}
		})
	}
}

// The answer to the completion is lost, and what is at the key when we look is
// somebody else's, as long as ours and with the same last part: it is not called
// ours, and stays.
func TestLostAnswerAndSomebodyElse(t *testing.T) {
	server := startS3(t)
	ours := bytes.Repeat([]byte("ours"), (smallestPart+400)/4)
	theirs := bytes.Clone(ours)
	copy(theirs, "them")
	for _, test := range []struct {
		name string
		// checked is for a store that is known to honour If-None-Match.
		checked bool
		// put brings their object to the key.
		put func(context.Context, *testing.T, *Store)
	}{
		{"an object without mark", true, func(ctx context.Context, t *testing.T, store *Store) {
			t.Helper()
			if err := (subject{store}).Overwrite(ctx, "k", theirs); err != nil {
				t.Error(err)
			}
		}},
		{"an object of another upload, the same bytes", true, func(ctx context.Context, t *testing.T, store *Store) {
			t.Helper()
			if _, err := store.write(ctx, "k", ours, false); err != nil {
				t.Error(err)
			}
		}},
		{"an object without mark, nothing but our look", false, func(ctx context.Context, t *testing.T, store *Store) {
			t.Helper()
			if err := (subject{store}).Overwrite(ctx, "k", theirs); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			store, _ := openS3(t, server, nil)
			if test.checked {
				if err := store.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := upload.Consume(t.Context(), bytes.NewReader(ours)); err != nil {
				t.Fatal(err)
			}
			// Twice, because rclone asks a second time by itself.
			isOurs := func(r *http.Request) bool { return isComplete(r) && strings.HasSuffix(r.URL.Path, "/k") }
			server.faults.add(&fault{
				isOurs, 1,
				func(_ http.ResponseWriter, r *http.Request) {
					test.put(context.WithoutCancel(r.Context()), t, store)
					server.faults.add(&fault{isOurs, 1, reset})
					panic(http.ErrAbortHandler)
				},
			})
			wantIs(t, upload.Commit(t.Context()), backup.ErrExists)
			if err := upload.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Stat(t.Context(), "k"); err != nil {
				t.Errorf("their object: %v", err)
			}
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Errorf("%d leftovers, %v", left, err)
			}
		})
	}
}

// The answer is lost, and the store does not keep the mark: the bytes tell whose
// the object is.
func TestLostAnswerWithoutMark(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, nil)
	data := bytes.Repeat([]byte("0123456789abcdef"), 2*smallestPart/16)
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	server.faults.add(&fault{isComplete, 1, func(_ http.ResponseWriter, r *http.Request) {
		server.forward(t, r)
		panic(http.ErrAbortHandler)
	}})
	server.faults.add(&fault{isHead, 1000, server.rewrite(func(answer *httptest.ResponseRecorder) {
		answer.Header().Del("X-Amz-Meta-" + markName)
	})})
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.faults.clear()
	wantStream(t, store, stored, data)
}

// A completion whose answer is lost finishes in the store while the upload is
// aborted: nothing stays visible.
func TestAbortOfALateCompletion(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, nil)
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upload.Consume(t.Context(), strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	var late *http.Request
	server.faults.add(&fault{isComplete, 1, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		late = r.Clone(context.WithoutCancel(r.Context()))
		late.Body = io.NopCloser(bytes.NewReader(body))
		answer(http.StatusBadRequest, "Injected")(w, r)
	}})
	if err := upload.Commit(t.Context()); err == nil {
		t.Fatal("Commit succeeded")
	}
	isAbort := func(r *http.Request) bool { return r.Method == http.MethodDelete && r.URL.Query().Has("uploadId") }
	server.faults.add(&fault{isAbort, 1, func(w http.ResponseWriter, r *http.Request) {
		server.forward(t, late)
		server.pass(w, r)
	}})
	if err := upload.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = store.Stat(t.Context(), "k")
	wantIs(t, err, backup.ErrNotFound)
}

// A list that is cut off, or says that it goes on and not where, is an error or
// asked for again; it is never taken for all there is.
func TestTruncatedList(t *testing.T) {
	server := startS3(t)
	isList := func(r *http.Request) bool {
		return r.Method == http.MethodGet && r.URL.Query().Has("prefix") && !r.URL.Query().Has("uploads")
	}
	cut := server.rewrite(func(answer *httptest.ResponseRecorder) {
		answer.Body.Truncate(answer.Body.Len() * 2 / 3)
		answer.Header().Del("Content-Length")
	})
	for _, test := range []struct {
		name  string
		serve http.HandlerFunc
		count int
		fails bool
	}{
		{"cut off once", cut, 1, false},
		{"cut off always", cut, 1000, true},
		{"goes on, nobody knows where", server.rewrite(func(answer *httptest.ResponseRecorder) {
			text := strings.Replace(answer.Body.String(), "<IsTruncated>false", "<IsTruncated>true", 1)
			answer.Body = bytes.NewBufferString(text)
			answer.Header().Del("Content-Length")
		}), 1000, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			store, _ := openS3(t, server, nil)
			want := []string{"a/1", "a/2", "a/3"}
			for _, key := range want {
				if _, err := store.write(t.Context(), key, []byte(key), false); err != nil {
					t.Fatal(err)
				}
			}
			server.faults.add(&fault{isList, test.count, test.serve})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			objects, err := store.List(ctx, "a/")
			if test.fails != (err != nil) {
				t.Fatalf("%v, %v", objects, err)
			}
			if err == nil && len(objects) != len(want) {
				t.Errorf("%v, want %v", objects, want)
			}
		})
	}
}

// A body that comes slowly is waited for, one that stops is asked for again.
func TestSlowBody(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, func(cfg *Config) { cfg.StallTimeout = time.Second })
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	if _, err := store.write(t.Context(), "k", data, false); err != nil {
		t.Fatal(err)
	}
	trickle := func(end func(*http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			recorder := httptest.NewRecorder()
			server.pass(recorder, r)
			maps.Copy(w.Header(), recorder.Header())
			w.WriteHeader(recorder.Code)
			half := recorder.Body.Len() / 2
			for range 6 {
				_, _ = w.Write(recorder.Body.Next(half / 6))
				_ = http.NewResponseController(w).Flush()
				// The pace of the store, not a wait for something.
				time.Sleep(300 * time.Millisecond)
			}
			end(r)
			_, _ = w.Write(recorder.Body.Bytes())
		}
	}
	isGet := func(r *http.Request) bool { return r.Method == http.MethodGet && r.Header.Get("Range") != "" }
	server.faults.add(&fault{isGet, 1, trickle(func(*http.Request) {})})
	server.faults.add(&fault{isGet, 1, trickle(func(r *http.Request) { <-r.Context().Done() })})
	objects := []backup.Object{{Key: "k", Size: int64(len(data)), Parts: []backup.Part{{Size: int64(len(data)), SHA256: hexSum(data)}}}}
	for range 2 {
		body, err := store.OpenStream(t.Context(), objects)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if n := server.faults.unused(); n != 0 {
		t.Errorf("%d faults did not happen", n)
	}
}

// A sweep of everything does not ask how old it is by the store's clock, which may
// be ahead of ours.
func TestSweepWithTheClockOfTheStoreAhead(t *testing.T) {
	server := startS3(t)
	store, _ := openS3(t, server, nil)
	isList := func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("uploads") }
	initiated := regexp.MustCompile("<Initiated>[^<]*</Initiated>")
	server.faults.add(&fault{isList, 100, server.rewrite(func(answer *httptest.ResponseRecorder) {
		ahead := time.Now().Add(time.Hour).UTC().Format("<Initiated>2006-01-02T15:04:05.000Z</Initiated>")
		answer.Body = bytes.NewBuffer(initiated.ReplaceAll(answer.Body.Bytes(), []byte(ahead)))
		answer.Header().Del("Content-Length")
	})})
	upload, err := store.Begin(t.Context(), "a/k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upload.Consume(t.Context(), strings.NewReader("bytes")); err != nil {
		t.Fatal(err)
	}
	for _, sweep := range []struct {
		age  time.Duration
		left int
	}{{time.Second, 1}, {0, 0}} {
		if err := store.Sweep(t.Context(), "a/", sweep.age); err != nil {
			t.Error(err)
		}
		if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != sweep.left {
			t.Errorf("after a sweep of what is older than %s: %d leftovers, %v", sweep.age, left, err)
		}
	}
	if err := upload.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}
