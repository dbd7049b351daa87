package hdbtrigger

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

const (
	defaultConnectTimeout = 15 * time.Second
	defaultKeepAlive      = 15 * time.Second
	// keepAliveProbes may stay without an answer.
	keepAliveProbes = 4
)

// Config says how to reach SYSTEMDB.
type Config struct {
	Host string
	// Port is the SQL port of SYSTEMDB, 3<instance>13.
	Port int
	// User is a database user in SYSTEMDB.
	User string
	// PasswordFile is read at each new connection; line ends at its end do not
	// count.
	PasswordFile string
	TLS          TLS
	// ConnectTimeout bounds dialing and logging in; 0 means 15 s.
	ConnectTimeout time.Duration
	// KeepAlive is how long a silent connection may be idle before TCP probes
	// it, and the time between two of four probes; 0 means 15 s. A host from
	// which no packet comes any more is noticed after five times that, whether a
	// statement waits for its answer or is still on its way. Firewalls that drop
	// idle connections within the hours that a backup takes are a known cause of
	// failed backups.
	KeepAlive time.Duration
	// AllowParts lets Plan pass when HANA splits its files (global.ini [backup]
	// data_backup_max_chunk_size). The plan names the first part of each volume
	// only, so whoever reads the streams has to find the others.
	AllowParts bool
}

// TLS says how the connection is protected. Its zero value is TLS with the
// authorities of the operating system and the host as the expected name.
type TLS struct {
	// RootCAFile replaces the authorities of the operating system (PEM). It is
	// read at each new connection.
	RootCAFile string
	// ServerName replaces Host as the name expected in the certificate.
	ServerName string
	// Insecure accepts any certificate.
	Insecure bool
	// Off speaks plain TCP.
	Off bool
}

func (c Config) withDefaults() Config {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = defaultKeepAlive
	}
	return c
}

// check reports everything that is wrong, field by field.
func (c Config) check() error {
	var problems []error
	if c.Host == "" {
		problems = append(problems, errors.New("host: expected the host of SYSTEMDB's SQL port"))
	}
	if c.Port < 1 || c.Port > 65535 {
		problems = append(problems, fmt.Errorf("port %d: expected SYSTEMDB's SQL port, 3<instance>13", c.Port))
	}
	if c.User == "" {
		problems = append(problems, errors.New("user: expected a database user in SYSTEMDB"))
	}
	if c.PasswordFile == "" {
		problems = append(problems, errors.New("password file: expected the name of a file"))
	} else if _, err := readPassword(c.PasswordFile); err != nil {
		problems = append(problems, err)
	}
	if c.ConnectTimeout < 0 {
		problems = append(problems, fmt.Errorf("connect timeout %s: expected 0 or more", c.ConnectTimeout))
	}
	if c.KeepAlive < 0 {
		problems = append(problems, fmt.Errorf("keep-alive %s: expected 0 or more", c.KeepAlive))
	}
	if c.TLS.Off && c.TLS != (TLS{Off: true}) {
		problems = append(problems, errors.New("tls: it is off, and yet a certificate authority, a server name or insecure is set"))
	}
	if _, err := c.TLS.config(c.Host); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// silence is for how long a connection on which packets get lost is kept.
func (c Config) silence() time.Duration { return (1 + keepAliveProbes) * c.KeepAlive }

func (c Config) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// config gives nil when TLS is off.
func (t TLS) config(host string) (*tls.Config, error) {
	if t.Off {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: t.Insecure}
	if t.ServerName != "" {
		config.ServerName = t.ServerName
	}
	if t.RootCAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(t.RootCAFile)
	if err != nil {
		return nil, fmt.Errorf("read root CA file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("root CA file %s: no certificate in PEM form", t.RootCAFile)
	}
	return config, nil
}
