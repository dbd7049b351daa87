package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

var errOutage = errors.New("503 Slow Down")

// outage is a store of which every call, of one kind, fails some times for each
// range of each object before it works.
type outage struct {
	backup.Store
	kind  string // "list", "stat", "open", "read", "early end" or "close"
	times int

	mu     sync.Mutex
	failed map[string]int
}

func (o *outage) fails(kind string, where ...any) bool {
	if kind != o.kind {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = make(map[string]int)
	}
	key := fmt.Sprint(where...)
	o.failed[key]++
	return o.failed[key] <= o.times
}

func (o *outage) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	if o.fails("list", prefix) {
		return nil, errOutage
	}
	return o.Store.List(ctx, prefix)
}

func (o *outage) Stat(ctx context.Context, key string) (backup.Object, error) {
	if o.fails("stat", key) {
		return backup.Object{}, errOutage
	}
	return o.Store.Stat(ctx, key)
}

func (o *outage) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if o.fails("open", key, offset) {
		return nil, errOutage
	}
	r, err := o.Store.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	body := &failingBody{Reader: r, closer: r}
	switch {
	case o.fails("read", key, offset):
		body.Reader = io.MultiReader(io.LimitReader(r, length/2), failingReader{errOutage})
	case o.fails("early end", key, offset):
		body.Reader = io.MultiReader(io.LimitReader(r, length/2), failingReader{io.ErrUnexpectedEOF})
	case o.fails("close", key, offset):
		body.err = errOutage
	}
	return body, nil
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

type failingBody struct {
	io.Reader
	closer io.Closer
	err    error
}

func (b *failingBody) Close() error { return errors.Join(b.closer.Close(), b.err) }

// TestRunOutlivesAnOutage has every range fail twice and damage beside it: the
// damage is found, the outage is not.
func TestRunOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"list", "stat", "open", "read", "early end", "close"} {
		for name, sample := range map[string]int{"all": 0, "sample": 9} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				s := store(t)
				s.change(t, "HXE/HXE/data/P/0_1", flip(1500))
				want := []verify.Finding{{
					Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: "0_1", Key: "HXE/HXE/data/P/0_1", Part: 2,
				}}
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					var read int64
					got, err := verify.Run(t.Context(), &outage{Store: s.store, kind: kind, times: 2}, s.manifest, verify.Options{
						Sample: sample,
						Progress: func(_ backup.StreamID, n int64) {
							mu.Lock()
							defer mu.Unlock()
							read += n
						},
					})
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(verify.Finding{}, "Message")); diff != "" {
						t.Errorf("findings (-want +got):\n%s", diff)
					}
					if read != s.manifest.Bytes() {
						t.Errorf("%d of %d bytes were told", read, s.manifest.Bytes())
					}
				})
			})
		}
	}
}

// TestRunDoesNotTakeAnOutageForDamage has every range fail for ever.
func TestRunDoesNotTakeAnOutageForDamage(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]error{
		"list": errOutage, "stat": errOutage, "open": errOutage, "read": errOutage, "close": errOutage,
		"early end": io.ErrUnexpectedEOF,
	} {
		for name, sample := range map[string]int{"all": 0, "sample": 1} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				s := store(t)
				synctest.Test(t, func(t *testing.T) {
					got, err := verify.Run(t.Context(), &outage{Store: s.store, kind: kind, times: 1 << 30}, s.manifest, verify.Options{Sample: sample})
					if !errors.Is(err, want) || !strings.Contains(err.Error(), "HXE/HXE/data/P/") {
						t.Errorf("got %v, expected %v and where", err, want)
					}
					if len(got) > 0 {
						t.Errorf("found %v", got)
					}
				})
			})
		}
	}
}

// vanished loses an object between Stat and Open.
type vanished struct{ backup.Store }

func (v vanished) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := v.Remove(ctx, key); err != nil {
		return nil, err
	}
	return v.Store.Open(ctx, key, offset, length)
}

func TestRunFindsAnObjectThatVanishes(t *testing.T) {
	t.Parallel()
	for name, sample := range map[string]int{"all": 0, "sample": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := store(t)
			want := []verify.Finding{}
			for _, stream := range s.manifest.Streams {
				for _, o := range stream.Objects {
					want = append(want, verify.Finding{
						Code: verify.CodeMissing, Severity: verify.SeverityError, Stream: stream.String(), Key: o.Key,
					})
				}
			}
			got, err := verify.Run(t.Context(), vanished{s.store}, s.manifest, verify.Options{Sample: sample})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(verify.Finding{}, "Message")); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
