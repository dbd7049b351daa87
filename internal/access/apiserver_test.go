//go:build apiserver

package access_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
)

var (
	etcdProgram   = flag.String("etcd", "etcd", "program of etcd")
	serverProgram = flag.String("kube-apiserver", "../../bin/kube-apiserver", "program of the API server")
)

const adminToken = "admin-of-this-test"

// apiServer is a kube-apiserver on loopback, without nodes and controllers.
type apiServer struct {
	url, caFile string
	client      *http.Client
}

// startAPIServer starts etcd and an API server until the test ends.
func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"tokens": []byte(adminToken + `,admin,1,"system:masters"` + "\n"),
		"sa.key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	etcd, peers, port := freePort(t), freePort(t), freePort(t)
	background(t, dir, *etcdProgram, "--data-dir="+dir+"/etcd", "--unsafe-no-fsync", fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", etcd),
		fmt.Sprintf("--advertise-client-urls=http://127.0.0.1:%d", etcd), fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peers))
	background(t, dir, *serverProgram, fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcd), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir="+dir+"/certificates", "--token-auth-file="+dir+"/tokens", "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+dir+"/sa.key", "--service-account-signing-key-file="+dir+"/sa.key", "--service-cluster-ip-range=10.0.0.0/24",
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
	s := &apiServer{url: fmt.Sprintf("https://127.0.0.1:%d", port), caFile: dir + "/certificates/apiserver.crt"}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if err := s.connect(); err == nil {
			if status, _ := s.call(t, http.MethodGet, "/readyz", nil); status == http.StatusOK {
				return s
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the API server does not get ready")
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // only its number was wanted
	return listener.Addr().(*net.TCPAddr).Port
}

func background(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	program, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	if program, err = filepath.Abs(program); err != nil {
		t.Fatal(err)
	}
	output := new(bytes.Buffer)
	command := exec.Command(program, args...)
	command.Dir, command.Stdout, command.Stderr = dir, output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
		if text := output.String(); t.Failed() {
			t.Logf("%s:\n%s", program, text[max(0, len(text)-4000):])
		}
	})
}

// connect makes a client once the server has made its certificate.
func (s *apiServer) connect() error {
	text, err := os.ReadFile(s.caFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, DisableKeepAlives: true}}
	return nil
}

// call sends a request as an administrator.
func (s *apiServer) call(t *testing.T, method, path string, body any) (status int, answer []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + adminToken}, "Content-Type": {"application/json"}}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil
	}
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return response.StatusCode, answer
}

type object = map[string]any

// create makes an object.
func (s *apiServer) create(t *testing.T, path string, o object) []byte {
	t.Helper()
	status, answer := s.call(t, http.MethodPost, path, o)
	if status != http.StatusCreated {
		t.Fatalf("POST %s: %d %s", path, status, answer)
	}
	return answer
}

// token asks for a token of a service account (TokenRequest).
func (s *apiServer) token(t *testing.T, namespace, name string, audiences ...string) string {
	t.Helper()
	answer := s.create(t, "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+name+"/token",
		object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": object{"audiences": audiences, "expirationSeconds": 600}})
	var issued struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
	}
	if err := json.Unmarshal(answer, &issued); err != nil {
		t.Fatal(err)
	}
	return issued.Status.Token
}

// TestAPIServer asks a real kube-apiserver.
func TestAPIServer(t *testing.T) {
	s := startAPIServer(t)
	for _, account := range []string{"sap/hana", "backup/nightly", "backup/gone"} {
		namespace, name, _ := strings.Cut(account, "/")
		s.call(t, http.MethodPost, "/api/v1/namespaces", object{"metadata": object{"name": namespace}})
		s.create(t, "/api/v1/namespaces/"+namespace+"/serviceaccounts", object{"metadata": object{"name": name}})
	}
	own := s.token(t, "sap", "hana", "https://kubernetes.default.svc")
	// One for each look, because answers are remembered.
	newReviewer := func() *access.Reviewer {
		v, err := access.NewReviewer(access.ReviewConfig{URL: s.url, CAFile: s.caFile, Audience: audience, Token: fixed(own)}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	right, gone := s.token(t, "backup", "nightly", audience), s.token(t, "backup", "gone", audience)
	if _, err := newReviewer().Identify(t.Context(), right); reasonOf(err) != access.ReviewUnavailable || !strings.Contains(err.Error(), "system:auth-delegator") {
		t.Errorf("while the daemon may not ask: %v", err)
	}
	s.create(t, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", object{
		"metadata": object{"name": "pipestreamer-token-review"}, "roleRef": object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
		"subjects": []object{{"kind": "ServiceAccount", "namespace": "sap", "name": "hana"}},
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the authorizer watches
		got, err := newReviewer().Identify(t.Context(), right)
		if err == nil && got == "serviceaccount:backup/nightly" {
			break
		}
		if reasonOf(err) != access.ReviewUnavailable || time.Now().After(deadline) {
			t.Fatalf("the right token: %q, %v", got, err)
		}
	}
	if status, answer := s.call(t, http.MethodDelete, "/api/v1/namespaces/backup/serviceaccounts/gone", nil); status != http.StatusOK {
		t.Fatalf("delete the account: %d %s", status, answer)
	}
	parts := strings.Split(right, ".")
	for name, test := range map[string]struct{ token, want, cause string }{
		"two audiences":       {token: s.token(t, "backup", "nightly", "vault", audience), want: "serviceaccount:backup/nightly"},
		"another audience":    {token: s.token(t, "backup", "nightly", "vault"), cause: "audience"},
		"the server itself":   {token: s.token(t, "backup", "nightly"), cause: "audience"},
		"the daemon's own":    {token: own, cause: "audience"},
		"another signature":   {token: parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), cause: "invalid bearer token"},
		"no signature":        {token: "eyJhbGciOiJub25lIn0." + parts[1] + ".x", cause: "invalid bearer token"},
		"a deleted account":   {token: gone, cause: "not confirmed by Kubernetes"},
		"shape without sense": {token: "a.b.c", cause: "not confirmed by Kubernetes"},
	} {
		got, err := newReviewer().Identify(t.Context(), test.token)
		if got != test.want || (test.want == "") != (reasonOf(err) == access.WrongCredentials) || err != nil && !strings.Contains(err.Error(), test.cause) {
			t.Errorf("%s: %q, %v; expected %q, or wrong credentials with %q", name, got, err, test.want, test.cause)
		}
	}
}
