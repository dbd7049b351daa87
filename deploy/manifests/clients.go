package manifests

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// uidLabel is the label of a pod that has the uid of its Job.
const uidLabel = "batch.kubernetes.io/controller-uid"

func (f *Findings) checkCronJob(c *batchv1.CronJob) {
	name := "CronJob " + c.Name
	_, err := cron.ParseStandard(c.Spec.Schedule)
	f.expect(err == nil, "%s: schedule: %v", name, err)
	f.expect(c.Spec.TimeZone != nil, "%s: timeZone: expected one, without it the time is that of the control plane", name)
	if c.Spec.TimeZone != nil {
		_, err := time.LoadLocation(*c.Spec.TimeZone)
		f.expect(err == nil, "%s: timeZone: %v", name, err)
	}
	f.expect(c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent, "%s: concurrencyPolicy: expected Forbid", name)
	f.expect(c.Spec.StartingDeadlineSeconds != nil, "%s: startingDeadlineSeconds: expected one, after 100 missed times the controller gives up", name)
	f.expect(c.Spec.JobTemplate.Spec.ActiveDeadlineSeconds != nil, "%s: activeDeadlineSeconds: expected one", name)
	policy := c.Spec.JobTemplate.Spec.PodFailurePolicy
	f.expect(policy != nil && len(policy.Rules) == 1 && policy.Rules[0].Action == batchv1.PodFailurePolicyActionIgnore && len(policy.Rules[0].OnPodConditions) == 1,
		"%s: podFailurePolicy: expected to ignore DisruptionTarget, an eviction is no failed backup", name)
	for i := range c.Spec.JobTemplate.Spec.Template.Spec.Containers {
		args := c.Spec.JobTemplate.Spec.Template.Spec.Containers[i].Args
		f.expect(slices.Contains(args, "--keep-running"), "%s: args: expected --keep-running, without it an eviction cancels the backup that the next pod has to follow", name)
	}
}

// checkClient judges a Job that calls the daemon.
func (f *Findings) checkClient(s *System, name string, job *batchv1.JobSpec, set *settings) {
	f.expect(job.BackoffLimit != nil && *job.BackoffLimit == 0, "%s: backoffLimit: expected 0", name)
	pod := &job.Template.Spec
	f.expect(pod.RestartPolicy == corev1.RestartPolicyNever, "%s: restartPolicy: expected Never", name)
	f.expect(pod.AutomountServiceAccountToken != nil && !*pod.AutomountServiceAccountToken, "%s: automountServiceAccountToken: expected false", name)
	f.expect(len(pod.Containers) == 1, "%s: expected one container", name)
	f.checkRestricted(name, &job.Template.ObjectMeta, pod)
	c := &pod.Containers[0]
	files, missing := s.layout(pod, c)
	*f = append(*f, missing...)
	f.checkKey(name, c)
	port, err := daemonPort(flagOf(c, "url"), s.Services[serviceName])
	f.expect(err == nil, "%s: --url: %v", name, err)
	f.expect(err != nil || allows(s.Policies, job.Template.Labels, port, networkingv1.PolicyTypeEgress), "%s: NetworkPolicy: its pod does not reach port %d", name, port)
	_, found := files[flagOf(c, "ca-file")]
	f.expect(found, "%s: --ca-file: %q is in no volume", name, flagOf(c, "ca-file"))
	token, found := files[flagOf(c, "token-file")]
	f.expect(found, "%s: --token-file: %q is in no volume", name, flagOf(c, "token-file"))
	if found && set != nil {
		f.checkToken(s, name, c.Args[0], pod.ServiceAccountName, token, set)
	}
}

// checkKey expects the Job's uid as the idempotency key, so that a pod that takes
// the place of another starts nothing new.
func (f *Findings) checkKey(name string, c *corev1.Container) {
	variable, is := strings.CutPrefix(flagOf(c, "idempotency-key"), "$(")
	i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return is && e.Name == strings.TrimSuffix(variable, ")") })
	ok := i >= 0 && c.Env[i].ValueFrom != nil && c.Env[i].ValueFrom.FieldRef != nil && c.Env[i].ValueFrom.FieldRef.FieldPath == "metadata.labels['"+uidLabel+"']"
	f.expect(ok, "%s: --idempotency-key: expected the uid of the Job, from label %s", name, uidLabel)
}

// checkToken finds the identity of a token among those that may do what verb does.
func (f *Findings) checkToken(s *System, name, verb, account string, token source, set *settings) {
	identity := ""
	if token.kind == "token" {
		f.expect(token.key == set.audience, "%s: its token is for audience %q, expected %q (http.tokenReview.audience)", name, token.key, set.audience)
		identity = fmt.Sprintf("serviceaccount:%s/%s", s.StatefulSet.Namespace, account)
	}
	sidecar := container(s.StatefulSet.Spec.Template.Spec.InitContainers, sidecarName)
	files, _ := s.layout(&s.StatefulSet.Spec.Template.Spec, sidecar)
	for as, file := range set.tokens {
		if files[file] == token {
			identity = "token:" + as
		}
	}
	allowed := slices.Contains(set.operators, identity) || verb == "backup" && slices.Contains(set.triggers, identity)
	f.expect(allowed, "%s: its token is of identity %q, which may not %s (http.triggers, http.operators)", name, identity, verb)
}

// flagOf is the value of a flag of the client.
func flagOf(c *corev1.Container, name string) string {
	for _, argument := range c.Args {
		if value, is := strings.CutPrefix(argument, "--"+name+"="); is {
			return value
		}
	}
	return ""
}

// daemonPort is the container's port behind the address that a client uses.
func daemonPort(address string, service *corev1.Service) (int32, error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || u.Scheme != "https" || u.Hostname() != serviceName {
		return 0, fmt.Errorf("%q: expected https://%s:<port>", address, serviceName)
	}
	if service != nil && int(service.Spec.Ports[0].Port) != port {
		return 0, fmt.Errorf("%q: Service %s has port %d", address, serviceName, service.Spec.Ports[0].Port)
	}
	return int32(port), nil
}
