package manifests

import (
	"net"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// checkPorts compares the listeners of the daemon with what the manifests say of them.
func (f *Findings) checkPorts(s *System, c *corev1.Container, set *settings) {
	api := f.listener(c, "http.listen", "api", set.HTTP.Listen)
	metrics := f.listener(c, "metrics.listen", "metrics", set.Metrics.Listen)
	service := s.Services[serviceName]
	if service == nil {
		f.add("Service %s: expected one", serviceName)
		return
	}
	f.expect(labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(s.StatefulSet.Spec.Template.Labels)), "Service %s: its selector does not match the pod of HANA", serviceName)
	f.expect(len(service.Spec.Ports) == 1 && service.Spec.Ports[0].TargetPort.StrVal == "api" && service.Spec.Ports[0].Port == api,
		"Service %s: expected port %d to port api", serviceName, api)
	pod := s.StatefulSet.Spec.Template.Labels
	f.expect(allows(s.Policies, pod, api, networkingv1.PolicyTypeIngress), "NetworkPolicy: nobody reaches port %d (http.listen) of the pod of HANA", api)
	f.expect(allows(s.Policies, pod, metrics, networkingv1.PolicyTypeIngress), "NetworkPolicy: nobody reaches port %d (metrics.listen) of the pod of HANA", metrics)
	f.checkPeers(s)
	f.checkTracing(s, set.Tracing.Endpoint)
	for name, other := range s.Services {
		for _, port := range other.Spec.Ports {
			number := targetPort(s.StatefulSet.Spec.Template.Spec, port)
			f.expect(number > 0, "Service %s: port %s: no container has a port %s", name, port.Name, port.TargetPort.String())
			f.expect(number == 0 || allows(s.Policies, pod, number, networkingv1.PolicyTypeIngress), "NetworkPolicy: nobody reaches port %d (Service %s) of the pod of HANA", number, name)
		}
	}
}

// checkPeers finds the pod of HANA behind every rule for pods that lets jobs out.
func (f *Findings) checkPeers(s *System) {
	for _, policy := range s.Policies {
		for _, rule := range policy.Spec.Egress {
			for _, peer := range rule.To {
				selector, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
				f.expect(peer.PodSelector == nil || err == nil && selector.Matches(labels.Set(s.StatefulSet.Spec.Template.Labels)),
					"NetworkPolicy %s: egress: its selector does not match the pod of HANA", policy.Name)
			}
		}
	}
}

// checkTracing judges whether traces get out. Where notifications go is a secret.
func (f *Findings) checkTracing(s *System, endpoint string) {
	target, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return // the settings were checked
	}
	port := int32(80)
	if target.Scheme == "https" {
		port = 443
	}
	if given, err := strconv.ParseUint(target.Port(), 10, 16); err == nil {
		port = int32(given)
	}
	f.expect(allows(s.Policies, s.StatefulSet.Spec.Template.Labels, port, networkingv1.PolicyTypeEgress), "NetworkPolicy: the pod of HANA does not reach port %d (tracing.endpoint)", port)
}

// listener returns the port of a listener, which other pods have to reach.
func (f *Findings) listener(c *corev1.Container, key, name, address string) int32 {
	host, text, _ := net.SplitHostPort(address)
	f.expect(host == "", "%s: %q: expected all addresses of the pod", key, address)
	port, err := strconv.Atoi(text)
	f.expect(err == nil && int(portOf(c, name)) == port, "sidecar: port %s: expected %s (%s), got %d", name, text, key, portOf(c, name))
	return int32(port)
}

func portOf(c *corev1.Container, name string) int32 {
	for _, port := range c.Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	return 0
}

func targetPort(pod corev1.PodSpec, port corev1.ServicePort) int32 {
	if port.TargetPort.StrVal == "" {
		return port.TargetPort.IntVal
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			if number := portOf(&containers[i], port.TargetPort.StrVal); number > 0 {
				return number
			}
		}
	}
	return 0
}

// allows reports whether a TCP port of the pods with these labels is open: a policy
// of theirs has a rule for it, or none is for that direction.
func allows(policies []*networkingv1.NetworkPolicy, pod map[string]string, port int32, way networkingv1.PolicyType) bool {
	isolated := false
	for _, policy := range policies {
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil || !selector.Matches(labels.Set(pod)) || !slices.Contains(policy.Spec.PolicyTypes, way) {
			continue
		}
		isolated = true
		for _, rule := range policy.Spec.Ingress {
			if way == networkingv1.PolicyTypeIngress && named(rule.Ports, port) {
				return true
			}
		}
		for _, rule := range policy.Spec.Egress {
			if way == networkingv1.PolicyTypeEgress && named(rule.Ports, port) {
				return true
			}
		}
	}
	return !isolated
}

func named(ports []networkingv1.NetworkPolicyPort, port int32) bool {
	for _, p := range ports {
		if p.Protocol != nil && *p.Protocol == corev1.ProtocolTCP && p.Port != nil && p.Port.IntVal == port {
			return true
		}
	}
	return false
}
