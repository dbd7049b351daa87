package spool_test

import (
	"errors"
	"hash/maphash"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

// TestThroughASmallFileSystem has a backup pass that is eight times as large as
// the file system.
func TestThroughASmallFileSystem(t *testing.T) {
	needRoot(t, "to mount a tmpfs")
	peak := through(t, "16m", 128*mib, func(c *spool.Config) {
		c.Follow, c.FollowLag, c.FollowPoll, c.Head = true, 2*mib, time.Millisecond, mib
		c.Punch, c.PunchStep = true, mib
	})
	if peak > 16*mib {
		t.Errorf("it occupied %d bytes", peak)
	}
}

// BenchmarkThroughASmallFileSystem passes 4 GiB through 512 MiB with the default
// settings.
func BenchmarkThroughASmallFileSystem(b *testing.B) {
	needRoot(b, "to mount a tmpfs")
	const size = 4 << 30
	b.SetBytes(size)
	var peak int64
	for b.Loop() {
		peak = max(peak, through(b, "512m", size, func(c *spool.Config) { c.Follow, c.Punch = true, true }))
	}
	b.ReportMetric(float64(peak)/mib, "peak-MiB")
}

// through writes a file of size bytes to a tmpfs while it is followed, and
// returns the most that it occupied. HANA does not wait for space; its file grows
// as fast as the network takes it, which the writer here does by looking.
func through(tb testing.TB, space string, size int, change func(*spool.Config)) (peak int64) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "spool-test-") //nolint:usetesting // t.TempDir has the test's name in its path
	must(tb, err)
	must(tb, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+space+",mode=0700"))
	defer func() { must(tb, errors.Join(unix.Unmount(dir, 0), os.Remove(dir))) }()

	p := plan(dir, 1)
	cfg := spool.Config{Directory: dir}
	change(&cfg)
	s := spool.NewSource(cfg, nil, nil)
	must(tb, s.Prepare(tb.Context(), p))
	defer func() { must(tb, s.Close()) }()
	seed, sums := maphash.MakeSeed(), make(chan uint64, 1)
	writer := async(func() error {
		sum, highest, err := writeWithin(hiddenPath(p, 0), size, seed)
		peak = highest
		sums <- sum
		return errors.Join(err, os.Rename(hiddenPath(p, 0), finalPath(p, 0)))
	})
	eventually(tb, "the file", func() bool { return s.Report()[0].Path != "" })
	r, err := s.Open(tb.Context(), stream(0))
	must(tb, err)
	var hash maphash.Hash
	hash.SetSeed(seed)
	buf := make([]byte, mib)
	for at := int64(0); err == nil; {
		var n int
		n, err = r.Read(buf)
		at += int64(n)
		hash.Write(buf[:n])
		r.(spool.Acknowledger).Acknowledge(at - mib) // what is on its way
	}
	if !errors.Is(err, io.EOF) {
		tb.Fatal(err)
	}
	must(tb, <-writer)
	must(tb, r.Close())
	if got, want := hash.Sum64(), <-sums; got != want {
		tb.Errorf("got %x, want %x", got, want)
	}
	return peak
}

// writeWithin writes with O_DIRECT, where tmpfs has it, and waits while a quarter
// of the file system or less is free.
func writeWithin(path string, size int, seed maphash.Seed) (sum uint64, peak int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_DIRECT, 0o640)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Create(path)
	}
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := aligned([]byte(strings.Repeat("HANA", mib/4)))
	var hash maphash.Hash
	hash.SetSeed(seed)
	for at := 0; at < size; at += len(block) {
		copy(block, digest([]byte{byte(at >> 20), byte(at >> 28)}))
		for {
			var fs unix.Statfs_t
			if err := unix.Statfs(path, &fs); err != nil {
				return 0, peak, err
			}
			peak = max(peak, int64(fs.Blocks-fs.Bfree)*fs.Bsize)
			if fs.Bfree*4 > fs.Blocks {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := f.Write(block); err != nil {
			return 0, peak, err
		}
		hash.Write(block)
	}
	return hash.Sum64(), peak, nil
}
