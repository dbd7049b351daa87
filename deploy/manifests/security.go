package manifests

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// checkRestricted evaluates a pod as the admission of Kubernetes does in a
// namespace with pod-security.kubernetes.io/enforce: restricted.
func (f *Findings) checkRestricted(name string, meta *metav1.ObjectMeta, pod *corev1.PodSpec) {
	f.checkLevel(name, api.LevelRestricted, meta, pod)
}

func (f *Findings) checkLevel(name string, level api.Level, meta *metav1.ObjectMeta, pod *corev1.PodSpec) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		f.add("%s: %v", name, err)
		return
	}
	for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, meta, pod) {
		f.expect(result.Allowed, "%s: pod security %s: %s (%s)", name, level, result.ForbiddenReason, result.ForbiddenDetail)
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			context := containers[i].SecurityContext
			f.expect(level != api.LevelRestricted || context != nil && context.ReadOnlyRootFilesystem != nil && *context.ReadOnlyRootFilesystem,
				"%s: container %s: readOnlyRootFilesystem: expected true", name, containers[i].Name)
		}
	}
}

// checkSecurity holds what is ours to "restricted", and the pod as a whole, with
// HANA in it, to "baseline".
func (f *Findings) checkSecurity(s *System, c *corev1.Container) {
	template := &s.StatefulSet.Spec.Template
	f.checkLevel("pod of HANA", api.LevelBaseline, &template.ObjectMeta, &template.Spec)
	ours := template.Spec.DeepCopy()
	ours.InitContainers, ours.Containers = nil, []corev1.Container{*c}
	f.checkRestricted("sidecar", &template.ObjectMeta, ours)
}
