package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// tlsOfClient is what --ca-file, --cert-file and --key-file say, nil for a
// daemon that is reached without TLS.
func (a *app) tlsOfClient() (*tls.Config, error) {
	if !strings.HasPrefix(a.url, "https://") {
		for flag, file := range map[string]string{"--ca-file": a.caFile, "--cert-file": a.certFile, "--key-file": a.keyFile} {
			if file != "" {
				return nil, errors.New(flag + " has no effect without --url https://host:port")
			}
		}
		return nil, nil
	}
	if (a.certFile == "") != (a.keyFile == "") {
		return nil, errors.New("--cert-file and --key-file: expected both or none")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.caFile != "" {
		text, err := os.ReadFile(a.caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca-file: %s: expected PEM with at least one certificate", a.caFile)
		}
	}
	if a.certFile == "" {
		return c, nil
	}
	if _, err := a.clientCertificate(nil); err != nil {
		return nil, err
	}
	// Read again for each connection: following a job may outlive a certificate.
	c.GetClientCertificate = a.clientCertificate
	return c, nil
}

func (a *app) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(a.certFile, a.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--cert-file, --key-file: %w", err)
	}
	return &pair, nil
}

// hintOfTLS says what to do about a daemon that answers, and that the client does
// not understand or trust; empty when err is something else.
func hintOfTLS(url string, err error) string {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "what listens there speaks http: --url http://" + strings.TrimPrefix(url, "https://") + ", or give the daemon a certificate (http.tls.certFile, http.tls.keyFile)"
	}
	refused, is := errors.AsType[*tls.CertificateVerificationError](err)
	if !is {
		return ""
	}
	names := ""
	if len(refused.UnverifiedCertificates) > 0 {
		names = "; its certificate " + certificateText(refused.UnverifiedCertificates[0])
	}
	if _, is := errors.AsType[x509.HostnameError](err); is {
		return "the daemon answers: name one of its names in --url" + names
	}
	return "the daemon answers: name the file with the authority of its certificate in --ca-file" + names
}

// certificateText says whom a certificate is for, and from when to when.
func certificateText(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, address := range c.IPAddresses {
		names = append(names, address.String())
	}
	text := "is for " + strings.Join(names, ", ")
	if len(names) == 0 {
		text = "names no host"
	}
	return text + fmt.Sprintf(", issued by %q, valid from %s to %s", c.Issuer.String(), c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
}

// preferSocket lets --socket win over the environment, which may name another
// way to the daemon.
func (a *app) preferSocket(cmd *cobra.Command) {
	flags := cmd.Flags()
	if !flags.Changed("socket") || flags.Changed("url") {
		return
	}
	for name, value := range map[string]*string{"url": &a.url, "ca-file": &a.caFile, "cert-file": &a.certFile, "key-file": &a.keyFile} {
		if !flags.Changed(name) {
			*value = ""
		}
	}
}
