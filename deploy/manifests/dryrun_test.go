//go:build apiserver

package manifests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// operatorVersion is that of the Prometheus operator whose kinds are checked.
const operatorVersion = "v0.85.0"

// TestAPIServer shows the manifests to an API server: every object of every
// overlay, and every pod that controllers would make of them.
func TestAPIServer(t *testing.T) {
	c := startCluster(t)
	files := secretFiles(t)
	for namespace, level := range map[string]string{"hana": "baseline", "restricted": "restricted"} {
		c.install(t, namespaceOf(namespace, level))
	}
	for _, directory := range append(overlays(t), "restore", withTokenReview) {
		t.Run(directory, func(t *testing.T) {
			objects := untyped(t, build(t, directory, withReview(t, files, "hana")))
			for _, o := range objects {
				if err := c.apply(t.Context(), o, true); err != nil {
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
			t.Logf("%d objects: %s", len(objects), kinds(objects))
		})
	}
	t.Run("pods", func(t *testing.T) { c.checkPods(t, system(t, "overlays/hana-express", files)) })
	t.Run("refused", func(t *testing.T) { c.checkRefusals(t, files) })
	t.Run("token review", func(t *testing.T) {
		c.checkTokenReview(t, untyped(t, build(t, withTokenReview, withReview(t, files, "hana"))))
	})
	t.Run("monitoring", func(t *testing.T) { c.checkMonitoring(t) })
	t.Run("existing HANA", func(t *testing.T) { c.checkExistingHANA(t, files) })
}

// checkExistingHANA shows that a StatefulSet which is there takes the sidecar. kubectl
// applies one object after the other: a refusal would leave half of them behind.
func (c *cluster) checkExistingHANA(t *testing.T, files map[string][]byte) {
	t.Helper()
	hana := untyped(t, files[ownHANAManifest])[0]
	hana.SetNamespace("hana")
	c.install(t, hana)
	for _, o := range untyped(t, build(t, ownHANA, files)) {
		if o.GetKind() != "StatefulSet" {
			continue
		}
		if err := c.merge(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
}

// checkPods makes the pods of the controllers: those of jobs and the sidecar where
// "restricted" is enforced, the one of HANA where "baseline" is, as in its namespace.
func (c *cluster) checkPods(t *testing.T, s *System) {
	t.Helper()
	pod := func(name string, template *corev1.PodTemplateSpec) *corev1.Pod {
		return &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: template.Labels}, Spec: template.Spec,
		}
	}
	whole := pod("hana-0", s.StatefulSet.Spec.Template.DeepCopy())
	for i := range s.StatefulSet.Spec.VolumeClaimTemplates {
		claim := &s.StatefulSet.Spec.VolumeClaimTemplates[i]
		whole.Spec.Volumes = append(whole.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-hana-0"},
		}})
	}
	if err := c.create(t.Context(), whole, "hana"); err != nil {
		t.Errorf("the pod of HANA in a namespace that enforces baseline: %v", err)
	}
	err := c.create(t.Context(), whole, "restricted")
	if err == nil {
		t.Error("the pod of HANA passes restricted; say so in the README")
	}
	t.Logf("the pod of HANA in a namespace that enforces restricted: %v", err)
	ours := whole.DeepCopy()
	ours.Spec.Containers = []corev1.Container{{
		Name: hanaName, Image: "example", SecurityContext: container(whole.Spec.InitContainers, sidecarName).SecurityContext,
	}}
	ours.Spec.InitContainers = []corev1.Container{*container(whole.Spec.InitContainers, sidecarName)}
	pods := []*corev1.Pod{ours, pod("restore", &s.Jobs[0].Spec.Template)}
	for _, cronJob := range s.CronJobs {
		pods = append(pods, pod(cronJob.Name, &cronJob.Spec.JobTemplate.Spec.Template))
	}
	for _, p := range pods {
		if err := c.create(t.Context(), p, "restricted"); err != nil {
			t.Errorf("pod %s in a namespace that enforces restricted: %v", p.Name, err)
		}
	}
	t.Logf("%d pods of ours pass restricted", len(pods))
}

// checkRefusals shows that this server refuses what is wrong.
func (c *cluster) checkRefusals(t *testing.T, files map[string][]byte) {
	t.Helper()
	text := build(t, "overlays/hana-express", files)
	for name, fault := range map[string]struct{ old, text, want string }{
		"unknown field":      {"timeZone:", "timezone:", ".spec.timezone: field not declared in schema"},
		"schedule":           {"schedule: 0 1 * * *", "schedule: 0 25 * * *", "spec.schedule"},
		"time zone":          {"timeZone: Etc/UTC", "timeZone: Mars/Olympus", "unknown time zone"},
		"name of a port":     {"name: sql-systemdb", "name: sql-of-the-systemdb", "must be no more than 15"},
		"probe on a sidecar": {"restartPolicy: Always\n", "\n", "startupProbe"},
		"quantity":           {"memory: 1536Mi", "memory: 1536MiB", "quantities must match"},
	} {
		t.Run(name, func(t *testing.T) {
			var refused error
			for _, o := range untyped(t, bytes.Replace(text, []byte(fault.old), []byte(fault.text), 1)) {
				refused = errors.Join(refused, c.apply(t.Context(), o, true))
			}
			if refused == nil || !strings.Contains(refused.Error(), fault.want) {
				t.Errorf("got %v, expected %q", refused, fault.want)
			}
		})
	}
	t.Run("capabilities", func(t *testing.T) {
		s := system(t, "overlays/hana-express", files)
		template := &s.CronJobs[0].Spec.JobTemplate.Spec.Template
		template.Spec.Containers[0].SecurityContext.Capabilities = nil
		pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: template.Spec}
		if err := c.create(t.Context(), pod, "restricted"); err == nil || !strings.Contains(err.Error(), "unrestricted capabilities") {
			t.Errorf("got %v", err)
		}
	})
}

// checkTokenReview shows that the role of components/token-review is enough for the
// daemon to ask about tokens, and that without it nothing is told.
func (c *cluster) checkTokenReview(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == "ServiceAccount" {
			c.install(t, o)
		}
	}
	daemon := rest.CopyConfig(c.config)
	daemon.BearerToken = c.token(t, "hana", "https://kubernetes.default.svc")
	ask := &cluster{config: daemon, client: must(dynamic.NewForConfig(daemon))(t), mapper: c.mapper}
	right, wrong := c.token(t, "pipestreamer-trigger", "pipestreamer"), c.token(t, "pipestreamer-trigger", "another")
	if _, err := ask.review(t, right); !apierrors.IsForbidden(err) {
		t.Errorf("without the role: got %v, expected Forbidden", err)
	}
	for _, o := range objects {
		if strings.HasPrefix(o.GetKind(), "ClusterRole") {
			c.install(t, o)
		}
	}
	user, err := ask.review(t, right)
	for deadline := time.Now().Add(20 * time.Second); apierrors.IsForbidden(err) && time.Now().Before(deadline); { // the authorizer watches
		time.Sleep(50 * time.Millisecond)
		user, err = ask.review(t, right)
	}
	if err != nil || user != "system:serviceaccount:hana:pipestreamer-trigger" {
		t.Errorf("right audience: %q, %v", user, err)
	}
	if user, err := ask.review(t, wrong); err != nil || user != "" {
		t.Errorf("wrong audience: %q, %v", user, err)
	}
}

// token asks for a token of a service account of namespace hana.
func (c *cluster) token(t *testing.T, account, audience string) string {
	t.Helper()
	request := unstructuredKind("authentication.k8s.io/v1", "TokenRequest")
	request.SetName(account)
	request.Object["spec"] = map[string]any{"audiences": []any{audience}}
	accounts := c.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}).Namespace("hana")
	answer := must(accounts.Create(t.Context(), request, metav1.CreateOptions{}, "token"))(t)
	token, _, err := unstructured.NestedString(answer.Object, "status", "token")
	return must(token, err)(t)
}

// review asks whose token it is, for audience pipestreamer; nobody's is empty.
func (c *cluster) review(t *testing.T, token string) (string, error) {
	t.Helper()
	review := unstructuredKind("authentication.k8s.io/v1", "TokenReview")
	review.Object["spec"] = map[string]any{"token": token, "audiences": []any{"pipestreamer"}}
	where, err := c.resource(review, "")
	if err != nil {
		return "", err
	}
	answer, err := where.Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	user, _, err := unstructured.NestedString(answer.Object, "status", "user", "username")
	return user, err
}

// checkMonitoring shows deploy/monitoring to the server, which gets the kinds of the
// Prometheus operator for it.
func (c *cluster) checkMonitoring(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob("../monitoring/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("deploy/monitoring: %v, %v", names, err)
	}
	crds := filepath.Join(module(t, "github.com/prometheus-operator/prometheus-operator", operatorVersion), "example", "prometheus-operator-crd")
	for kind, file := range map[string]string{"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"} {
		text, err := os.ReadFile(filepath.Join(crds, "monitoring.coreos.com_"+file+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		c.install(t, untyped(t, text)[0])
		c.awaitKind(t, kind)
	}
	n := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range untyped(t, text) {
			if o.GetAPIVersion() == "" {
				continue // of Prometheus itself
			}
			o.SetNamespace("hana")
			n++
			if err := c.apply(t.Context(), o, true); err != nil {
				t.Errorf("%s: %s %s: %v", name, o.GetKind(), o.GetName(), err)
			}
		}
	}
	t.Logf("%d objects of %s", n, strings.Join(names, ", "))
}

// awaitKind waits until the server serves a kind that it has just learnt.
func (c *cluster) awaitKind(t *testing.T, kind string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		c.discover(t)
		_, err := c.mapper.RESTMapping(unstructuredKind("monitoring.coreos.com/v1", kind).GroupVersionKind().GroupKind())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func unstructuredKind(version, kind string) *unstructured.Unstructured {
	o := new(unstructured.Unstructured)
	o.SetAPIVersion(version)
	o.SetKind(kind)
	return o
}

// module is the directory of a module of others.
func module(t *testing.T, path, version string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", path+"@"+version)
	text, err := command.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", path, err, text)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Dir
}

// install makes an object for real.
func (c *cluster) install(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	if err := c.apply(t.Context(), o, false); err != nil {
		t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

func namespaceOf(name, level string) *unstructured.Unstructured {
	o := unstructuredKind("v1", "Namespace")
	o.SetName(name)
	o.SetLabels(map[string]string{"pod-security.kubernetes.io/enforce": level})
	return o
}

// untyped reads documents as they stand.
func untyped(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var objects []*unstructured.Unstructured
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		o := new(unstructured.Unstructured)
		if err := errors.Join(err, yaml.Unmarshal(document, &o.Object)); err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// kinds counts objects by kind.
func kinds(objects []*unstructured.Unstructured) string {
	counts := map[string]int{}
	for _, o := range objects {
		counts[o.GetKind()]++
	}
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(words, ", ")
}
