package uploader

import (
	"net"
	"os/exec"
	"testing"
)

// TestConformGCS runs against fake-gcs-server, pinned in e2e/gcsserver.
func TestConformGCS(t *testing.T) {
	program := testServer(t, "bin/fake-gcs-server")
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
