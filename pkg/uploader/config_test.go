package uploader

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestNewRefuses(t *testing.T) {
	s3 := func(options map[string]string) Config {
		return Config{Type: "s3", Root: "b", Options: options}
	}
	for _, test := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no type", Config{}, `store type ""`},
		{"unknown type", Config{Type: "floppy"}, `store type "floppy"`},
		{"crypt alone", Config{Type: "crypt"}, "options under crypt"},
		{"unknown option", s3(map[string]string{"acces_key": "x"}), `option "acces_key"`},
		{"global option", s3(map[string]string{"global.log_level": "DEBUG"}), `option "global.log_level": refused`},
		{"override option", s3(map[string]string{"override.dump": "auth"}), `option "override.dump": refused`},
		{"description", s3(map[string]string{"description": "x"}), `option "description": refused`},
		{"option of the budget", s3(map[string]string{"chunk_size": "1G"}), "set part_size"},
		{"parts left behind", s3(map[string]string{"leave_parts_on_error": "true"}), `option "leave_parts_on_error"`},
		{"bad value", s3(map[string]string{"use_multipart_uploads": "maybe"}), "maybe"},
		{"no streaming", Config{Type: "webdav", Options: map[string]string{"url": "http://127.0.0.1:1", "vendor": "other"}}, "local disk"},
		{"swift without policy", Config{Type: "swift"}, "storage_policy"},
		{"crypt with a remote", Config{Type: "local", Crypt: map[string]string{"remote": "x"}}, `option "remote"`},
		{"crypt without password", Config{Type: "local", Crypt: map[string]string{"filename_encryption": "off"}}, "password"},
		{"crypt with unknown option", Config{Type: "local", Crypt: map[string]string{"pasword": "x"}}, `option "pasword"`},
		{"negative", Config{Type: "local", PartSize: -1}, "part_size"},
		{"too many parts", Config{Type: "local", MaxParts: 10001}, "max_parts"},
		{"budget too small", Config{Type: "local", MemoryBudget: 100 << 20}, "at least 335544320"},
		{"budget too small for the part size", Config{Type: "local", PartSize: 1 << 30}, "memory_budget"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(t.Context(), test.cfg, zap.NewNop(), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestPartSize(t *testing.T) {
	for _, test := range []struct {
		name           string
		cfg            Config
		estimate, want int64
	}{
		{"unknown", Config{MemoryBudget: 8 << 30}, 0, 16 << 20},
		{"unknown, default budget", Config{}, 0, 8 << 20},
		{"short", Config{}, 1, 5 << 20},
		{"just short", Config{}, 64<<20 - 1, 5 << 20},
		{"not short", Config{MemoryBudget: 8 << 30}, 64 << 20, 16 << 20},
		{"60 GiB", Config{MemoryBudget: 8 << 30}, 60 << 30, 16 << 20},
		{"100 GiB", Config{MemoryBudget: 8 << 30}, 100 << 30, 23 << 20},
		{"huge", Config{MemoryBudget: 8 << 30}, math.MaxInt64, 128 << 20},
		{"few streams", Config{Streams: 4}, 1 << 40, 64 << 20},
		{"fixed", Config{PartSize: 6 << 20}, 1 << 40, 6 << 20},
		{"one part", Config{MaxParts: 1, Streams: 4}, 10 << 20, 20<<20 + 1<<20},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := test.cfg.withDefaults()
			if err := cfg.check(); err != nil {
				t.Fatal(err)
			}
			got := cfg.partSize(test.estimate)
			if got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
			if got < cfg.largestPart() && test.estimate > 0 && cfg.PartSize == 0 {
				if parts := 2*test.estimate/got + 1; parts > int64(max(cfg.MaxParts*9/10, 1)) {
					t.Errorf("twice the estimate takes %d parts", parts)
				}
			}
		})
	}
}

// No secret reaches a log or an error, not even rclone's debug log.
func TestSecretsStayHidden(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	Quiet(zap.New(core))
	defer Quiet(zap.NewNop())
	server := startS3(t)
	cfg := server.config()
	cfg.Options["secret_access_key"] = "canary-key"
	cfg.Crypt = map[string]string{"password": "canary-password", "password2": "canary-salt"}
	store, err := New(t.Context(), cfg, zap.New(core), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{fmt.Sprint(store.Check(t.Context()))}
	for _, entry := range logs.All() {
		lines = append(lines, entry.Message+fmt.Sprint(entry.ContextMap()))
	}
	text := strings.Join(lines, "\n")
	if !strings.Contains(text, "SignatureDoesNotMatch") || strings.Contains(text, "canary") {
		t.Errorf("want the store's refusal and no secret:\n%s", text)
	}
}

func TestMetricsLint(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.retries.WithLabelValues("part").Inc()
	m.uploads.WithLabelValues("committed").Inc()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) != 0 {
		t.Fatalf("%v, %v", problems, err)
	}
	if _, err := NewMetrics(registry); err == nil {
		t.Error("a second registration succeeded")
	}
}

// An upload that waits for memory gives up with its context, and one that has
// its reserve progresses while others take the rest.
func TestMemory(t *testing.T) {
	m := newMemory(10, prometheus.NewGauge(prometheus.GaugeOpts{}))
	first, err := m.reserve(t.Context(), 2, 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	var held []*[]byte
	for range 5 { // two reserved, three extra: the whole budget
		buffer, err := first.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, buffer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = m.reserve(ctx, 2, 2, 5)
	wantIs(t, err, context.DeadlineExceeded)
	_, err = first.get(ctx)
	wantIs(t, err, context.DeadlineExceeded)

	begun := make(chan *buffers)
	go func() {
		second, err := m.reserve(t.Context(), 2, 2, 5)
		if err != nil {
			t.Error(err)
		}
		begun <- second
	}()
	// Extra buffers go to the one that waits, not to the one that has.
	first.put(held[0])
	first.put(held[1])
	second := <-begun
	for range 2 { // kept to the end
		if _, err := second.get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, buffer := range held[2:] {
		first.put(buffer)
	}
	first.close()
	if m.peak.Load() != 10 || m.used.Load() != 4 {
		t.Errorf("peak %d, used %d; want 10 and 4", m.peak.Load(), m.used.Load())
	}
	if _, err := m.reserve(t.Context(), 11, 1, 1); err == nil {
		t.Error("more than the budget was reserved")
	}
}

func TestMayPass(t *testing.T) {
	for err, want := range map[error]bool{
		io.ErrUnexpectedEOF:                                  true,
		fmt.Errorf("wrapped: %w", errNotShown):               true,
		backup.ErrCorrupt:                                    false,
		backup.ErrExists:                                     false,
		errors.Join(backup.ErrExists, io.ErrUnexpectedEOF):   false,
		fmt.Errorf("%w: %w", errNotShown, &statusError{404}): true,
		fmt.Errorf("answer: %w", &xml.SyntaxError{}):         true,
		errors.New("something nobody has seen"):              false,
		&statusError{403}:                                    false,
		&statusError{404}:                                    false,
		&statusError{412}:                                    false,
		&statusError{501}:                                    false,
		&statusError{408}:                                    true,
		&statusError{429}:                                    true,
		&statusError{500}:                                    true,
		&statusError{502}:                                    true,
		fmt.Errorf("deep: %w", &statusError{503}):            true,
	} {
		if got := mayPass(err); got != want {
			t.Errorf("mayPass(%v) = %v, want %v", err, got, want)
		}
	}
}

type statusError struct{ status int }

func (e *statusError) Error() string       { return fmt.Sprint("status ", e.status) }
func (e *statusError) HTTPStatusCode() int { return e.status }

// reluctant returns no bytes and no error, for ever.
type reluctant struct{}

func (reluctant) Read([]byte) (int, error) { return 0, nil }

func TestFill(t *testing.T) {
	buffer := make([]byte, 4)
	n, err := backup.Fill(t.Context(), reluctant{}, buffer)
	if n != 0 || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%d, %v; want io.ErrNoProgress", n, err)
	}
	n, err = backup.Fill(t.Context(), bytes.NewReader([]byte("abc")), buffer)
	if n != 3 || err != io.EOF { //nolint:errorlint // fill keeps the reader's own error
		t.Errorf("%d, %v; want 3, EOF", n, err)
	}
	n, err = backup.Fill(t.Context(), bytes.NewReader([]byte("abcd")), buffer)
	if n != 4 || err != nil {
		t.Errorf("%d, %v; want 4, nil", n, err)
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"HDB/SYSTEMDB/data/p/0_1", "../x", "a//b", ".pipestreamer/partial/x", "a/..", "\x00"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if checkKey(key) != nil {
			return
		}
		for _, bad := range []string{"/../", "//", "/./", "\\", "\x00", "\n"} {
			if strings.Contains("/"+key+"/", bad) {
				t.Fatalf("key %q with %q was accepted", key, bad)
			}
		}
		if strings.HasPrefix(key, privatePrefix) {
			t.Fatalf("private key %q was accepted", key)
		}
		if err := checkPrefix(key + "/"); err != nil {
			t.Fatalf("prefix of key %q: %v", key, err)
		}
	})
}
