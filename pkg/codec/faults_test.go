package codec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// TestSourceFails: a fault of the pipe is never an end.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	keys := newPair(t)
	broken := errors.New("the writer was replaced")
	for name, cfg := range map[string]codec.Config{
		"zstd": {Compression: "fastest"}, "age": {Recipients: []string{keys.recipient}},
		"both": {Compression: "fastest", Recipients: []string{keys.recipient}},
	} {
		for cause, err := range map[string]error{
			"an error": broken, "an early end": io.ErrUnexpectedEOF, "an error that wraps the end": fmt.Errorf("lost: %w", io.EOF),
		} {
			for _, after := range []int{0, 1, 1 << 20, 2<<20 + 1} {
				t.Run(fmt.Sprintf("%s/%s/after %d", name, cause, after), func(t *testing.T) {
					t.Parallel()
					p := newPlace(t)
					upload, errBegin := p.with(t, cfg).Begin(t.Context(), key, backup.UploadOptions{Encode: true})
					if errBegin != nil {
						t.Fatal(errBegin)
					}
					_, got := upload.Consume(t.Context(), io.MultiReader(bytes.NewReader(table(after)), iotest.ErrReader(err)))
					if !errors.Is(got, err) {
						t.Errorf("Consume: %v, expected %v", got, err)
					}
					if err := upload.Commit(t.Context()); err == nil {
						t.Error("a stream that broke off was committed")
					}
					abort(t, upload)
				})
			}
		}
	}
}

// blocked yields some bytes and then nothing until its context ends.
type blocked struct {
	ctx     context.Context //nolint:containedctx // that of the one Consume that reads it
	reached chan struct{}
	rest    []byte
}

func (b *blocked) Read(p []byte) (int, error) {
	if len(b.rest) > 0 {
		n := copy(p, b.rest)
		b.rest = b.rest[n:]
		return n, nil
	}
	close(b.reached)
	<-b.ctx.Done()
	return 0, context.Cause(b.ctx)
}

func TestCancelledConsume(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{"its context": "context", "an abort": "abort"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newPlace(t).with(t, codec.Config{Compression: "fastest", Recipients: []string{newPair(t).recipient}})
			upload, err := store.Begin(t.Context(), key, backup.UploadOptions{Encode: true})
			if err != nil {
				t.Fatal(err)
			}
			enough := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			source := &blocked{ctx: ctx, reached: make(chan struct{}), rest: table(5<<20 + 3)}
			result := make(chan error, 1)
			go func() {
				_, err := upload.Consume(ctx, source)
				result <- err
			}()
			<-source.reached
			if end == "abort" {
				go cancel(enough) // whoever aborts closes the pipe
				abort(t, upload)
			}
			cancel(enough)
			if err := <-result; err == nil {
				t.Error("Consume has succeeded")
			}
			abort(t, upload)
		})
	}
}

// TestBlocksComeBack: an upload that ends in any way leaves its memory.
func TestBlocksComeBack(t *testing.T) {
	t.Parallel()
	store := newPlace(t).with(t, codec.Config{Compression: "fastest", Streams: 1})
	for i := range 18 {
		upload, err := store.Begin(t.Context(), fmt.Sprintf("%s%d", key, i), backup.UploadOptions{Encode: true})
		if err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0: // not even begun
		case 1:
			if _, err := upload.Consume(t.Context(), io.MultiReader(bytes.NewReader(table(1<<20+1)), iotest.ErrReader(io.ErrClosedPipe))); err == nil {
				t.Error("a broken stream was taken")
			}
		default:
			if _, err := upload.Consume(t.Context(), bytes.NewReader(table(1<<20+1))); err != nil {
				t.Error(err)
			}
		}
		abort(t, upload)
	}
}

func TestBeginWaitsForMemory(t *testing.T) {
	t.Parallel()
	store := newPlace(t).with(t, codec.Config{Compression: "fastest", Streams: 1})
	var uploads []backup.Upload
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 1e8, errors.New("too late"))
		upload, err := store.Begin(ctx, fmt.Sprintf("%s%d", key, i), backup.UploadOptions{Encode: true})
		cancel()
		if err != nil {
			if !errors.Is(err, backup.ErrMemory) || i == 0 {
				t.Errorf("upload %d: %v, expected %v", i, err, backup.ErrMemory)
			}
			break
		}
		uploads = append(uploads, upload)
	}
	for _, upload := range uploads {
		abort(t, upload)
	}
}

// TestDamage: what is stored is changed, and the manifest with it, as somebody
// would who may write to the store.
func TestDamage(t *testing.T) {
	t.Parallel()
	keys := newPair(t)
	data := table(2<<20 + 1)
	for name, cfg := range map[string]codec.Config{
		"zstd": {Compression: "fastest"}, "age": {Recipients: []string{keys.recipient}, IdentityFile: keys.file},
		"both": {Compression: "fastest", Recipients: []string{keys.recipient}, IdentityFile: keys.file},
	} {
		for change, spoil := range map[string]func([]byte) []byte{
			"a flipped byte":       func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"the last byte is off": func(b []byte) []byte { return b[:len(b)-1] },
			"the first byte only":  func(b []byte) []byte { return b[:1] },
			"half of it":           func(b []byte) []byte { return b[:len(b)/2] },
			"something behind it":  func(b []byte) []byte { return append(b, 0) },
			"twice":                func(b []byte) []byte { return append(b, b...) },
			"other content":        func(b []byte) []byte { return random(len(b)) },
		} {
			t.Run(name+"/"+change, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				store := p.with(t, cfg)
				stored := put(t, store, data, backup.UploadOptions{})
				content := spoil(p.bytesOf(t, stored.Objects))
				if slices.Equal(content, p.bytesOf(t, stored.Objects)) {
					t.Fatal("nothing was changed")
				}
				o := backup.Object{
					Key: stored.Objects[0].Key, Size: int64(len(content)), SHA256: sum(content),
					Parts: []backup.Part{{Size: int64(len(content)), SHA256: sum(content)}}, Encoding: stored.Objects[0].Encoding,
				}
				if err := os.WriteFile(filepath.Join(p.dir, o.Key), content, 0o600); err != nil {
					t.Fatal(err)
				}
				stored.Objects = []backup.Object{o}
				got, err := get(t, store, stored)
				if !errors.Is(err, backup.ErrCorrupt) {
					t.Errorf("error %v, expected %v", err, backup.ErrCorrupt)
				}
				if len(got) >= len(data) {
					t.Errorf("%d of %d bytes were handed on", len(got), len(data))
				}
			})
		}
	}
}

// TestCutBetweenFrames: a stream of zstd has no end of its own, so the cut is
// seen by its size.
func TestCutBetweenFrames(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	store := p.with(t, codec.Config{Compression: "fastest"})
	whole := put(t, store, table(2<<20), backup.UploadOptions{})
	if err := p.inner.Remove(t.Context(), whole.Objects[0].Key); err != nil {
		t.Fatal(err)
	}
	half := put(t, store, table(2 << 20)[:1<<20], backup.UploadOptions{})
	half.Bytes, half.SHA256 = whole.Bytes, whole.SHA256
	if got, err := get(t, store, half); !errors.Is(err, backup.ErrCorrupt) {
		t.Errorf("%d bytes, %v; expected %v", len(got), err, backup.ErrCorrupt)
	}
}

func TestNoIdentity(t *testing.T) {
	t.Parallel()
	keys, others := newPair(t), newPair(t)
	empty := filepath.Join(t.TempDir(), "empty")
	secret := "AGE-SECRET-KEY-1NOTAKEYATALL"
	bad := filepath.Join(t.TempDir(), "bad")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.WriteFile(bad, []byte(secret), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"not set": "", "not there": filepath.Join(t.TempDir(), "none"), "of somebody else": others.file, "empty": empty, "not an identity": bad,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newPlace(t).with(t, codec.Config{Recipients: []string{keys.recipient}, IdentityFile: file})
			stored := put(t, store, table(100), backup.UploadOptions{})
			_, err := store.OpenStream(t.Context(), stored.Objects)
			if !errors.Is(err, backup.ErrNoIdentity) || !strings.Contains(err.Error(), "encryption.identityFile") {
				t.Errorf("OpenStream: %v, expected %v and the setting", err, backup.ErrNoIdentity)
			}
			if err != nil && strings.Contains(err.Error(), "NOTAKEY") {
				t.Errorf("the error tells the secret: %v", err)
			}
			// What is stored can be read without.
			r, err := store.OpenStream(t.Context(), backup.AsStored(stored.Objects))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || sum(got) != stored.Objects[0].SHA256 {
				t.Errorf("what is stored cannot be read: %v", err)
			}
		})
	}
}

// TestCloseEarly: HANA reads headers first and closes.
func TestCloseEarly(t *testing.T) {
	t.Parallel()
	keys := newPair(t)
	p := newPlace(t)
	store := p.with(t, codec.Config{Compression: "fastest", Recipients: []string{keys.recipient}, IdentityFile: keys.file})
	stored := put(t, store, mixed(5<<20), backup.UploadOptions{})
	for _, read := range []int64{0, 1, 4096, 3 << 20} {
		r, err := store.OpenStream(t.Context(), stored.Objects)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, read); err != nil {
			t.Error(err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(r); err == nil && read < 3<<20 {
			t.Error("a reader that was closed goes on to the end")
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := store.OpenStream(ctx, stored.Objects)
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	cancel(enough)
	if _, err := io.ReadAll(r); !errors.Is(err, enough) || errors.Is(err, backup.ErrCorrupt) {
		t.Errorf("after the end of its context a read gives %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	keys := newPair(t)
	file := filepath.Join(t.TempDir(), "recipients")
	if err := os.WriteFile(file, []byte("# nobody\n"+keys.recipient+"\nage1nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		cfg  codec.Config
		want string
	}{
		{"an unknown level", codec.Config{Compression: "ultra"}, "compression"},
		{"a recipient that is none", codec.Config{Recipients: []string{"age1x"}}, "encryption.recipients"},
		{"a secret as a recipient", codec.Config{Recipients: []string{"AGE-SECRET-KEY-1X"}}, "encryption.recipients"},
		{"a file that is not there", codec.Config{RecipientsFile: file + "x"}, "encryption.recipientsFile"},
		{"a file with nonsense", codec.Config{RecipientsFile: file}, "encryption.recipientsFile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := codec.New(nil, test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: %v, expected a word about %s", err, test.want)
			}
		})
	}
}
