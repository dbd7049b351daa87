package codec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// nowhere takes every stream and keeps nothing, so that only the codec costs.
type nowhere struct{ codec.Inner }

func (nowhere) Begin(context.Context, string, backup.UploadOptions) (backup.Upload, error) {
	return &dropped{}, nil
}

// dropped is an upload into nowhere.
type dropped struct{ backup.Upload }

func (*dropped) Consume(_ context.Context, r io.Reader) (backup.Stored, error) {
	buffer := make([]byte, 1<<20)
	var stored backup.Stored
	for {
		n, err := r.Read(buffer)
		stored.Bytes += int64(n)
		if errors.Is(err, io.EOF) {
			return stored, nil
		}
		if err != nil {
			return stored, err
		}
	}
}

// BenchmarkEncode tells GiB/s, and CPU-seconds for each GiB of a stream, its
// SHA-256 included.
func BenchmarkEncode(b *testing.B) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	recipients := []string{identity.Recipient().String()}
	for _, payload := range []struct {
		name string
		make func(int) []byte
	}{{"random", random}, {"mixed", mixed}, {"table", table}} {
		for _, cfg := range []codec.Config{
			{Recipients: recipients}, {Compression: "fastest"}, {Compression: "default"}, {Compression: "fastest", Recipients: recipients},
		} {
			b.Run(fmt.Sprintf("%s/zstd=%s,age=%d", payload.name, cfg.Compression, len(cfg.Recipients)), func(b *testing.B) {
				encode(b, cfg, payload.make(mostPayload))
			})
		}
	}
}

func encode(b *testing.B, cfg codec.Config, data []byte) {
	b.Helper()
	store, err := codec.New(nowhere{}, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)) * repeats)
	b.ReportAllocs()
	began := cpu()
	for b.Loop() {
		upload, err := store.Begin(b.Context(), key, backup.UploadOptions{Encode: true})
		if err != nil {
			b.Fatal(err)
		}
		var pieces []io.Reader
		for range repeats {
			pieces = append(pieces, bytes.NewReader(data))
		}
		if _, err := upload.Consume(b.Context(), io.MultiReader(pieces...)); err != nil {
			b.Fatal(err)
		}
	}
	spent := cpu() - began
	b.ReportMetric(spent.Seconds()/(float64(b.N)*float64(len(data))*repeats/(1<<30)), "CPU-s/GiB")
}

// repeats is how often a payload is in a stream, which has to be long for the
// rests of a trial.
const repeats = 8

// cpu is what the process has used.
func cpu() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
