package uploader

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

// TestConformGCS needs fake-gcs-server (github.com/fsouza/fake-gcs-server) in
// the path, or its place in PIPESTREAMER_TEST_FAKE_GCS.
func TestConformGCS(t *testing.T) {
	program := os.Getenv("PIPESTREAMER_TEST_FAKE_GCS")
	if program == "" {
		program = "fake-gcs-server"
	}
	program, err := exec.LookPath(program)
	if err != nil {
		t.Skip("fake-gcs-server is not installed:", err)
	}
	// The server has to be told its own address: a port that was free.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-scheme", "http", "-host", "127.0.0.1", "-port", port,
		"-backend", "memory", "-public-host", address, "-external-url", "http://"+address, "-log-level", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	awaitHealth(t, "http://"+address+"/_internal/healthcheck")
	conform(t, Config{Type: "googlecloudstorage", Root: "bucket", Options: map[string]string{
		"anonymous": "true", "project_number": "1", "endpoint": "http://" + address + "/storage/v1/",
		"no_check_bucket": "false",
	}}, 1<<20)
}
