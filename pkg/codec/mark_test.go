package codec

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// kept takes streams into memory and acknowledges nothing.
type kept struct {
	Inner

	upload keptUpload
}

func (k *kept) Begin(context.Context, string, backup.UploadOptions) (backup.Upload, error) {
	return &k.upload, nil
}

type keptUpload struct {
	backup.Upload

	content []byte
}

func (u *keptUpload) Consume(_ context.Context, r io.Reader) (_ backup.Stored, err error) {
	u.content, err = io.ReadAll(r)
	return backup.Stored{}, err
}

// TestMarks: whoever has as much of what is stored as a mark says can restore as
// much of the stream: the file of HANA may lose it.
func TestMarks(t *testing.T) {
	t.Parallel()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipients := []string{identity.Recipient().String(), identity.Recipient().String()}
	var data bytes.Buffer
	for i := 0; data.Len() < 6<<20; i++ {
		fmt.Fprintf(&data, "%d %x\n", i, i*i*7919)
	}
	for name, cfg := range map[string]Config{
		"age": {Recipients: recipients}, "zstd": {Compression: "fastest"}, "both": {Compression: "fastest", Recipients: recipients},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := new(kept)
			s, err := New(store, cfg)
			if err != nil {
				t.Fatal(err)
			}
			begun, err := s.Begin(t.Context(), "k", backup.UploadOptions{Encode: true, Safe: func(int64) {}})
			if err != nil {
				t.Fatal(err)
			}
			u, _ := begun.(*upload)
			if _, err := u.Consume(t.Context(), bytes.NewReader(data.Bytes())); err != nil {
				t.Fatal(err)
			}
			useful := 0
			for _, m := range u.told.marks {
				if m.stored > int64(len(store.upload.content)) {
					continue // of the last bytes, told at the end
				}
				useful++
				if got := restorable(t, cfg, identity, store.upload.content[:m.stored]); got < m.plain {
					t.Errorf("%d stored bytes restore %d of the stream, the mark says %d", m.stored, got, m.plain)
				}
			}
			if useful < 4 {
				t.Errorf("%d marks of %d are of use", useful, len(u.told.marks))
			}
		})
	}
}

// restorable is how many bytes of the stream come of the beginning of what is
// stored.
func restorable(t *testing.T, cfg Config, identity age.Identity, stored []byte) int64 {
	t.Helper()
	var r io.Reader = bytes.NewReader(stored)
	if cfg.encrypts() {
		var err error
		if r, err = age.Decrypt(r, identity); err != nil {
			t.Fatal(err)
		}
		whole, _ := io.ReadAll(r) // as far as it goes
		r = bytes.NewReader(whole)
	}
	if cfg.compresses() {
		decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer decoder.Close()
		r = decoder
	}
	n, _ := io.Copy(io.Discard, r) // as far as it goes
	return n
}
