package manifests

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// HANA's preStop waits as long as a job runs, and not when there is none or no
// daemon. The script is the one of the manifest, with another port and less patience.
func TestHANAWaitsForJobs(t *testing.T) {
	t.Parallel()
	s := system(t, "overlays/hana-express", secretFiles(t))
	command := container(s.StatefulSet.Spec.Template.Spec.Containers, hanaName).Lifecycle.PreStop.Exec.Command
	for name, c := range map[string]struct {
		// looks is how often the daemon says that a job runs.
		looks int32
		gone  bool
		want  int32
	}{
		"a job that ends": {looks: 3, want: 4},
		"no job":          {looks: 0, want: 1},
		"no daemon":       {gone: true, want: 0},
		"a job for ever":  {looks: 1000, want: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			port := metricsPort(t, &asked, c.looks, c.gone)
			script := strings.NewReplacer("/9095", "/"+port, "sleep 2", "sleep 0.05", "i < 300", "i < 5").Replace(command[2])
			if script == command[2] || strings.Contains(script, "9095") {
				t.Fatalf("another script than expected:\n%s", script)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if text, err := exec.CommandContext(ctx, command[0], command[1], script).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, text)
			}
			if asked.Load() != c.want {
				t.Errorf("asked %d times, expected %d", asked.Load(), c.want)
			}
		})
	}
}

// metricsPort serves metrics in which a backup runs for so many looks.
func metricsPort(t *testing.T, asked *atomic.Int32, looks int32, gone bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		running := 0
		if asked.Add(1) <= looks {
			running = 1
		}
		_, _ = fmt.Fprintf(w, "# TYPE pipestreamer_job_running gauge\npipestreamer_job_running{action=\"backup\"} %d\npipestreamer_job_running{action=\"restore\"} 0\n", running)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	if gone {
		_ = server.Close()
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
