package manifests

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestOverlays(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	for _, overlay := range append(overlays(t), withTokenReview) {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			s := system(t, overlay, withReview(t, files, "hana"))
			if found := Judge(s, t.TempDir()); len(found) > 0 {
				t.Errorf("%d findings:\n%s", len(found), strings.Join(found, "\n"))
			}
		})
	}
}

// The flags of every command line in the manifests are those of the binary.
func TestInvocations(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "pipestreamer")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-o", binary, "./cmd/pipestreamer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	files := secretFiles(t)
	for _, overlay := range overlays(t) {
		lines := Invocations(system(t, overlay, files))
		if len(lines) < 5 {
			t.Errorf("%s: %d command lines, expected those of the sidecar, its preStop, two CronJobs and the restore", overlay, len(lines))
		}
		for who, line := range lines {
			if text, err := try(t.Context(), binary, line); err != nil {
				t.Errorf("%s: %s: %v: %v\n%s", overlay, who, line, err, text)
			}
		}
	}
	for _, wrong := range [][]string{{"serve", "--no-such-flag"}, {"no-such-verb"}, {"backup", "--detach=perhaps"}} {
		if text, err := try(t.Context(), binary, wrong); err == nil {
			t.Errorf("%v: expected to be refused, got\n%s", wrong, text)
		}
	}
}

// try lets the binary parse a command line without running it.
func try(ctx context.Context, binary string, line []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := exec.CommandContext(ctx, binary, append(append([]string{}, line...), "--help")...).CombinedOutput()
	return string(text), err
}

// Files are checked before kustomize has merged them, too: it drops what stands twice.
func TestSourcesAreStrict(t *testing.T) {
	t.Parallel()
	kind := regexp.MustCompile(`(?m)^kind: `)
	ours := regexp.MustCompile(`(?m)^apiVersion: (kustomize\.config\.k8s\.io)/`)
	n := 0
	err := fs.WalkDir(os.DirFS("../k8s"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(filepath.Join("..", "k8s", name))
		if err != nil || !kind.Match(text) || ours.Match(text) {
			return err
		}
		n++
		if _, err := Decode(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil || n < 10 {
		t.Errorf("%d files, %v", n, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":   {"apiVersion: v1\nkind: Service\nspec: {port: 1}\n", `unknown field "spec.port"`},
		"field twice":     {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nmetadata: {name: b}\n", `"metadata" already set`},
		"type":            {"apiVersion: v1\nkind: Service\nspec: {ports: [{port: http}]}\n", "cannot unmarshal string"},
		"quantity":        {"apiVersion: v1\nkind: Pod\nspec: {containers: [{resources: {limits: {memory: 1Gb}}}]}\n", "quantities must match"},
		"version":         {"apiVersion: apps/v1beta9\nkind: StatefulSet\n", "no kind"},
		"second document": {"apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Servise\n", "document 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
		})
	}
}

// Without the files of an operator nothing is built, and the file is named.
func TestMissingSecretsAreRefused(t *testing.T) {
	t.Parallel()
	all := secretFiles(t)
	for name := range all {
		overlay := "overlays/hana-express"
		if strings.HasPrefix(name, "overlays/") {
			overlay = filepath.Dir(name)
		}
		files := map[string][]byte{}
		for other, text := range all {
			if other != name {
				files[other] = text
			}
		}
		if _, err := Build(os.DirFS("../k8s"), overlay, files); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}

// A rotated secret or a changed setting must not change the pod of HANA.
func TestSecretsDoNotChangeTheTemplate(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	before := system(t, "overlays/hana-express", files).StatefulSet
	files["components/secrets/files/hana-password"] = []byte("Another-4-Tests")
	after := system(t, "overlays/hana-express", files).StatefulSet
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

// ownHANA is the overlay for a HANA that runs already, and the manifest of that.
const (
	ownHANA         = "overlays/own-hana"
	ownHANAManifest = ownHANA + "/hana.yaml"
)

// A StatefulSet that is there takes the sidecar: nothing is changed that Kubernetes
// forbids to change, and its pod runs on until somebody deletes it.
func TestOwnHANAIsChangedInPlace(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	before, after := decoded(t, files[ownHANAManifest]).StatefulSet, system(t, ownHANA, files).StatefulSet
	if strategy := after.Spec.UpdateStrategy.Type; strategy != appsv1.OnDeleteStatefulSetStrategyType {
		t.Errorf("updateStrategy %s: applying it restarts HANA", strategy)
	}
	if !strings.Contains(string(build(t, ownHANA, files)), "\n    rollingUpdate: null\n") {
		t.Error("updateStrategy: the rollingUpdate that Kubernetes has filled in stays, and is refused beside OnDelete")
	}
	fixed := after.Spec.DeepCopy()
	fixed.Template, fixed.UpdateStrategy = before.Spec.Template, before.Spec.UpdateStrategy
	if diff := cmp.Diff(before.Spec, *fixed); diff != "" {
		t.Errorf("fields that cannot be changed, or need not be:\n%s", diff)
	}
	selector, err := metav1.LabelSelectorAsSelector(after.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(after.Spec.Template.Labels)) {
		t.Errorf("selector %v, labels %v: %v", selector, after.Spec.Template.Labels, err)
	}
}

// Of its pod nothing is gone, and nobody is cut off from it, nor it from others.
func TestOwnHANAKeepsItsPod(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	before, s := decoded(t, files[ownHANAManifest]).StatefulSet, system(t, ownHANA, files)
	was, is := before.Spec.Template.Spec, s.StatefulSet.Spec.Template.Spec
	if is.ServiceAccountName != was.ServiceAccountName {
		t.Errorf("serviceAccountName: got %q, expected %q, whose pull secrets the image of HANA may need", is.ServiceAccountName, was.ServiceAccountName)
	}
	for name, value := range before.Spec.Template.Labels {
		if s.StatefulSet.Spec.Template.Labels[name] != value {
			t.Errorf("label %s: got %q, expected %q", name, s.StatefulSet.Spec.Template.Labels[name], value)
		}
	}
	hana := *container(is.Containers, hanaName).DeepCopy()
	hana.VolumeMounts = slices.DeleteFunc(hana.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.MountPath, "/backup/") })
	if diff := cmp.Diff(was.Containers, []corev1.Container{hana}); diff != "" {
		t.Errorf("container of HANA, without the mounts for backups:\n%s", diff)
	}
	if diff := cmp.Diff(was.InitContainers, slices.DeleteFunc(slices.Clone(is.InitContainers), func(c corev1.Container) bool { return c.Name == sidecarName })); diff != "" {
		t.Errorf("init containers:\n%s", diff)
	}
	mounts := container(is.InitContainers, sidecarName).VolumeMounts
	ours := func(name string) bool {
		return slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return m.Name == name })
	}
	if diff := cmp.Diff(was.Volumes, slices.DeleteFunc(slices.Clone(is.Volumes), func(v corev1.Volume) bool { return ours(v.Name) })); diff != "" {
		t.Errorf("volumes, without those of the sidecar:\n%s", diff)
	}
	for i := range s.StatefulSet.Spec.VolumeClaimTemplates {
		if name := s.StatefulSet.Spec.VolumeClaimTemplates[i].Name; ours(name) {
			t.Errorf("volume %s of the sidecar: Kubernetes puts HANA's claim of that name in its place", name)
		}
	}
	for _, policy := range s.Policies {
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil || selector.Matches(labels.Set(s.StatefulSet.Spec.Template.Labels)) {
			t.Errorf("NetworkPolicy %s selects the pod of HANA and closes what it does not name: %v", policy.Name, err)
		}
	}
}

// Whoever has another name changes it where the README says, and nowhere else, with
// whatever it offers beside the overlay.
func TestOwnHANAOfAnotherName(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	rename := strings.NewReplacer("metadata: {name: hana}", "metadata: {name: hdb}", "metadata:\n  name: hana\n", "metadata:\n  name: hdb\n",
		"kind: StatefulSet, name: hana", "kind: StatefulSet, name: hdb")
	files[ownHANAManifest] = []byte(rename.Replace(string(files[ownHANAManifest])))
	_, names, found := strings.Cut(readSource(t, "README.md"), "**Another name**")
	if !found {
		t.Fatal("the README does not say where another name is changed")
	}
	names, _, _ = strings.Cut(names, "\n\n")
	for _, file := range regexp.MustCompile("`([a-z0-9/-]+\\.yaml)`").FindAllStringSubmatch(names, -1) {
		files[file[1]] = []byte(rename.Replace(readSource(t, file[1])))
	}
	for _, identity := range []string{"", "overlays/aws/identity.yaml", "overlays/azure/identity.yaml"} {
		directory, files := ownHANA, files
		if identity != "" {
			directory, files = ownHANAWithMore, withMore(t, files, identity, "overlays/s3-on-premises/authority.yaml")
		}
		s := system(t, directory, files)
		if found := Judge(s, t.TempDir()); len(found) > 0 {
			t.Errorf("%s: %d findings:\n%s", identity, len(found), strings.Join(found, "\n"))
		}
		if strategy := s.StatefulSet.Spec.UpdateStrategy.Type; s.StatefulSet.Name != "hdb" || strategy != appsv1.OnDeleteStatefulSetStrategyType {
			t.Errorf("%s: StatefulSet %s: updateStrategy %q: applying it restarts HANA", identity, s.StatefulSet.Name, strategy)
		}
	}
}

// ownHANAWithMore is own-hana with patches of other overlays and the component
// token-review on top.
const ownHANAWithMore = "overlays/own-hana-with-more"

// withMore adds that overlay.
func withMore(t *testing.T, files map[string][]byte, patches ...string) map[string][]byte {
	t.Helper()
	all := maps.Clone(files)
	all[ownHANA+"/pipestreamer.yaml"] = []byte(reviewed(readSource(t, ownHANA+"/pipestreamer.yaml"), "hana"))
	all[ownHANAWithMore+"/ca.crt"] = files["overlays/s3-on-premises/ca.crt"]
	var names []string
	for _, patch := range patches {
		name := filepath.Base(patch)
		if all[ownHANAWithMore+"/"+name] = files[patch]; files[patch] == nil {
			all[ownHANAWithMore+"/"+name] = []byte(readSource(t, patch))
		}
		names = append(names, "{path: "+name+"}")
	}
	text := "namespace: hana\nresources: [../own-hana]\ncomponents: [../../components/token-review]\n" +
		"configMapGenerator: [{name: pipestreamer-store-ca, files: [ca.crt]}]\ngeneratorOptions: {disableNameSuffixHash: true}\n" +
		"patches: [" + strings.Join(names, ", ") + "]\n"
	all[ownHANAWithMore+"/kustomization.yaml"] = []byte(text)
	return all
}

// What is shipped with HANA closes what nobody named, in both directions.
func TestOverlaysIsolateHANA(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	for _, overlay := range overlays(t) {
		s := system(t, overlay, files)
		for _, way := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
			if open := allows(s.Policies, s.StatefulSet.Spec.Template.Labels, 1, way); open != (overlay == ownHANA) {
				t.Errorf("%s: %s of a port that nobody named: open %t", overlay, way, open)
			}
		}
	}
}

// withTokenReview is the overlay that an operator makes of hana-express and the
// component token-review.
const withTokenReview = "overlays/token-review"

// withReview adds that overlay, and hana-express with its settings below it, in a
// namespace.
func withReview(t *testing.T, files map[string][]byte, namespace string) map[string][]byte {
	t.Helper()
	all := maps.Clone(files)
	below := strings.Replace(readSource(t, "overlays/hana-express/kustomization.yaml"), "namespace: hana\n", "namespace: "+namespace+"\n", 1)
	all["overlays/below/kustomization.yaml"] = []byte(below)
	all["overlays/below/pipestreamer.yaml"] = []byte(reviewed(readSource(t, "overlays/hana-express/pipestreamer.yaml"), namespace))
	all[withTokenReview+"/kustomization.yaml"] = []byte("resources: [../below]\ncomponents: [../../components/token-review]\n")
	return all
}

// reviewed are settings for token-review.
func reviewed(settings, namespace string) string {
	return strings.NewReplacer("    trigger: /run/secrets/pipestreamer/trigger-token\n", "",
		"  triggers: ['token:trigger']", "  tokenReview: {audience: pipestreamer}\n  triggers: ['serviceaccount:"+namespace+"/pipestreamer-trigger']").Replace(settings)
}

// Systems of several namespaces do not share a binding: the one that is applied
// last would take the right to ask about tokens away from the others.
func TestTokenReviewOfNamespaces(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	names := map[string]string{}
	for _, namespace := range []string{"one", "two"} {
		s := system(t, withTokenReview, withReview(t, files, namespace))
		if found := Judge(s, t.TempDir()); len(found) > 0 {
			t.Errorf("%s: %d findings:\n%s", namespace, len(found), strings.Join(found, "\n"))
		}
		var roles []string
		var binding *rbacv1.ClusterRoleBinding
		for _, object := range s.Others {
			switch o := object.(type) {
			case *rbacv1.ClusterRole:
				roles = append(roles, o.Name)
			case *rbacv1.ClusterRoleBinding:
				binding = o
			}
		}
		if binding == nil || !slices.Equal(roles, []string{binding.RoleRef.Name}) {
			t.Fatalf("%s: roles %v, binding %+v", namespace, roles, binding)
		}
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: s.StatefulSet.Spec.Template.Spec.ServiceAccountName, Namespace: namespace}}
		if diff := cmp.Diff(want, binding.Subjects); diff != "" {
			t.Errorf("%s: subjects of the binding:\n%s", namespace, diff)
		}
		for kind, name := range map[string]string{"binding": binding.Name, "role": roles[0]} {
			if other, taken := names[kind+" "+name]; taken {
				t.Errorf("%s %s is that of namespaces %s and %s", kind, name, other, namespace)
			}
			names[kind+" "+name] = namespace
		}
	}
}

// A component that does not know the namespace yet is refused, rather than bound to
// the service account of another one.
func TestTokenReviewBesideNamespace(t *testing.T) {
	t.Parallel()
	files := withReview(t, secretFiles(t), "one")
	text := strings.Replace(string(files["overlays/below/kustomization.yaml"]), "  - ../../components/image\n", "  - ../../components/token-review\n  - ../../components/image\n", 1)
	files["overlays/below/kustomization.yaml"] = []byte(text)
	if _, err := Build(os.DirFS("../k8s"), "overlays/below", files); err == nil || !strings.Contains(err.Error(), "token-review") {
		t.Errorf("got %v", err)
	}
}

// Without the name of the service account nothing is built, rather than the right
// given to nobody.
func TestTokenReviewNeedsTheAccount(t *testing.T) {
	t.Parallel()
	files := withMore(t, secretFiles(t))
	files[ownHANAManifest] = []byte(strings.Replace(existingHANA, "      serviceAccountName: hana-with-pull-secret\n", "", 1))
	if _, err := Build(os.DirFS("../k8s"), ownHANAWithMore, files); err == nil || !strings.Contains(err.Error(), "serviceAccountName") {
		t.Errorf("got %v", err)
	}
	files[ownHANAManifest] = []byte(strings.Replace(existingHANA, "hana-with-pull-secret", "default", 1))
	if found := Judge(system(t, ownHANAWithMore, files), t.TempDir()); len(found) > 0 {
		t.Errorf("%d findings:\n%s", len(found), strings.Join(found, "\n"))
	}
}
