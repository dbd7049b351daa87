package manifests

import (
	"path"

	corev1 "k8s.io/api/core/v1"
)

// source is the key of a Secret or of a ConfigMap that a file is made of. That of
// a token or of the downward API has no object.
type source struct{ kind, object, key string }

// layout lists the files that volumes put into a container, by path, and what
// of them cannot be had.
func (s *System) layout(pod *corev1.PodSpec, c *corev1.Container) (map[string]source, Findings) {
	files := map[string]source{}
	var f Findings
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		v := volume(pod, m.Name)
		if v == nil {
			continue // a claim
		}
		for name, from := range s.volumeFiles(v) {
			files[path.Join(m.MountPath, name)] = from
			f.expect(s.has(from), "container %s: %s: %s %s has no key %s", c.Name, path.Join(m.MountPath, name), from.kind, from.object, from.key)
		}
	}
	return files, f
}

func (s *System) volumeFiles(v *corev1.Volume) map[string]source {
	files := map[string]source{}
	switch {
	case v.Secret != nil:
		s.addFiles(files, "Secret", v.Secret.SecretName, v.Secret.Items)
	case v.ConfigMap != nil:
		s.addFiles(files, "ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			s.addProjection(files, &v.Projected.Sources[i])
		}
	}
	return files
}

func (s *System) addProjection(files map[string]source, p *corev1.VolumeProjection) {
	switch {
	case p.Secret != nil:
		s.addFiles(files, "Secret", p.Secret.Name, p.Secret.Items)
	case p.ConfigMap != nil:
		s.addFiles(files, "ConfigMap", p.ConfigMap.Name, p.ConfigMap.Items)
	case p.ServiceAccountToken != nil:
		files[p.ServiceAccountToken.Path] = source{kind: "token", key: p.ServiceAccountToken.Audience}
	case p.DownwardAPI != nil:
		for _, item := range p.DownwardAPI.Items {
			files[item.Path] = source{kind: "downward API"}
		}
	}
}

// addFiles adds the keys of an object, or those that items name.
func (s *System) addFiles(files map[string]source, kind, object string, items []corev1.KeyToPath) {
	for _, item := range items {
		files[item.Path] = source{kind: kind, object: object, key: item.Key}
	}
	if len(items) > 0 {
		return
	}
	keys := s.keys(kind, object)
	if len(keys) == 0 { // so that it is missed
		files["?"] = source{kind: kind, object: object, key: "?"}
	}
	for key := range keys {
		files[key] = source{kind: kind, object: object, key: key}
	}
}

func (s *System) keys(kind, object string) map[string][]byte {
	keys := map[string][]byte{}
	if secret := s.Secrets[object]; kind == "Secret" && secret != nil {
		keys = secret.Data
	}
	if m := s.ConfigMaps[object]; kind == "ConfigMap" && m != nil {
		for key, text := range m.Data {
			keys[key] = []byte(text)
		}
	}
	return keys
}

// has reports whether the content of a file can be had. Every namespace has the
// ConfigMap of the API server's authority.
func (s *System) has(from source) bool {
	if from.object == "" || from == (source{kind: "ConfigMap", object: "kube-root-ca.crt", key: "ca.crt"}) {
		return true
	}
	_, found := s.keys(from.kind, from.object)[from.key]
	return found
}

// Files lists what the volumes of a container put into it: the content of each
// file, by its path. What a cluster makes itself, such as tokens, is left out.
func (s *System) Files(pod *corev1.PodSpec, c *corev1.Container) map[string][]byte {
	contents := map[string][]byte{}
	files, _ := s.layout(pod, c)
	for name, from := range files {
		if text, found := s.keys(from.kind, from.object)[from.key]; found {
			contents[name] = text
		}
	}
	return contents
}
