package codec_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

func TestMain(m *testing.M) {
	uploader.Quiet(zap.NewNop())
	goleak.VerifyTestMain(m)
}

// key pairs of age, and where the identity is.
type pair struct{ recipient, file string }

func newPair(t *testing.T) pair {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(file, []byte("# a comment\n"+identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return pair{identity.Recipient().String(), file}
}

// place is a local store and its directory.
type place struct {
	dir   string
	inner *uploader.Store
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{dir: t.TempDir()}
	var err error
	p.inner, err = uploader.New(t.Context(), uploader.Config{
		Type: "local", Root: p.dir, MemoryBudget: 16 << 20, Streams: 1, MaxParts: 4, PartSize: 1 << 20,
	}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.inner.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p place) with(t *testing.T, cfg codec.Config) *codec.Store {
	t.Helper()
	store, err := codec.New(p.inner, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// bytesOf is what an object has in the directory.
func (p place) bytesOf(t *testing.T, objects []backup.Object) []byte {
	t.Helper()
	var all []byte
	for _, o := range objects {
		content, err := os.ReadFile(filepath.Join(p.dir, o.Key))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	return all
}

// The payloads: random bytes, a table-like mix, one that compresses well.
func random(size int) []byte { return bytes.Clone(someRandom()[:size]) }

func table(size int) []byte { return bytes.Clone(someTable()[:size]) }

const mostPayload = 64 << 20

var someRandom = sync.OnceValue(func() []byte {
	data := make([]byte, mostPayload)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // documented never to fail
	return data
})

var someTable = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	source := rand.New(rand.NewPCG(1, 2))
	for b.Len() < 4<<20 {
		fmt.Fprintf(&b, "%08d|CUSTOMER %05d|%s|2026-11-%02d\n", source.IntN(1e8), source.IntN(1e5), strings.Repeat("x", source.IntN(9)), source.IntN(30))
	}
	return bytes.Repeat(b.Bytes()[:4<<20], mostPayload>>22)
})

func mixed(size int) []byte {
	data := random(size)
	text := table(size)
	for at := 0; at < size; at += 128 << 10 {
		copy(data[at:min(at+64<<10, size)], text[at:])
	}
	return data
}

const key = "HXE/HXE/data/P/3_1"

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// put stores data by the whole way.
func put(t *testing.T, store *codec.Store, data []byte, options backup.UploadOptions) backup.Stored {
	t.Helper()
	options.Encode = true
	upload, err := store.Begin(t.Context(), key, options)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), bytes.NewReader(data))
	if err == nil {
		err = upload.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// get reads a stream back as a restore does.
func get(t *testing.T, store *codec.Store, stored backup.Stored) ([]byte, error) {
	t.Helper()
	r, err := store.OpenStream(t.Context(), stored.Objects)
	if err != nil {
		return nil, err
	}
	r = backup.Checked(r, stored.Objects, stored.Bytes, stored.SHA256)
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// stock decodes what is stored as the stock tools do: with the libraries that they
// are made of, as one stream.
func stock(t *testing.T, encoding []string, stored []byte, identityFile string) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(stored)
	if slices.Contains(encoding, backup.EncodingAge) {
		file, err := os.Open(identityFile)
		if err != nil {
			t.Fatal(err)
		}
		identities, err := age.ParseIdentities(file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if r, err = age.Decrypt(r, identities...); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains(encoding, backup.EncodingZstd) {
		decoder, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer decoder.Close()
		r = decoder
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	first, second := newPair(t), newPair(t)
	both := []string{first.recipient, second.recipient}
	payloads := []struct {
		name string
		data []byte
	}{
		{"one byte", []byte{7}},
		{"a block", table(1 << 20)},
		{"a block and a byte", table(1<<20 + 1)},
		{"a chunk of age", random(64 << 10)},
		{"random", random(5<<20 + 17)},
		{"mixed", mixed(5<<20 + 17)},
		{"a table", table(5<<20 + 17)},
		{"zeros", make([]byte, 5<<20)},
	}
	for _, cfg := range []codec.Config{
		{Compression: "fastest"},
		{Compression: "default", Recipients: both, IdentityFile: second.file},
		{Compression: "off", Recipients: both, IdentityFile: first.file},
	} {
		for _, payload := range payloads {
			t.Run(fmt.Sprintf("%s %d recipients/%s", cfg.Compression, len(cfg.Recipients), payload.name), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				store := p.with(t, cfg)
				var told atomic.Int64
				stored := put(t, store, payload.data, backup.UploadOptions{Progress: func(n int64) { told.Add(n) }})
				if stored.Bytes != int64(len(payload.data)) || stored.SHA256 != sum(payload.data) {
					t.Errorf("Consume says %d bytes with %s", stored.Bytes, stored.SHA256)
				}
				if told.Load() != stored.Bytes {
					t.Errorf("%d bytes were acknowledged, expected %d", told.Load(), stored.Bytes)
				}
				encoding := backup.EncodingOf(stored.Objects)
				for i, o := range stored.Objects {
					if want := backup.SegmentKey(backup.EncodedKey(key, encoding), i+1); o.Key != want {
						t.Errorf("object %d has the key %s, expected %s", i, o.Key, want)
					}
					if content := p.bytesOf(t, []backup.Object{o}); o.Size != int64(len(content)) || o.SHA256 != sum(content) {
						t.Errorf("object %s is said to have %d bytes with another SHA-256 than the %d that are there", o.Key, o.Size, len(content))
					}
				}
				if got, err := get(t, store, stored); err != nil || !bytes.Equal(got, payload.data) {
					t.Errorf("%d bytes came back, %v", len(got), err)
				}
				if got := stock(t, encoding, p.bytesOf(t, stored.Objects), cfg.IdentityFile); !bytes.Equal(got, payload.data) {
					t.Errorf("the stock decoders give %d other bytes", len(got))
				}
			})
		}
	}
}

// TestChange: a stream that does not shrink, then does, then does not.
func TestChange(t *testing.T) {
	t.Parallel()
	// Which block is tried depends on when the others are done; one is within 32.
	data := slices.Concat(random(22<<20), bytes.Repeat(table(4<<20), 24), random(1<<20))
	store := newPlace(t).with(t, codec.Config{Compression: "fastest"})
	stored := put(t, store, data, backup.UploadOptions{})
	if got, err := get(t, store, stored); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	var size int64
	for _, o := range stored.Objects {
		size += o.Size
	}
	if size > 100<<20 {
		t.Errorf("%d bytes are stored of %d: the table was not compressed", size, len(data))
	}
}

// TestSize: what shrinks does, and what does not costs next to nothing.
func TestSize(t *testing.T) {
	t.Parallel()
	keys := newPair(t)
	for _, test := range []struct {
		name string
		cfg  codec.Config
		data []byte
		most float64
	}{
		{"a table", codec.Config{Compression: "fastest"}, table(4 << 20), 0.5},
		{"mixed", codec.Config{Compression: "fastest"}, mixed(4 << 20), 0.8},
		{"random", codec.Config{Compression: "fastest"}, random(8 << 20), 1.0001},
		{"random, encrypted", codec.Config{Compression: "fastest", Recipients: []string{keys.recipient}}, random(8 << 20), 1.0005},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stored := put(t, newPlace(t).with(t, test.cfg), test.data, backup.UploadOptions{})
			var size int64
			for _, o := range stored.Objects {
				size += o.Size
			}
			if ratio := float64(size) / float64(len(test.data)); ratio > test.most {
				t.Errorf("%.4f of the bytes are stored, expected at most %.4f", ratio, test.most)
			}
		})
	}
}

// TestOthersStayReadable: what is not HANA's goes through as it is.
func TestOthersStayReadable(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	store := p.with(t, codec.Config{Compression: "best", Recipients: []string{newPair(t).recipient}})
	upload, err := store.Begin(t.Context(), "HXE/HXE/manifests/1.json", backup.UploadOptions{AtHand: true})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := upload.Consume(t.Context(), strings.NewReader("{}"))
	if err == nil {
		err = upload.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.bytesOf(t, stored.Objects)); got != "{}" || stored.Objects[0].Encoding != nil {
		t.Errorf("%q was stored with the encoding %q", got, stored.Objects[0].Encoding)
	}
}

func TestEmptyStream(t *testing.T) {
	t.Parallel()
	keys := newPair(t)
	for name, cfg := range map[string]codec.Config{
		"zstd": {Compression: "fastest"}, "age": {Recipients: []string{keys.recipient}},
		"both": {Compression: "fastest", Recipients: []string{keys.recipient}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newPlace(t).with(t, cfg)
			upload, err := store.Begin(t.Context(), key, backup.UploadOptions{Encode: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := upload.Consume(t.Context(), strings.NewReader("")); !errors.Is(err, backup.ErrEmptyStream) {
				t.Errorf("Consume: %v, expected %v", err, backup.ErrEmptyStream)
			}
			abort(t, upload)
		})
	}
}

func abort(t *testing.T, upload backup.Upload) {
	t.Helper()
	if err := upload.Abort(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
