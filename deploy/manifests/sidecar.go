package manifests

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// beside is what the documentation of memoryBudget asks for beside it.
	beside = 256 << 20
	// hanaStop is how long HANA may take to stop.
	hanaStop = 5 * time.Minute
	// cleanSteps is how many steps of cleaning up, each of which timeouts.clean bounds,
	// a job that was cancelled is given: its uploads and HANA, and its record.
	cleanSteps = 2
	// lastSteps are what the daemon may take after its jobs, one after the other: the
	// interface 5 s, the store 10 s, notifications 5 s, traces 5 s (cmd/pipestreamer,
	// internal/httpapi, internal/notify).
	lastSteps = 25 * time.Second
)

// checkSidecar judges how the sidecar lives beside HANA.
func (f *Findings) checkSidecar(pod *corev1.PodSpec, c *corev1.Container, set *settings) {
	f.expect(c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways, "sidecar: restartPolicy: expected Always, which makes it a native sidecar")
	f.expect(c.LivenessProbe == nil, "sidecar: livenessProbe: expected none, it would end a stream")
	f.expect(c.ReadinessProbe == nil, "sidecar: readinessProbe: expected none, it would take HANA out of its Service")
	f.checkStartup(c)
	f.checkResources(c, set)
	f.checkGrace(pod, c, set)
	f.expect(pod.SecurityContext != nil && pod.SecurityContext.FSGroup != nil && *pod.SecurityContext.FSGroup == 79, "pod: fsGroup: expected 79, HANA's group")
	f.expect(pod.AutomountServiceAccountToken != nil && !*pod.AutomountServiceAccountToken, "pod: automountServiceAccountToken: expected false, HANA needs no token")
	f.expect(pod.EnableServiceLinks != nil && !*pod.EnableServiceLinks, "pod: enableServiceLinks: expected false")
}

func (f *Findings) checkStartup(c *corev1.Container) {
	p := c.StartupProbe
	if p == nil || p.HTTPGet == nil {
		f.add("sidecar: startupProbe: expected httpGet /startupz, HANA would start too early")
		return
	}
	f.expect(p.HTTPGet.Path == "/startupz" && p.HTTPGet.Port.StrVal == "metrics", "sidecar: startupProbe: expected /startupz of port metrics, got %s of %s", p.HTTPGet.Path, p.HTTPGet.Port.String())
}

func (f *Findings) checkResources(c *corev1.Container, set *settings) {
	limits := c.Resources.Limits
	f.expect(limits.Cpu().IsZero(), "sidecar: limits.cpu: expected none, it would slow HANA down")
	memory, need := limits.Memory().Value(), int64(set.MemoryBudget)+beside
	f.expect(memory >= need, "sidecar: limits.memory: expected at least %d bytes, memoryBudget and 256 MiB, got %d", need, memory)
	f.expect(c.Resources.Requests.Memory().Value() >= need, "sidecar: requests.memory: expected at least %d bytes, memoryBudget and 256 MiB", need)
	for _, variable := range c.Env {
		if variable.Name != "GOMEMLIMIT" {
			continue
		}
		heap, err := resource.ParseQuantity(strings.TrimSuffix(variable.Value, "B"))
		f.expect(err == nil && heap.Value() <= memory-int64(set.MemoryBudget),
			"sidecar: GOMEMLIMIT: expected at most what memoryBudget leaves, because part buffers are not in Go's heap, got %s", variable.Value)
	}
}

// checkGrace adds up what ends after one another. The preStop of a sidecar runs
// while the other containers get their SIGTERM; its own comes after they have ended.
func (f *Findings) checkGrace(pod *corev1.PodSpec, c *corev1.Container, set *settings) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Exec == nil {
		f.add("sidecar: preStop: expected exec %s drain", program)
		return
	}
	command := c.Lifecycle.PreStop.Exec.Command
	f.expect(len(command) > 1 && command[0] == program && command[1] == "drain", "sidecar: preStop: expected exec %s drain, got %s", program, strings.Join(command, " "))
	drain := time.Duration(0)
	for _, argument := range command {
		if text, is := strings.CutPrefix(argument, "--timeout="); is {
			drain, _ = time.ParseDuration(text) // the command line of the binary is tried elsewhere
		}
	}
	f.expect(drain > 0, "sidecar: preStop: expected --timeout, without one the grace period cannot be worked out")
	need := drain + hanaStop + set.ShutdownGrace + cleanSteps*set.Timeouts.Clean + lastSteps
	grace := time.Duration(0)
	if pod.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	}
	f.expect(grace >= need, "pod: terminationGracePeriodSeconds: expected at least %s (drain, HANA, shutdownGrace, %d times timeouts.clean, %s to close), got %s", need, cleanSteps, lastSteps, grace)
}

// checkVolumes judges what HANA and the sidecar share, and what they must not.
func (f *Findings) checkVolumes(pod *corev1.PodSpec, c, hana *corev1.Container, set *settings) {
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		f.expect(v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil, "volume %s: sizeLimit: expected none, what HANA writes past a pipe would evict the pod", v.Name)
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			f.expect(containers[i].Resources.Limits.StorageEphemeral().IsZero(), "container %s: limits.ephemeral-storage: expected none, what HANA writes past a pipe would evict the pod", containers[i].Name)
		}
	}
	f.checkMounts(pod, c)
	f.shared("backupDirectory", set.BackupDirectory, c, hana)
	f.shared("logs.directory", set.Logs.Directory, c, hana)
	if m := mount(c, set.Logs.Directory); m != nil {
		v := volume(pod, m.Name)
		f.expect(v == nil || v.EmptyDir == nil, "logs.directory: %s: expected a volume that outlives the pod", set.Logs.Directory)
	}
	state := mount(c, set.StateDirectory)
	f.expect(state != nil, "stateDirectory: %s: expected a volume of the sidecar there", set.StateDirectory)
	f.expect(state == nil || !slices.ContainsFunc(hana.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == state.Name }),
		"stateDirectory: HANA's container mounts it")
}

// checkClaims finds the claim of each volume that has one: without it the pod waits.
func (f *Findings) checkClaims(s *System, pod *corev1.PodSpec) {
	for i := range pod.Volumes {
		claim := pod.Volumes[i].PersistentVolumeClaim
		f.expect(claim == nil || s.Claims[claim.ClaimName] != nil, "volume %s: expected a PersistentVolumeClaim of the name that it has", pod.Volumes[i].Name)
	}
}

// checkMounts judges whether volumes stay apart from those of anybody's HANA, and
// whether rotated secrets arrive, and cannot be changed.
func (f *Findings) checkMounts(pod *corev1.PodSpec, c *corev1.Container) {
	for _, m := range c.VolumeMounts {
		f.expect(strings.HasPrefix(m.Name, sidecarName+"-"), "sidecar: %s: volume %s: expected %s-…, HANA's manifest may have one of that name", m.MountPath, m.Name, sidecarName)
		f.expect(m.SubPath == "" && m.SubPathExpr == "", "sidecar: %s: subPath: expected none, a rotated secret would not arrive", m.MountPath)
		v := volume(pod, m.Name)
		f.expect(v == nil || v.Secret == nil && v.Projected == nil || m.ReadOnly, "sidecar: %s: expected readOnly", m.MountPath)
	}
}

// shared expects one volume at the same path in both containers.
func (f *Findings) shared(key, directory string, c, hana *corev1.Container) {
	if directory == "" {
		return
	}
	ours, theirs := mount(c, directory), mount(hana, directory)
	f.expect(ours != nil && theirs != nil && ours.Name == theirs.Name && ours.SubPath == theirs.SubPath && !ours.ReadOnly && !theirs.ReadOnly,
		"%s: expected one volume at %s in both containers, writable", key, directory)
}
