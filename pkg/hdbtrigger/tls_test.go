package hdbtrigger

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed one for hana.example and gives it in PEM
// form too.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"hana.example"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return config, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTLS(t *testing.T) {
	server, text := certificate(t)
	_, config := startScripted(t, server)
	_, otherText := certificate(t)
	ca, other := writeFile(t, text), writeFile(t, otherText)
	tests := []struct {
		name string
		tls  TLS
		hint string // "" when it connects
	}{
		{"trusted, by its name", TLS{RootCAFile: ca, ServerName: "hana.example"}, ""},
		{"anything goes", TLS{Insecure: true}, ""},
		{"plain on the same port", TLS{Off: true}, ""},
		{"host is not in the certificate", TLS{RootCAFile: ca}, "another name"},
		{"another authority", TLS{RootCAFile: other, ServerName: "hana.example"}, "root CA file"},
		{"authorities of the system", TLS{ServerName: "hana.example"}, "root CA file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config.TLS = tt.tls
			err := newTrigger(t, config).Ping(t.Context())
			if (err == nil) != (tt.hint == "") || !strings.Contains(Hint(err), tt.hint) {
				t.Errorf("%v, hint %q, expected %q", err, Hint(err), tt.hint)
			}
		})
	}
}
