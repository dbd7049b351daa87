package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

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
