package manifests

import (
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Judge checks a whole system, with HANA in it. The files of the sidecar's volumes
// are laid out below directory, so that its settings can be loaded.
func Judge(s *System, directory string) Findings {
	var f Findings
	if s.StatefulSet == nil {
		f.add("StatefulSet: expected one")
		return f
	}
	pod := &s.StatefulSet.Spec.Template.Spec
	c, hana := container(pod.InitContainers, sidecarName), container(pod.Containers, hanaName)
	if c == nil || hana == nil {
		f.add("StatefulSet %s: expected an init container %s and a container %s", s.StatefulSet.Name, sidecarName, hanaName)
		return f
	}
	files, missing := s.layout(pod, c)
	_, alsoMissing := s.layout(pod, hana)
	f = append(append(f, missing...), alsoMissing...)
	set, err := s.settingsOf(directory, c, files)
	if err != nil {
		f.add("%v", err)
		return f
	}
	f.checkSidecar(pod, c, set)
	f.checkVolumes(pod, c, hana, set)
	f.checkClaims(s, pod)
	f.checkPorts(s, c, set)
	f.checkSecurity(s, c)
	f.expect(len(s.CronJobs) > 0, "CronJob: expected at least one")
	for _, cronJob := range s.CronJobs {
		f.checkCronJob(cronJob)
		f.checkClient(s, "CronJob "+cronJob.Name, &cronJob.Spec.JobTemplate.Spec, set)
	}
	for _, job := range s.Jobs {
		f.checkRestore(s, job, set)
	}
	f.checkImages(s, c)
	return f
}

// cancelTime is how many seconds the client may take to cancel a job and to wait
// for its clean-up (cmd/pipestreamer/client.go).
const cancelTime = 135

// checkRestore judges the template of a restore, which must not start by itself,
// and which an operator's client cancels when its pod is ended.
func (f *Findings) checkRestore(s *System, job *batchv1.Job, set *settings) {
	f.expect(job.Spec.Suspend != nil && *job.Spec.Suspend, "Job %s: suspend: expected true, applying it must not replace data", job.Name)
	grace := job.Spec.Template.Spec.TerminationGracePeriodSeconds
	f.expect(grace != nil && *grace >= cancelTime, "Job %s: terminationGracePeriodSeconds: expected at least %d, for the client to cancel", job.Name, cancelTime)
	f.checkClient(s, "Job "+job.Name, &job.Spec, set)
}

// checkImages expects the sidecar and the jobs to run the same image, by a name
// that says which.
func (f *Findings) checkImages(s *System, c *corev1.Container) {
	f.expect(strings.Contains(c.Image, ":") && !strings.HasSuffix(c.Image, ":latest"), "sidecar: image: expected a tag or digest, got %s", c.Image)
	for _, cronJob := range s.CronJobs {
		image := cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image
		f.expect(image == c.Image, "CronJob %s: image: expected that of the sidecar, %s, got %s", cronJob.Name, c.Image, image)
	}
	for _, job := range s.Jobs {
		image := job.Spec.Template.Spec.Containers[0].Image
		f.expect(image == c.Image, "Job %s: image: expected that of the sidecar, %s, got %s", job.Name, c.Image, image)
	}
}

// Invocations lists the command lines of the binary that a system runs, by who
// runs them, without the program's name.
func Invocations(s *System) map[string][]string {
	lines := map[string][]string{}
	if s.StatefulSet != nil {
		if c := container(s.StatefulSet.Spec.Template.Spec.InitContainers, sidecarName); c != nil {
			lines["sidecar"] = c.Args
			if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Exec != nil {
				lines["preStop"] = c.Lifecycle.PreStop.Exec.Command[1:]
			}
		}
	}
	for _, cronJob := range s.CronJobs {
		lines["CronJob "+cronJob.Name] = cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args
	}
	for _, job := range s.Jobs {
		lines["Job "+job.Name] = job.Spec.Template.Spec.Containers[0].Args
	}
	return lines
}
