package manifests

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// broken is a manifest with one fault, and what is said of it.
type broken struct {
	name  string
	spoil func(*parts)
	want  string
}

// parts are what faults are made in.
type parts struct {
	*System
	pod           *corev1.PodSpec
	sidecar, hana *corev1.Container
	cron          *batchv1.CronJob
	// trigger is the pod of cron.
	trigger *corev1.PodSpec
	restore *batchv1.Job
}

func (p *parts) setting(old, text string) {
	data := p.ConfigMaps["pipestreamer"].Data
	data["pipestreamer.yaml"] = strings.Replace(data["pipestreamer.yaml"], old, text, 1)
}

func (p *parts) mountOf(c *corev1.Container, path string) *corev1.VolumeMount { return mount(c, path) }

// arg replaces the value of a flag of the trigger.
func (p *parts) arg(name, value string) {
	c := &p.trigger.Containers[0]
	for i, argument := range c.Args {
		if strings.HasPrefix(argument, "--"+name+"=") {
			c.Args[i] = "--" + name + "=" + value
		}
	}
}

// TestBroken shows that each check can fail: it names the fault, and nothing else.
func TestBroken(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	for _, table := range [][]broken{brokenSidecars(), brokenVolumes(), brokenNetworks(), brokenClients()} {
		for _, b := range table {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				p := partsOf(system(t, "overlays/hana-express", files))
				b.spoil(p)
				found := Judge(p.System, t.TempDir())
				if len(found) != 1 || !strings.Contains(found[0], b.want) {
					t.Errorf("got %d findings:\n%s\nexpected one: %s", len(found), strings.Join(found, "\n"), b.want)
				}
			})
		}
	}
}

func partsOf(s *System) *parts {
	p := &parts{System: s, pod: &s.StatefulSet.Spec.Template.Spec, cron: s.CronJobs[0], restore: s.Jobs[0]}
	p.sidecar, p.hana = container(p.pod.InitContainers, sidecarName), container(p.pod.Containers, hanaName)
	p.trigger = &p.cron.Spec.JobTemplate.Spec.Template.Spec
	return p
}

func brokenSidecars() []broken {
	never, seconds, other := corev1.ContainerRestartPolicy("OnFailure"), int64(990), int64(80)
	yes, root := true, int64(0)
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("metrics")}}}
	return []broken{
		{"no StatefulSet", func(p *parts) { p.StatefulSet = nil }, "StatefulSet: expected one"},
		{"no sidecar", func(p *parts) { p.pod.InitContainers = p.pod.InitContainers[:0] }, "expected an init container pipestreamer"},
		{"not a sidecar", func(p *parts) { p.sidecar.RestartPolicy = &never }, "restartPolicy: expected Always"},
		{"liveness probe", func(p *parts) { p.sidecar.LivenessProbe = probe }, "livenessProbe: expected none"},
		{"readiness probe", func(p *parts) { p.sidecar.ReadinessProbe = probe }, "readinessProbe: expected none"},
		{"no startup probe", func(p *parts) { p.sidecar.StartupProbe = nil }, "HANA would start too early"},
		{"other startup probe", func(p *parts) { p.sidecar.StartupProbe = probe }, "expected /startupz of port metrics"},
		{"CPU limit", func(p *parts) { p.sidecar.Resources.Limits["cpu"] = resource.MustParse("2") }, "limits.cpu: expected none"},
		{"memory limit", func(p *parts) { p.sidecar.Resources.Limits["memory"] = resource.MustParse("1279Mi") }, "limits.memory: expected at least 1342177280 bytes"},
		{"memory request", func(p *parts) { p.sidecar.Resources.Requests["memory"] = resource.MustParse("1Gi") }, "requests.memory: expected at least 1342177280 bytes"},
		{"GOMEMLIMIT", func(p *parts) {
			p.sidecar.Env = append(p.sidecar.Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: "1GiB"})
		}, "GOMEMLIMIT: expected at most what memoryBudget leaves"},
		{"no preStop", func(p *parts) { p.sidecar.Lifecycle = nil }, "preStop: expected exec /bin/pipestreamer drain"},
		{"preStop through a shell", func(p *parts) {
			p.sidecar.Lifecycle.PreStop.Exec.Command = []string{"/bin/sh", "-c", "pipestreamer drain", "--timeout=1m"}
		}, "preStop: expected exec /bin/pipestreamer drain"},
		{"drain without end", func(p *parts) { p.sidecar.Lifecycle.PreStop.Exec.Command = []string{program, "drain"} }, "preStop: expected --timeout"},
		{"grace period", func(p *parts) { p.pod.TerminationGracePeriodSeconds = &seconds }, "terminationGracePeriodSeconds: expected at least 17m45s"},
		{"shutdownGrace", func(p *parts) { p.setting("memoryBudget:", "shutdownGrace: 5m\nmemoryBudget:") }, "terminationGracePeriodSeconds: expected at least 22m25s"},
		{"group", func(p *parts) { p.pod.SecurityContext.FSGroup = &other }, "fsGroup: expected 79"},
		{"token for HANA", func(p *parts) { p.pod.AutomountServiceAccountToken = &yes }, "pod: automountServiceAccountToken"},
		{"service links", func(p *parts) { p.pod.EnableServiceLinks = nil }, "enableServiceLinks: expected false"},
		{"writable root", func(p *parts) { p.sidecar.SecurityContext.ReadOnlyRootFilesystem = nil }, "readOnlyRootFilesystem: expected true"},
		{"capabilities", func(p *parts) { p.sidecar.SecurityContext.Capabilities = nil }, "pod security restricted: unrestricted capabilities"},
		{"root", func(p *parts) { p.sidecar.SecurityContext.RunAsUser = &root }, "pod security restricted: runAsUser=0"},
		{"no seccomp profile", func(p *parts) { p.sidecar.SecurityContext.SeccompProfile = nil }, "pod security restricted: seccompProfile"},
		{"privileged HANA", func(p *parts) { p.hana.SecurityContext.Privileged = &yes }, "pod of HANA: pod security baseline: privileged"},
		{"image without a tag", func(p *parts) {
			p.sidecar.Image = "pipestreamer"
			p.CronJobs, p.Jobs = p.CronJobs[:1], nil
			p.trigger.Containers[0].Image = "pipestreamer"
		}, "image: expected a tag or digest"},
		{"unknown setting", func(p *parts) { p.setting("memoryBudget", "memoryBugdet") }, "memoryBugdet"},
		{"variable of a setting", func(p *parts) {
			p.sidecar.Env = append(p.sidecar.Env, corev1.EnvVar{Name: "PIPESTREAMER_NO_SUCH", Value: "1"})
		}, "PIPESTREAMER_NO_SUCH"},
		{"settings elsewhere", func(p *parts) { p.sidecar.Args[1] = "--config=/etc/other.yaml" }, "--config=/etc/other.yaml is in no volume"},
	}
}

func brokenVolumes() []broken {
	size := resource.MustParse("1Gi")
	return []broken{
		{"size limit", func(p *parts) { volume(p.pod, "pipestreamer-backup").EmptyDir.SizeLimit = &size }, "volume pipestreamer-backup: sizeLimit: expected none"},
		{"limit of ephemeral storage", func(p *parts) { p.hana.Resources.Limits["ephemeral-storage"] = size }, "limits.ephemeral-storage: expected none"},
		{"name that HANA's volume may have", func(p *parts) {
			volume(p.pod, "pipestreamer-config").Name = "config"
			p.mountOf(p.sidecar, "/etc/pipestreamer").Name = "config"
		}, "sidecar: /etc/pipestreamer: volume config: expected pipestreamer-…"},
		{"subPath", func(p *parts) { p.mountOf(p.sidecar, "/etc/pipestreamer").SubPath = "x" }, "subPath: expected none"},
		{"writable secrets", func(p *parts) { p.mountOf(p.sidecar, "/run/secrets/store").ReadOnly = false }, "/run/secrets/store: expected readOnly"},
		{"backup directory elsewhere in HANA", func(p *parts) { p.mountOf(p.hana, "/backup/data").MountPath = "/backup/dta" }, "backupDirectory: expected one volume at /backup/data in both"},
		{"other volume in HANA", func(p *parts) { p.mountOf(p.hana, "/backup/log").Name = "pipestreamer-backup" }, "logs.directory: expected one volume at /backup/log in both"},
		{"logs that end with the pod", func(p *parts) {
			volume(p.pod, "pipestreamer-log-backup").VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}, "expected a volume that outlives the pod"},
		{"no such claim", func(p *parts) { delete(p.Claims, "pipestreamer-state") }, "volume pipestreamer-state: expected a PersistentVolumeClaim"},
		{"HANA may write the journal", func(p *parts) {
			p.hana.VolumeMounts = append(p.hana.VolumeMounts, corev1.VolumeMount{Name: "pipestreamer-state", MountPath: "/state"})
		}, "stateDirectory: HANA's container mounts it"},
		{"no volume for the journal", func(p *parts) { p.mountOf(p.sidecar, "/var/lib/pipestreamer").MountPath = "/var/lib/other" }, "stateDirectory: /var/lib/pipestreamer: expected a volume"},
		{"no such key", func(p *parts) { delete(p.Secrets["pipestreamer-tls"].Data, "tls.key") }, "Secret pipestreamer-tls has no key tls.key"},
		{"no such secret", func(p *parts) { delete(p.Secrets, "hana-master-password") }, "container hana: /hana/hxeconfig/?: Secret hana-master-password has no key"},
		{"setting names a file that is nowhere", func(p *parts) { p.setting("/store/secret-access-key", "/store/other") }, "store.secrets.secret_access_key: /run/secrets/store/other is in no volume"},
		{"backup directory without a volume", func(p *parts) { p.setting("/backup/data", "/backup/dta") }, "backupDirectory: /backup/dta is in no volume"},
	}
}

func brokenNetworks() []broken {
	policy := func(p *parts, name string) *networkingv1.NetworkPolicy {
		for _, policy := range p.Policies {
			if policy.Name == name {
				return policy
			}
		}
		return nil
	}
	return []broken{
		{"listens on loopback", func(p *parts) { p.setting("':9095'", "'127.0.0.1:9095'") }, "metrics.listen: \"127.0.0.1:9095\": expected all addresses"},
		{"port of the container", func(p *parts) { p.sidecar.Ports[1].ContainerPort = 9096 }, "sidecar: port metrics: expected 9095"},
		{"port of the service", func(p *parts) { p.Services["hana"].Spec.Ports[0].TargetPort = intstr.FromString("sqll") }, "no container has a port sqll"},
		{"selector of the service", func(p *parts) { p.Services["pipestreamer"].Spec.Selector = map[string]string{"app": "x"} }, "its selector does not match"},
		{"no service", func(p *parts) { delete(p.Services, "pipestreamer") }, "Service pipestreamer: expected one"},
		{"no way in for metrics", func(p *parts) { policy(p, "pipestreamer").Spec.Ingress[1].Ports[0].Port.IntVal = 9096 }, "nobody reaches port 9095"},
		{"no way in for SQL", func(p *parts) {
			policy(p, "hana-sql").Spec.Ingress[0].Ports = policy(p, "hana-sql").Spec.Ingress[0].Ports[1:]
		}, "nobody reaches port 39013"},
		{"no way out for traces", func(p *parts) {
			p.setting("memoryBudget:", "tracing: {endpoint: 'http://collector:4318'}\nmemoryBudget:")
		}, "the pod of HANA does not reach port 4318 (tracing.endpoint)"},
		{"no way out for traces without a port", func(p *parts) { p.setting("memoryBudget:", "tracing: {endpoint: 'http://collector'}\nmemoryBudget:") }, "does not reach port 80 (tracing.endpoint)"},
		{"no way to HANA for jobs", func(p *parts) {
			policy(p, "pipestreamer-client").Spec.Egress[1].To[0].PodSelector.MatchLabels = map[string]string{"app": "x"}
		}, "NetworkPolicy pipestreamer-client: egress: its selector does not match the pod of HANA"},
		{"no way out for jobs", func(p *parts) {
			policy(p, "pipestreamer-client").Spec.Egress[1].Ports[0].Port.IntVal = 1
			p.CronJobs, p.Jobs = p.CronJobs[:1], nil
		}, "its pod does not reach port 8443"},
	}
}

func brokenClients() []broken {
	zone, one, short := "Mars/Olympus", int32(1), int64(30)
	no := false
	return []broken{
		{"no CronJob", func(p *parts) { p.CronJobs = nil }, "CronJob: expected at least one"},
		{"schedule", func(p *parts) { p.cron.Spec.Schedule = "0 25 * * *" }, "schedule: end of range (25) above maximum"},
		{"no time zone", func(p *parts) { p.cron.Spec.TimeZone = nil }, "timeZone: expected one"},
		{"time zone", func(p *parts) { p.cron.Spec.TimeZone = &zone }, "timeZone: unknown time zone"},
		{"concurrency", func(p *parts) { p.cron.Spec.ConcurrencyPolicy = batchv1.ReplaceConcurrent }, "concurrencyPolicy: expected Forbid"},
		{"no starting deadline", func(p *parts) { p.cron.Spec.StartingDeadlineSeconds = nil }, "startingDeadlineSeconds: expected one"},
		{"no deadline", func(p *parts) { p.cron.Spec.JobTemplate.Spec.ActiveDeadlineSeconds = nil }, "activeDeadlineSeconds: expected one"},
		{"eviction is a failure", func(p *parts) { p.cron.Spec.JobTemplate.Spec.PodFailurePolicy = nil }, "podFailurePolicy: expected to ignore DisruptionTarget"},
		{"eviction cancels", func(p *parts) {
			c := &p.trigger.Containers[0]
			c.Args = slices.DeleteFunc(c.Args, func(argument string) bool { return argument == "--keep-running" })
		}, "args: expected --keep-running"},
		{"tries again", func(p *parts) { p.cron.Spec.JobTemplate.Spec.BackoffLimit = &one }, "backoffLimit: expected 0"},
		{"restarts", func(p *parts) { p.trigger.RestartPolicy = corev1.RestartPolicyOnFailure }, "restartPolicy: expected Never"},
		{"no time to cancel", func(p *parts) { p.restore.Spec.Template.Spec.TerminationGracePeriodSeconds = &short }, "terminationGracePeriodSeconds: expected at least 135"},
		{"key that is always the same", func(p *parts) { p.arg("idempotency-key", "nightly") }, "expected the uid of the Job"},
		{"key from the pod", func(p *parts) { p.trigger.Containers[0].Env[0].ValueFrom.FieldRef.FieldPath = "metadata.uid" }, "expected the uid of the Job"},
		{"plain HTTP", func(p *parts) { p.arg("url", "http://pipestreamer:8443") }, "expected https://pipestreamer:<port>"},
		{"port", func(p *parts) { p.arg("url", "https://pipestreamer:443") }, "Service pipestreamer has port 8443"},
		{"no authority", func(p *parts) { p.arg("ca-file", "/etc/ca.crt") }, "--ca-file: \"/etc/ca.crt\" is in no volume"},
		{"no token", func(p *parts) { p.arg("token-file", "/etc/token") }, "--token-file: \"/etc/token\" is in no volume"},
		{"token of a trigger restores", func(p *parts) {
			p.restore.Spec.Template.Spec.Volumes[0].Projected.Sources[0].Secret.Name = "pipestreamer-trigger"
		}, "which may not restore"},
		{"token that nobody knows", func(p *parts) {
			p.setting("triggers: ['token:trigger']", "readers: ['token:trigger']")
			p.CronJobs = p.CronJobs[:1]
		}, "its token is of identity \"token:trigger\", which may not backup"},
		{"root", func(p *parts) { p.trigger.SecurityContext.RunAsNonRoot = &no }, "pod security restricted: runAsNonRoot"},
		{"other image", func(p *parts) { p.trigger.Containers[0].Image = "pipestreamer:other" }, "image: expected that of the sidecar"},
		{"restore that starts", func(p *parts) { p.restore.Spec.Suspend = &no }, "suspend: expected true"},
	}
}
