package uploader

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// s3Server is versitygw, pinned in e2e/s3server, behind a proxy that can be told
// to fail. It checks signatures, MD5 and part sizes, and hides an object until
// its upload is complete.
type s3Server struct {
	*httptest.Server
	faults faults
	proxy  http.Handler
	// completed is set once a multipart upload was completed.
	completed atomic.Bool
}

// pass hands a request on to the server.
func (s *s3Server) pass(w http.ResponseWriter, r *http.Request) {
	s.proxy.ServeHTTP(w, r)
	if isComplete(r) {
		s.completed.Store(true)
	}
}

// forward hands a request on and loses the answer.
func (s *s3Server) forward(t *testing.T, r *http.Request) {
	t.Helper()
	recorder := httptest.NewRecorder()
	s.pass(recorder, r)
	t.Logf("lost answer: %d", recorder.Code)
}

// The server knows a second user beside "access".
const secondKey, secondSecret = "second-user", "canary-second"

// startS3 starts a server with one bucket, "bucket", that ends with t.
func startS3(tb testing.TB) *s3Server {
	tb.Helper()
	binary := testServer(tb, "bin/versitygw")
	dir := tb.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bucket"), 0o750); err != nil {
		tb.Fatal(err)
	}
	run := tb.TempDir()
	users := `{"accessAccounts": {"` + secondKey + `": {"access": "` + secondKey + `", "secret": "` + secondSecret + `", "role": "admin"}}}`
	if err := os.WriteFile(filepath.Join(run, "users.json"), []byte(users), 0o600); err != nil {
		tb.Fatal(err)
	}
	socket := filepath.Join(run, "s")
	log, err := os.Create(filepath.Join(run, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(binary, "--access", "access", "--secret", "secret", "--port", socket,
		"--quiet", "--keep-alive", "--health", "/health", "--iam-dir", run, "posix", dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = run, log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if tb.Failed() {
			text, _ := os.ReadFile(log.Name())
			tb.Logf("versitygw: %s", text)
		}
		_ = log.Close()
	})
	server := &s3Server{}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "versitygw"})
	proxy.Transport = transport
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		if !errors.Is(err, context.Canceled) {
			tb.Logf("proxy: %s %s: %v", r.Method, r.URL, err)
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	server.proxy = proxy
	server.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !server.faults.apply(w, r) {
			server.pass(w, r)
		}
	}))
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	awaitHealth(tb, server.URL+"/health")
	return server
}

func awaitHealth(tb testing.TB, address string) {
	tb.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(address)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
	}
	tb.Fatalf("no answer from %s", address)
}

func (s *s3Server) config() Config { return s.configAt(s.URL) }

func (*s3Server) configAt(address string) Config {
	return Config{
		Type: "s3", Root: "bucket",
		Options: map[string]string{
			"provider": "Other", "endpoint": address, "region": "us-east-1",
			"access_key_id": "access", "secret_access_key": "secret", "force_path_style": "true",
		},
	}
}

func TestConformS3(t *testing.T) {
	conform(t, startS3(t).config(), smallestPart)
}

func TestConformCryptOverS3(t *testing.T) {
	cfg := startS3(t).config()
	cfg.Crypt = map[string]string{"password": "one", "password2": "two"}
	conform(t, cfg, smallestPart)
}
