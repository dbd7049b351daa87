package manifests

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// The names that the manifests and these checks share.
const (
	sidecarName = "pipestreamer"
	hanaName    = "hana"
	serviceName = "pipestreamer"
	// program is where the image has the binary.
	program = "/bin/pipestreamer"
)

// Findings collects what is wrong, in the order in which it is found.
type Findings []string

func (f *Findings) add(format string, arguments ...any) {
	*f = append(*f, fmt.Sprintf(format, arguments...))
}

// expect adds a finding unless ok.
func (f *Findings) expect(ok bool, format string, arguments ...any) {
	if !ok {
		f.add(format, arguments...)
	}
}

// container returns the container of that name, nil when there is none.
func container(containers []corev1.Container, name string) *corev1.Container {
	for i := range containers {
		if containers[i].Name == name {
			return &containers[i]
		}
	}
	return nil
}

// mount returns the mount of a container at exactly that path.
func mount(c *corev1.Container, path string) *corev1.VolumeMount {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].MountPath == path {
			return &c.VolumeMounts[i]
		}
	}
	return nil
}

// volume returns the volume of that name, nil when a claim template makes it.
func volume(pod *corev1.PodSpec, name string) *corev1.Volume {
	for i := range pod.Volumes {
		if pod.Volumes[i].Name == name {
			return &pod.Volumes[i]
		}
	}
	return nil
}
