package uploader

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rclone/rclone/fs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const (
	childServer = "PIPESTREAMER_TEST_CHILD_SERVER"
	childLoud   = "PIPESTREAMER_TEST_CHILD_LOUD"
)

// runChild is the process of TestSignalAfterUpload: a daemon that takes SIGTERM
// as a request to end in order. It returns its exit status.
func runChild() int {
	if os.Getenv(childLoud) == "" {
		Quiet(zap.NewNop())
	}
	if err := uploadAndTerminate(); err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	if _, err := os.Stdout.WriteString("ended in order"); err != nil {
		return 1
	}
	return 0
}

func uploadAndTerminate() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := (&s3Server{}).configAt(os.Getenv(childServer))
	// Below crypt rclone's own multipart upload is used, which registers the
	// handler.
	cfg.Crypt = map[string]string{"password": "one"}
	store, err := New(ctx, cfg, zap.NewNop(), nil)
	if err != nil {
		return err
	}
	if err := store.Check(ctx); err != nil {
		return err
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		return err
	}
	<-ctx.Done()
	// Time for the handler to exit the process, if there is one.
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if err := store.Check(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// rclone's signal handler would exit the process in the middle of ending.
func TestSignalAfterUpload(t *testing.T) {
	server := startS3(t)
	for _, test := range []struct {
		name, loud string
		survives   bool
	}{
		{"quiet", "", true},
		{"as rclone does it", "1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childServer+"="+server.URL, childLoud+"="+test.loud)
			out, err := cmd.CombinedOutput()
			if survived := err == nil && strings.Contains(string(out), "ended in order"); survived != test.survives {
				t.Fatalf("survived SIGTERM: %v, want %v: %v\n%s", survived, test.survives, err, out)
			}
		})
	}
}

func TestQuietTakesTheLog(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	Quiet(zap.New(core).Named("uploader"))
	defer Quiet(zap.NewNop())
	fs.Logf(nil, "a notice")
	fs.Errorf("x", "an error")
	var got []string
	for _, entry := range logs.All() {
		got = append(got, entry.Level.String()+" "+entry.LoggerName+" "+entry.Message)
	}
	want := []string{"info uploader.rclone a notice", "warn uploader.rclone an error"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got %q, want %q", got, want)
	}
}
