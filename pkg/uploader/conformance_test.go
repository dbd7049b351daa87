package uploader

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/object"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/uploader/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childServer) != "" {
		os.Exit(runChild()) //nolint:forbidigo // TestMain is the main of a test
	}
	Quiet(zap.NewNop())
	resolveThroughTests()
	// rclone's pacer gives its token back from a goroutine that sleeps for at
	// most two seconds and then ends (lib/pacer, beginCall).
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rclone/rclone/lib/pacer.(*Pacer).beginCall.func1"))
}

// subject is a Store with a look behind its back.
type subject struct{ *Store }

func (s subject) Overwrite(ctx context.Context, key string, content []byte) error {
	info := object.NewStaticObjectInfo(key, time.Now(), int64(len(content)), true, nil, nil)
	if err := s.remove(ctx, key); err != nil {
		return err
	}
	_, err := s.remote.Load().fs.Put(ctx, bytes.NewReader(content), info)
	return err
}

func (s subject) Leftovers(ctx context.Context) (int, error) {
	found, err := s.list(ctx, privatePrefix)
	if err != nil || s.kind != "s3" {
		return len(found), err
	}
	left, err := s.remote.Load().base.Features().Command(ctx, "list-multipart-uploads", nil, nil)
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(left)
	if err != nil {
		return 0, err
	}
	var buckets map[string][]any
	if err := json.Unmarshal(text, &buckets); err != nil {
		return 0, err
	}
	for _, uploads := range buckets {
		found = append(found, make([]fs.Object, len(uploads))...)
	}
	return len(found), nil
}

func (s subject) Peak() int64 { return s.memory.peak.Load() }

// conform runs the suite against stores of cfg, each below a root of its own.
func conform(t *testing.T, cfg Config, partSize int) {
	t.Helper()
	except := map[string]string{}
	if cfg.Type == "s3" && len(cfg.Crypt) > 0 {
		except["Crash/prefix"] = "the keys of multipart uploads are encrypted"
	}
	if cfg.Type == "azureblob" {
		except["Crash"] = "blocks that were not committed can be neither listed nor removed; Azure drops them after 7 days"
	}
	storetest.Run(t, storetest.Subject{
		PartSize: partSize,
		Except:   except,
		Open: func(t *testing.T, limits storetest.Limits) storetest.Store {
			t.Helper()
			cfg := cfg
			cfg.Root = path.Join(cfg.Root, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()))
			cfg.PartSize = int64(partSize)
			cfg.MaxParts = 1000
			if limits.MaxParts > 0 {
				cfg.MaxParts = limits.MaxParts
			}
			cfg.Streams = 4
			if limits.Streams > 0 {
				cfg.Streams = limits.Streams
			}
			cfg.MemoryBudget = int64(2 * cfg.Streams * partSize)
			return subject{open(t, cfg)}
		},
	})
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	store, err := New(t.Context(), cfg, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Close: %v", err)
		}
		if used := store.memory.used.Load(); used != 0 {
			t.Errorf("%d bytes of the memory budget are still taken", used)
		}
	})
	return store
}

func TestConformLocal(t *testing.T) {
	conform(t, Config{Type: "local", Root: t.TempDir()}, 64<<10)
}

func TestConformCryptOverLocal(t *testing.T) {
	conform(t, Config{
		Type: "local", Root: t.TempDir(),
		Crypt: map[string]string{"password": "one", "password2": "two"},
	}, 64<<10)
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}
