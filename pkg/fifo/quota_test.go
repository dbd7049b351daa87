package fifo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// TestQuotaShrinksPipes streams through more pipes than the kernel lets one
// user have at 1 MiB, as a user without privileges.
func TestQuotaShrinksPipes(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/pipe-user-pages-soft")
	must(t, err)
	pages, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	needRoot(t, "to become another user")
	if pages == 0 || pages > 16_384 {
		t.Skipf("this kernel has another quota than the usual one: %d pages", pages)
	}
	dir := directory(t)
	must(t, unix.Chmod(dir, 0o777))
	cmd := exec.Command("/proc/self/exe", dir) //nolint:gosec // it is this test
	cmd.Env = append(os.Environ(), roleVariable+"=quota")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 64_123, Gid: 64_123}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	var shrunk int
	must(t, json.Unmarshal(out, &shrunk))
	if shrunk == 0 || shrunk > 40 {
		t.Errorf("%d of 80 pipes were smaller than wanted", shrunk)
	}
}

// playQuota holds 80 streams open at once and prints how many got less than
// 1 MiB.
func playQuota(dir string) error {
	const n = 80
	registry := prometheus.NewRegistry()
	s := fifo.NewSource(fifo.Config{Directory: dir}, nil, fifo.NewMetrics(registry))
	p := plan(dir, n)
	ctx := context.Background()
	if err := s.Prepare(ctx, p); err != nil {
		return err
	}
	var writers []*os.File
	for volume := range n {
		w, err := os.OpenFile(finalPath(p, volume), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := w.WriteString("head "); err != nil {
			return err
		}
		if _, err := s.Open(ctx, stream(volume)); err != nil { // the pipe has grown
			return err
		}
		writers = append(writers, w)
	}
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		if family.GetName() == "pipestreamer_fifo_shrunk_pipes_total" {
			if _, err := fmt.Fprintln(os.Stdout, family.GetMetric()[0].GetCounter().GetValue()); err != nil {
				return err
			}
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	for _, w := range writers {
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}
