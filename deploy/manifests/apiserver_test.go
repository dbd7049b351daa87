//go:build apiserver

package manifests

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

var (
	etcdProgram   = flag.String("etcd", "etcd", "program of etcd")
	serverProgram = flag.String("kube-apiserver", "../../bin/kube-apiserver", "program of the API server")
)

// cluster is an API server without nodes and controllers.
type cluster struct {
	config *rest.Config
	client dynamic.Interface
	mapper meta.RESTMapper
}

const adminToken = "admin-of-the-checks"

// startCluster starts etcd and an API server on loopback, until the test ends.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	directory := t.TempDir()
	tokens := filepath.Join(directory, "tokens")
	if err := os.WriteFile(tokens, []byte(adminToken+`,admin,1,"system:masters"`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clients, peers, port := freePort(t), freePort(t), freePort(t)
	etcd := fmt.Sprintf("http://127.0.0.1:%d", clients)
	background(t, directory, *etcdProgram, "--data-dir="+filepath.Join(directory, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peers))
	ended := background(t, directory, *serverProgram, "--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir="+filepath.Join(directory, "certificates"), "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+serviceAccountKey(t, directory),
		"--service-account-signing-key-file="+filepath.Join(directory, "sa.key"), "--service-cluster-ip-range=10.0.0.0/24",
		// Nobody makes the service accounts and endpoints that these would wait for.
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
	config := &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", port), BearerToken: adminToken, QPS: 1000, Burst: 1000,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(directory, "certificates", "apiserver.crt")},
	}
	awaitReady(t, config, ended)
	c := &cluster{config: config, client: must(dynamic.NewForConfig(config))(t)}
	c.discover(t)
	return c
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// serviceAccountKey writes the key that signs tokens of service accounts.
func serviceAccountKey(t *testing.T, directory string) string {
	t.Helper()
	_, key := selfSigned(t)
	name := filepath.Join(directory, "sa.key")
	if err := os.WriteFile(name, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// background runs a program until the test ends; what it said is shown when the
// test has failed. The channel is closed when it ends.
func background(t *testing.T, directory, program string, args ...string) <-chan struct{} {
	t.Helper()
	output := new(bytes.Buffer)
	command := exec.Command(program, args...)
	command.Dir, command.Stdout, command.Stderr = directory, output, output
	if absolute, err := filepath.Abs(program); err == nil && strings.Contains(program, "/") {
		command.Path = absolute
	}
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
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

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// awaitReady waits until the API server has made its certificate and says that it is ready.
func awaitReady(t *testing.T, config *rest.Config, ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx, config)
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

func ready(ctx context.Context, config *rest.Config) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

// discover asks which kinds there are.
func (c *cluster) discover(t *testing.T) {
	t.Helper()
	client := must(discovery.NewDiscoveryClientForConfig(c.config))(t)
	c.mapper = restmapper.NewDiscoveryRESTMapper(must(restmapper.GetAPIGroupResources(client))(t))
}

// resource is where objects of the kind of o live.
func (c *cluster) resource(o *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.client.Resource(mapping.Resource), nil
	}
	return c.client.Resource(mapping.Resource).Namespace(namespace), nil
}

// apply is "kubectl apply --server-side --validate=strict", as a dry run or not.
func (c *cluster) apply(ctx context.Context, o *unstructured.Unstructured, dry bool) error {
	where, err := c.resource(o, o.GetNamespace())
	if err != nil {
		return err
	}
	options := metav1.PatchOptions{FieldManager: "k8s-check", FieldValidation: metav1.FieldValidationStrict}
	if dry {
		options.DryRun = []string{metav1.DryRunAll}
	}
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = where.Patch(ctx, o.GetName(), "application/apply-patch+yaml", text, options)
	return err
}

// merge changes an object that is there, as a dry run, as "kubectl apply" without
// --server-side does when nothing of the last one is gone: what is null is removed.
func (c *cluster) merge(ctx context.Context, o *unstructured.Unstructured) error {
	where, err := c.resource(o, o.GetNamespace())
	if err != nil {
		return err
	}
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = where.Patch(ctx, o.GetName(), types.MergePatchType, text, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

// create makes o in a namespace as a dry run, with what admission has to say.
func (c *cluster) create(ctx context.Context, o runtime.Object, namespace string) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: content}
	where, err := c.resource(object, namespace)
	if err != nil {
		return err
	}
	object.SetNamespace(namespace)
	_, err = where.Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}
