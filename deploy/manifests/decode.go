package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// Decode reads YAML documents of the kinds that Kubernetes itself knows. Like
// "kubectl apply --validate=strict" it refuses a field that is unknown or stands
// twice.
func Decode(text []byte) ([]runtime.Object, error) {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var objects []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("split documents: %w", err)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		object, kind, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("decode document %d (%v): %w", len(objects)+1, kind, err)
		}
		objects = append(objects, object)
	}
}

// System is what one directory builds, by kind.
type System struct {
	StatefulSet *appsv1.StatefulSet
	ConfigMaps  map[string]*corev1.ConfigMap
	Secrets     map[string]*corev1.Secret
	Services    map[string]*corev1.Service
	Claims      map[string]*corev1.PersistentVolumeClaim
	CronJobs    []*batchv1.CronJob
	Jobs        []*batchv1.Job
	Policies    []*networkingv1.NetworkPolicy
	// Others are of kinds about which there is nothing to say beyond their fields.
	Others []runtime.Object
}

// NewSystem sorts objects.
func NewSystem(objects []runtime.Object) *System {
	s := &System{
		ConfigMaps: map[string]*corev1.ConfigMap{}, Secrets: map[string]*corev1.Secret{}, Services: map[string]*corev1.Service{},
		Claims: map[string]*corev1.PersistentVolumeClaim{},
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.StatefulSet:
			s.StatefulSet = o
		case *corev1.ConfigMap:
			s.ConfigMaps[o.Name] = o
		case *corev1.Secret:
			s.Secrets[o.Name] = o
		case *corev1.Service:
			s.Services[o.Name] = o
		case *corev1.PersistentVolumeClaim:
			s.Claims[o.Name] = o
		case *batchv1.CronJob:
			s.CronJobs = append(s.CronJobs, o)
		case *batchv1.Job:
			s.Jobs = append(s.Jobs, o)
		case *networkingv1.NetworkPolicy:
			s.Policies = append(s.Policies, o)
		default:
			s.Others = append(s.Others, object)
		}
	}
	return s
}
