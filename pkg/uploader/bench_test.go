package uploader

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// BenchmarkStream carries 256 MiB to a versitygw on the same machine, through
// the tests' proxy: a relative measure. CPU is of this process, which is client,
// proxy and source of the bytes, and not of the server.
func BenchmarkStream(b *testing.B) {
	const size = 256 << 20
	server := startS3(b)
	for _, concurrency := range []int{1, 4} {
		b.Run(fmt.Sprintf("concurrency %d", concurrency), func(b *testing.B) {
			cfg := server.config()
			cfg.Root = fmt.Sprintf("bucket/%d", concurrency)
			cfg.Concurrency, cfg.Streams, cfg.PartSize = concurrency, 4, 16<<20
			store, err := New(b.Context(), cfg, zap.NewNop(), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size)
			before := cpuTime(b)
			for n := 0; b.Loop(); n++ {
				ctx := context.WithoutCancel(b.Context())
				u, err := store.Begin(ctx, fmt.Sprint("k", n), backup.UploadOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := u.Consume(ctx, io.LimitReader(rand.NewChaCha8([32]byte{}), size)); err != nil {
					b.Fatal(err)
				}
				if err := u.Commit(ctx); err != nil {
					b.Fatal(err)
				}
				if err := u.Abort(ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N)*(1<<30)/size, "CPU-s/GiB")
			b.ReportMetric(float64(store.memory.peak.Load())/mebibyte, "MiB-buffers")
		})
	}
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
