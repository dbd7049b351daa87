//go:build apiserver

package manifests

import (
	"context"
	"flag"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
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

// startCluster starts an API server, until the test ends.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	server := accesstest.StartAPIServer(t, *etcdProgram, *serverProgram)
	config := &rest.Config{
		Host: server.URL, BearerToken: server.AdminToken, QPS: 1000, Burst: 1000, TLSClientConfig: rest.TLSClientConfig{CAFile: server.CAFile},
	}
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
