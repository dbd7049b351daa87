//go:build apiserver

package access_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
)

var (
	etcdProgram   = flag.String("etcd", "etcd", "program of etcd")
	serverProgram = flag.String("kube-apiserver", "../../bin/kube-apiserver", "program of the API server")
)

// apiServer is a real one.
type apiServer struct{ *accesstest.APIServer }

// call sends a request as an administrator.
func (s apiServer) call(t *testing.T, method, path string, body any) (status int, answer []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + s.AdminToken}, "Content-Type": {"application/json"}}
	response, err := s.Client.Do(request)
	if err != nil {
		t.Fatal(err)
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
func (s apiServer) create(t *testing.T, path string, o object) []byte {
	t.Helper()
	status, answer := s.call(t, http.MethodPost, path, o)
	if status != http.StatusCreated {
		t.Fatalf("POST %s: %d %s", path, status, answer)
	}
	return answer
}

// token asks for a token of a service account (TokenRequest).
func (s apiServer) token(t *testing.T, namespace, name string, audiences ...string) string {
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
	s := apiServer{accesstest.StartAPIServer(t, *etcdProgram, *serverProgram)}
	for _, account := range []string{"sap/hana", "backup/nightly", "backup/gone"} {
		namespace, name, _ := strings.Cut(account, "/")
		s.call(t, http.MethodPost, "/api/v1/namespaces", object{"metadata": object{"name": namespace}})
		s.create(t, "/api/v1/namespaces/"+namespace+"/serviceaccounts", object{"metadata": object{"name": name}})
	}
	own := s.token(t, "sap", "hana", "https://kubernetes.default.svc")
	// One for each look, because answers are remembered.
	newReviewer := func() *access.Reviewer {
		v, err := access.NewReviewer(access.ReviewConfig{URL: s.URL, CAFile: s.CAFile, Audience: audience, Token: fixed(own)}, zap.NewNop())
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
