package verify_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
	"github.com/pipestreamer/pipestreamer/pkg/verify"
)

const partSize = 1000

// stored is a backup in a store on disk, where a test can get at the bytes.
type stored struct {
	root     string
	store    *uploader.Store
	manifest *backup.Manifest
}

// store writes a backup of two streams: the first in two segments of three
// parts or fewer, the second in one short part.
func store(t *testing.T) stored {
	t.Helper()
	root := t.TempDir()
	metrics, err := uploader.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s, err := uploader.New(t.Context(), uploader.Config{Type: "local", Root: root, PartSize: partSize, MaxParts: 3}, zaptest.NewLogger(t), metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	m := &backup.Manifest{
		Version: backup.ManifestVersion, SID: "HXE", Database: "HXE", Kind: backup.KindComplete, BackupID: 1795230245000,
		Directory: "/backup", Prefix: "P", StartedAt: time.Now(), FinishedAt: time.Now(),
	}
	for volume, size := range []int{4500, 10} {
		id := backup.StreamID{VolumeID: volume, PartID: 1}
		upload, err := s.Begin(t.Context(), backup.StreamKey("HXE", "HXE", "P", id), backup.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := upload.Consume(t.Context(), bytes.NewReader(bytes.Repeat([]byte("0123456789"), size/10)))
		if err != nil {
			t.Fatal(err)
		}
		if err := upload.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Streams = append(m.Streams, backup.ManifestStream{StreamID: id, Path: "/backup/P_databackup_" + id.String(), Size: got.Bytes, SHA256: got.SHA256, Objects: got.Objects})
	}
	if _, err := m.Encode(); err != nil {
		t.Fatal(err)
	}
	return stored{root: root, store: s, manifest: m}
}

// change rewrites an object behind the store's back.
func (s stored) change(t *testing.T, key string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(s.root, key)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(offset int) func([]byte) []byte {
	return func(content []byte) []byte {
		content[offset] ^= 0xff
		return content
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	const first, second, short = "HXE/HXE/data/P/0_1", "HXE/HXE/data/P/0_1.002", "HXE/HXE/data/P/1_1"
	for _, test := range []struct {
		name    string
		options verify.Options
		spoil   func(*testing.T, stored)
		want    []verify.Finding
	}{
		{name: "nothing wrong", spoil: func(*testing.T, stored) {}},
		{name: "nothing wrong in a sample", options: verify.Options{Sample: 2}, spoil: func(*testing.T, stored) {}},
		{
			name: "a flipped byte",
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				s.change(t, first, flip(1500))
			},
			want: []verify.Finding{{Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: "0_1", Key: first, Part: 2}},
		},
		{
			name: "flipped bytes in every part, in a sample of all", options: verify.Options{Sample: 9},
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				s.change(t, first, func(b []byte) []byte { return flip(0)(flip(1000)(flip(2999)(b))) })
			},
			want: []verify.Finding{
				{Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: "0_1", Key: first, Part: 1},
				{Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: "0_1", Key: first, Part: 2},
				{Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: "0_1", Key: first, Part: 3},
			},
		},
		{
			name: "a flipped byte in the last part, in a sample of one", options: verify.Options{Sample: 1},
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				s.change(t, second, flip(1499))
			},
			want: []verify.Finding{{Code: verify.CodePartHash, Severity: verify.SeverityError, Stream: "0_1", Key: second, Part: 2}},
		},
		{
			name: "an object cut short",
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				s.change(t, short, func(b []byte) []byte { return b[:9] })
			},
			want: []verify.Finding{{Code: verify.CodeSize, Severity: verify.SeverityError, Stream: "1_1", Key: short}},
		},
		{
			name: "an object grown",
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				s.change(t, short, func(b []byte) []byte { return append(b, 0) })
			},
			want: []verify.Finding{{Code: verify.CodeSize, Severity: verify.SeverityError, Stream: "1_1", Key: short}},
		},
		{
			name: "a segment removed",
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				if err := s.store.Remove(t.Context(), second); err != nil {
					t.Fatal(err)
				}
			},
			want: []verify.Finding{{Code: verify.CodeMissing, Severity: verify.SeverityError, Stream: "0_1", Key: second}},
		},
		{
			name: "segments swapped in the manifest's hash of the stream",
			spoil: func(_ *testing.T, s stored) {
				s.manifest.Streams[0].SHA256 = s.manifest.Streams[1].SHA256
			},
			want: []verify.Finding{{Code: verify.CodeStreamHash, Severity: verify.SeverityError, Stream: "0_1", Key: first}},
		},
		{
			name: "an object's own hash is wrong",
			spoil: func(_ *testing.T, s stored) {
				s.manifest.Streams[1].Objects[0].SHA256 = s.manifest.Streams[0].SHA256
			},
			want: []verify.Finding{{Code: verify.CodeObjectHash, Severity: verify.SeverityError, Stream: "1_1", Key: short}},
		},
		{
			name: "a stray object",
			spoil: func(t *testing.T, s stored) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(s.root, "HXE", "HXE", "data", "P", "7_1"), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			want: []verify.Finding{{Code: verify.CodeStray, Severity: verify.SeverityWarning, Key: "HXE/HXE/data/P/7_1"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := store(t)
			test.spoil(t, s)
			got, err := verify.Run(t.Context(), s.store, s.manifest, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(verify.Finding{}, "Message"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			for _, f := range got {
				if f.Message == "" {
					t.Errorf("%s has no message", f.Code)
				}
			}
		})
	}
}

func TestRunReadsEveryByte(t *testing.T) {
	t.Parallel()
	s := store(t)
	var read atomic.Int64
	_, err := verify.Run(t.Context(), s.store, s.manifest, verify.Options{Progress: func(_ backup.StreamID, n int64) { read.Add(n) }})
	if err != nil || read.Load() != s.manifest.Bytes() {
		t.Errorf("%d of %d bytes were read, %v", read.Load(), s.manifest.Bytes(), err)
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	t.Parallel()
	s := store(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if findings, err := verify.Run(ctx, s.store, s.manifest, verify.Options{}); err == nil || len(findings) > 0 {
		t.Errorf("got %v, %v: a verification that did not look must not find anything", findings, err)
	}
}
