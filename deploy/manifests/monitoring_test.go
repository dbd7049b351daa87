package manifests

import (
	"errors"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// The PodMonitor selects the pod of HANA, by a label and a port that it has.
func TestPodMonitor(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../monitoring/podmonitor.yaml")
	var monitor struct {
		Spec struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			PodMetricsEndpoints []struct {
				Port string `json:"port"`
				Path string `json:"path"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	if err := errors.Join(err, yaml.Unmarshal(text, &monitor)); err != nil {
		t.Fatal(err)
	}
	template := system(t, "overlays/hana-express", secretFiles(t)).StatefulSet.Spec.Template
	selector := labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels)
	if selector.Empty() || !selector.Matches(labels.Set(template.Labels)) {
		t.Errorf("selector %s does not select labels %v", selector, template.Labels)
	}
	c := container(template.Spec.InitContainers, sidecarName)
	if len(monitor.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("endpoints: %v", monitor.Spec.PodMetricsEndpoints)
	}
	endpoint := monitor.Spec.PodMetricsEndpoints[0]
	if portOf(c, endpoint.Port) == 0 || endpoint.Path != "/metrics" {
		t.Errorf("%+v: the sidecar has ports %v", endpoint, c.Ports)
	}
}
