package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
)

// maxCommonName is the bound that X.520 sets (RFC 5280, appendix A.1,
// ub-common-name).
const maxCommonName = 64

// identityOfCertificate names the subject of a client certificate by its only
// common name. The handshake has verified the chain; here that is done again
// with the authorities and the clock of now, because a connection may outlive
// both.
func identityOfCertificate(chain []*x509.Certificate, authorities *x509.CertPool) (string, error) {
	leaf, between := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return "", wrong(fmt.Sprintf("the client's certificate: %v", err))
	}
	name, err := commonName(leaf.Subject)
	if err != nil {
		return "", wrong(fmt.Sprintf("the client's certificate: %v", err))
	}
	return "certificate:" + name, nil
}

func commonName(subject pkix.Name) (string, error) {
	names := 0
	for _, attribute := range subject.Names {
		if attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			names++
		}
	}
	if names != 1 || subject.CommonName == "" || len(subject.CommonName) > maxCommonName {
		return "", fmt.Errorf("it has %d common names, expected one of 1 to %d bytes", names, maxCommonName)
	}
	return subject.CommonName, nil
}
