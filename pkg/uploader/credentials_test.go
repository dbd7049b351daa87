package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// vault is where the secrets of a store come from.
type vault struct {
	mu      sync.Mutex
	options map[string]string
	err     error
	asked   int
}

// rotate makes the credentials of the second user the ones to use.
func (v *vault) rotate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.options = map[string]string{"access_key_id": secondKey, "secret_access_key": secondSecret}
}

func (v *vault) read() (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	return maps.Clone(v.options), v.err
}

// readings counts how often the secrets were read.
func (v *vault) readings() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

// first tells whether r comes with the credentials of the first user.
func first(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Authorization"), "Credential=access/")
}

// expire refuses every request of the first user from now on.
func (s *s3Server) expire(status int, code string) {
	s.faults.add(&fault{first, 1 << 30, answer(status, code)})
}

// openWithVault opens a store of the first user whose secrets come from v.
func openWithVault(t *testing.T, server *s3Server, v *vault, log *zap.Logger, change func(*Config)) *Store {
	t.Helper()
	cfg := server.config()
	cfg.Root = "bucket/" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	cfg.PartSize, cfg.Streams, cfg.MemoryBudget = smallestPart, 4, 8*smallestPart
	cfg.Refresh = v.read
	if change != nil {
		change(&cfg)
	}
	store, err := New(t.Context(), cfg, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// A token that expires while streams are on their way is replaced by the one
// that the secret holds now: nothing of them is lost, and nothing secret told.
func TestExpiredTokenIsReplaced(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	Quiet(zap.New(core))
	defer Quiet(zap.NewNop())
	server := startS3(t)
	for _, test := range []struct {
		code   string
		status int
		// late is for the secret that comes after the refusal.
		late bool
	}{
		{"ExpiredToken", http.StatusBadRequest, false},
		{"ExpiredToken", http.StatusForbidden, true},
		{"InvalidAccessKeyId", http.StatusForbidden, false},
		{"AccessDenied", http.StatusForbidden, true},
	} {
		t.Run(fmt.Sprint(test.status, test.code, test.late), func(t *testing.T) {
			defer server.faults.clear()
			var v vault
			store := openWithVault(t, server, &v, zap.New(core), nil)
			data := bytes.Repeat([]byte("0123456789abcdef"), 5*smallestPart/16)
			told := newDiary()
			if test.late {
				go func() {
					<-told.told
					v.rotate()
				}()
			} else {
				v.rotate()
			}
			var group sync.WaitGroup
			stored := make([]backup.Stored, 3)
			uploads := make([]backup.Upload, len(stored))
			for n := range uploads {
				// Before the token expires: nothing waits for another one here.
				var err error
				if uploads[n], err = store.Begin(t.Context(), fmt.Sprint("k", n), told.options()); err != nil {
					t.Fatal(err)
				}
			}
			for n, upload := range uploads {
				group.Go(func() {
					expireAt := &marked{Reader: bytes.NewReader(data), rest: 2 * smallestPart, reached: make(chan struct{})}
					if n == 0 {
						expireAt.then = func() { server.expire(test.status, test.code) }
					}
					var err error
					if stored[n], err = carry(t.Context(), upload, expireAt); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			for _, one := range stored {
				wantStream(t, store, one, data)
			}
			told.wantOver(t)
			if left, err := (subject{store}).Leftovers(t.Context()); err != nil || left != 0 {
				t.Errorf("%d leftovers, %v", left, err)
			}
			if got := store.secrets.generation.Load(); got != 1 {
				t.Errorf("the credentials changed %d times, want once", got)
			}
		})
	}
	var text strings.Builder
	for _, entry := range logs.All() {
		text.WriteString(entry.Message + fmt.Sprint(entry.ContextMap()) + "\n")
	}
	if !strings.Contains(text.String(), "going on with changed ones") || strings.Contains(text.String(), "canary") {
		t.Error("want the change logged, and no secret")
	}
}

// carry takes a stream the rest of the way.
func carry(ctx context.Context, upload backup.Upload, r *marked) (backup.Stored, error) {
	stored, err := upload.Consume(ctx, r)
	if err == nil {
		err = upload.Commit(ctx)
	}
	if err != nil {
		return backup.Stored{}, errors.Join(err, upload.Abort(context.WithoutCancel(ctx)))
	}
	return stored, nil
}

// Every request of a store that is refused makes it look for other credentials.
func TestEveryRequestIsRenewed(t *testing.T) {
	server := startS3(t)
	object := func(t *testing.T, store *Store) {
		t.Helper()
		if _, err := store.write(t.Context(), "a/k", []byte("content"), false); err != nil {
			t.Fatal(err)
		}
	}
	for name, request := range map[string]func(*testing.T, *Store) error{
		"Begin": func(t *testing.T, store *Store) error {
			t.Helper()
			u, err := store.Begin(t.Context(), "x", backup.UploadOptions{})
			if err != nil {
				return err
			}
			return u.Abort(t.Context())
		},
		"Stat": func(t *testing.T, store *Store) error {
			t.Helper()
			_, err := store.Stat(t.Context(), "a/k")
			return err
		},
		"List": func(t *testing.T, store *Store) error {
			t.Helper()
			_, err := store.List(t.Context(), "a/")
			return err
		},
		"Remove": func(t *testing.T, store *Store) error { t.Helper(); return store.Remove(t.Context(), "a/k") },
		"Sweep":  func(t *testing.T, store *Store) error { t.Helper(); return store.Sweep(t.Context(), "a/", time.Hour) },
		"Check":  func(t *testing.T, store *Store) error { t.Helper(); return store.Check(t.Context()) },
		"Open": func(t *testing.T, store *Store) error {
			t.Helper()
			body, err := store.Open(t.Context(), "a/k", 0, -1)
			if err != nil {
				return err
			}
			return body.Close()
		},
	} {
		for _, crypt := range []map[string]string{nil, {"password": "one"}} {
			t.Run(fmt.Sprint(name, " crypt ", len(crypt)), func(t *testing.T) {
				defer server.faults.clear()
				var v vault
				store := openWithVault(t, server, &v, zap.NewNop(), func(cfg *Config) { cfg.Crypt = crypt })
				object(t, store)
				server.expire(http.StatusForbidden, "ExpiredToken")
				if err := request(t, store); err == nil {
					t.Error("an expired token was taken")
				}
				v.rotate()
				if err := request(t, store); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Without other credentials a stream waits for its grace, is refused again after
// that, and keeps the store's reason.
func TestGraceIsBounded(t *testing.T) {
	server := startS3(t)
	core, logs := observer.New(zapcore.DebugLevel)
	for _, test := range []struct {
		name  string
		vault *vault
	}{
		{"unchanged", &vault{}},
		{"unreadable", &vault{err: errors.New("store.secrets.session_token: no such file")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			store := openWithVault(t, server, test.vault, zap.New(core), nil)
			store.grace = time.Second
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			server.expire(http.StatusForbidden, "ExpiredToken")
			started := time.Now()
			_, err = upload.Consume(t.Context(), bytes.NewReader(make([]byte, 2*smallestPart)))
			took := time.Since(started)
			if err == nil {
				t.Fatal("Consume succeeded")
			}
			for _, want := range []string{"part ", "bytes ", "no others came within 1s", "ExpiredToken", "injected"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if took < store.grace || took > 10*time.Second || test.vault.readings() < 2 {
				t.Errorf("took %s and %d readings, want the 1s of the grace and some", took, test.vault.readings())
			}
			server.faults.clear()
			if err := upload.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	if n := logs.FilterMessage("the store refuses the credentials, and others cannot be had").Len(); n != 1 {
		t.Errorf("%d warnings of an unreadable secret, want one", n)
	}
}

// What is not about credentials does not make the store read them, and without
// a place to read them from a refusal ends the stream at once.
func TestNoRenewal(t *testing.T) {
	server := startS3(t)
	for _, test := range []struct {
		name, code string
		refresh    bool
	}{
		{"another refusal", "InvalidObjectState", true},
		{"nothing to read", "ExpiredToken", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer server.faults.clear()
			var v vault
			store := openWithVault(t, server, &v, zap.NewNop(), func(cfg *Config) {
				if !test.refresh {
					cfg.Refresh = nil
				}
			})
			upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			server.expire(http.StatusForbidden, test.code)
			started := time.Now()
			if _, err = upload.Consume(t.Context(), strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), test.code) {
				t.Errorf("error %v, want one with %s", err, test.code)
			}
			if took := time.Since(started); took > 5*time.Second || v.readings() != 0 {
				t.Errorf("took %s and %d readings of the secrets", took, v.readings())
			}
			server.faults.clear()
			if err := upload.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A wrong secret is replaced by the right one, against a server that checks the
// signature; options that do not belong to a running store are not touched.
func TestWrongSecretIsReplaced(t *testing.T) {
	server := startS3(t)
	v := vault{options: map[string]string{"secret_access_key": "secret", "sse_customer_key": "canary"}}
	cfg := server.config()
	cfg.Options["secret_access_key"] = "canary-wrong"
	cfg.Refresh = v.read
	store, err := New(t.Context(), cfg, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !store.conditional.Load() {
		t.Error("Check has not seen that versitygw honours If-None-Match")
	}
	if got := store.remote.Load().options["sse_customer_key"]; got != "" {
		t.Error("another option was changed")
	}
}

// Credentials change while parts are on their way that the store is slow to
// take: those make room, and are sent again.
func TestSlowPartsMakeRoom(t *testing.T) {
	server := startS3(t)
	var v vault
	store := openWithVault(t, server, &v, zap.NewNop(), nil)
	defer server.faults.clear()
	v.rotate()
	data := make([]byte, 3*smallestPart)
	upload, err := store.Begin(t.Context(), "k", backup.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server.faults.add(&fault{isPart(1), 1, hole})
	server.faults.add(&fault{func(r *http.Request) bool {
		return isPart(2)(r) && first(r)
	}, 1 << 30, answer(http.StatusForbidden, "ExpiredToken")})
	started := time.Now()
	stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("took %s: the change has waited for a part", took)
	}
	if err := upload.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStream(t, store, stored, data)
}
