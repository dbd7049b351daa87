package manifests

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// overlays lists the directories that build a whole system.
func overlays(t *testing.T) []string {
	t.Helper()
	directories, err := filepath.Glob("../k8s/overlays/*")
	if err != nil || len(directories) < 4 {
		t.Fatalf("overlays: %v, %v", directories, err)
	}
	for i, d := range directories {
		directories[i] = "overlays/" + filepath.Base(d)
	}
	slices.Sort(directories)
	return directories
}

// existingHANA is the manifest of a HANA that runs already. Its volumes have names
// that anybody's may have.
const existingHANA = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: hana}
spec:
  serviceName: hana
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: sap-hana}}
  template:
    metadata: {labels: {app.kubernetes.io/name: sap-hana, tier: database}}
    spec:
      serviceAccountName: hana-with-pull-secret
      initContainers:
        - {name: mine, image: 'registry.example.com/tools:1'}
      containers:
        - name: hana
          image: registry.example.com/hana:1
          volumeMounts:
            - {name: data, mountPath: /hana/data}
            - {name: backup, mountPath: /hana/backup}
            - {name: state, mountPath: /hana/state}
            - {name: config, mountPath: /hana/config}
            - {name: secrets, mountPath: /hana/secrets}
      volumes:
        - name: state
          emptyDir: {}
        - name: config
          configMap: {name: hana-config}
        - name: secrets
          projected: {sources: [{secret: {name: hana-secrets}}]}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 1Ti}}
    - metadata: {name: backup}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 1Ti}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: hana-config}
data: {global.ini: ''}
---
apiVersion: v1
kind: Secret
metadata: {name: hana-secrets}
data: {password: T25seS00LVRlc3Rz}
`

// secretFiles are what an operator puts beside the manifests.
func secretFiles(t *testing.T) map[string][]byte {
	t.Helper()
	certificate, key := selfSigned(t)
	return map[string][]byte{
		"components/secrets/files/hana-password":                  []byte("Only-4-Tests"),
		"components/secrets/files/trigger-token":                  []byte("token-of-the-trigger"),
		"components/secrets/files/operator-token":                 []byte("token-of-an-operator"),
		"components/secrets/files/tls.crt":                        certificate,
		"components/secrets/files/tls.key":                        key,
		"components/secrets/files/ca.crt":                         certificate,
		"components/store-key/files/secret-access-key":            []byte("only-for-tests"),
		"components/hana-express/files/hana-master-password.json": []byte(`{"master_password": "Only-4-Tests"}`),
		"overlays/s3-on-premises/ca.crt":                          certificate,
		ownHANAManifest:                                           []byte(existingHANA),
	}
}

func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"pipestreamer"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}

// readSource reads a file of deploy/k8s.
func readSource(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "k8s", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// build builds a directory of deploy/k8s.
func build(t *testing.T, directory string, files map[string][]byte) []byte {
	t.Helper()
	text, err := Build(os.DirFS("../k8s"), directory, files)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// decoded reads the objects of one manifest.
func decoded(t *testing.T, text []byte) *System {
	t.Helper()
	objects, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return NewSystem(objects)
}

// system builds and decodes a directory, with the Job that restores.
func system(t *testing.T, directory string, files map[string][]byte) *System {
	t.Helper()
	objects, err := Decode(build(t, directory, files))
	if err != nil {
		t.Fatal(err)
	}
	job, err := Decode(build(t, "restore", files))
	if err != nil {
		t.Fatal(err)
	}
	return NewSystem(append(objects, job...))
}
