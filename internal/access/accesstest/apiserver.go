package accesstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// APIServer is a real kube-apiserver on loopback, without nodes and controllers.
type APIServer struct {
	// URL is where it listens, with TLS; CAFile has the authority of its certificate.
	URL, CAFile string
	// AdminToken is that of an administrator.
	AdminToken string
	// Client trusts its certificate.
	Client *http.Client
}

// StartAPIServer starts etcd and an API server, programs that were built before, and
// waits until it is ready. They end with the test; what they said is shown when that
// has failed.
func StartAPIServer(t *testing.T, etcd, server string) *APIServer {
	t.Helper()
	directory := t.TempDir()
	s := &APIServer{AdminToken: "admin-of-this-test", CAFile: filepath.Join(directory, "certificates", "apiserver.crt")}
	tokens, key := filepath.Join(directory, "tokens"), filepath.Join(directory, "sa.key")
	if err := os.WriteFile(tokens, []byte(s.AdminToken+`,admin,1,"system:masters"`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, &pem.Block{Type: "EC PRIVATE KEY", Bytes: private}) // it takes no PKCS #8 as a public key
	storage, peers, address := "http://"+freeAddress(t), "http://"+freeAddress(t), freeAddress(t)
	s.URL = "https://" + address
	_, port, _ := net.SplitHostPort(address)
	background(t, directory, etcd, "--data-dir="+filepath.Join(directory, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+storage, "--advertise-client-urls="+storage, "--listen-peer-urls="+peers)
	ended := background(t, directory, server, "--etcd-servers="+storage, "--bind-address=127.0.0.1", "--secure-port="+port,
		"--cert-dir="+filepath.Dir(s.CAFile), "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--service-cluster-ip-range=10.0.0.0/24",
		// Nobody makes the service accounts and endpoints that these would wait for.
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
	s.awaitReady(t, ended)
	return s
}

// awaitReady waits until the server has made its certificate and says that it is ready.
func (s *APIServer) awaitReady(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.connect(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the API server does not get ready: %v", err)
		case <-ended:
			t.Fatalf("the API server has ended: %v", err)
		case <-tick.C:
		}
	}
}

func (s *APIServer) connect(ctx context.Context) error {
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return errors.New(s.CAFile + " has no certificate yet")
	}
	s.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	response, err := s.Client.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("/readyz: %s", response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

// background runs a program until the test ends. The channel is closed when it ends.
func background(t *testing.T, directory, program string, args ...string) <-chan struct{} {
	t.Helper()
	program, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	if program, err = filepath.Abs(program); err != nil { // it runs elsewhere
		t.Fatal(err)
	}
	output := new(bytes.Buffer)
	command := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...) // Cleanup ends it
	command.Dir, command.Stdout, command.Stderr = directory, output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait() // how it ends says nothing: it is killed
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it has ended before, or ends now
		<-ended
		if t.Failed() {
			text := output.String()
			t.Logf("%s:\n%s", program, text[max(0, len(text)-4000):])
		}
	})
	return ended
}

// freeAddress is one of loopback on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }() // only its address was wanted
	return listener.Addr().String()
}
