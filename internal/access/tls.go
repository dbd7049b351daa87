package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// TLSFiles name what a listener proves itself with. They are read again at each
// handshake.
type TLSFiles struct {
	// Cert has the certificate and those between it and its authority, Key its
	// key; both PEM.
	Cert, Key string
	// ClientCA has the authorities of client certificates; empty asks for none.
	ClientCA string
}

// TLS is the server's side of TLS. It is safe for concurrent use.
type TLS struct {
	pair      *reloaded[*tls.Certificate]
	clientCAs *reloaded[*x509.CertPool]
}

// NewTLS reads the files. It also returns a TLS beside an error, which says what
// cannot be used: until that is mended, a handshake without a certificate of ours
// fails, and so does one with any certificate of a client. Later on, files that
// cannot be used are logged, and the earlier ones stay in use; a metric tells when
// the certificate in use ends, NaN while there is none.
func NewTLS(files TLSFiles, log *zap.Logger, registerer prometheus.Registerer) (*TLS, error) {
	log = log.Named("access")
	t := new(TLS)
	var err, errClients error
	t.pair, err = newReloaded("certificate", []string{files.Cert, files.Key}, nil, parsePair, log)
	if files.ClientCA != "" {
		// Without authorities nobody's certificate is good: nil would ask for none, and
		// to verify with it would trust those of the system.
		t.clientCAs, errClients = newReloaded("client authorities", []string{files.ClientCA}, x509.NewCertPool(), parsePool, log)
	}
	registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "pipestreamer", Subsystem: "http", Name: "certificate_not_after_timestamp_seconds",
		Help: "When the certificate of the job interface, as it is in use, ends.",
	}, func() float64 {
		pair := t.pair.get()
		if pair == nil {
			return math.NaN()
		}
		return float64(pair.Leaf.NotAfter.Unix())
	}))
	return t, errors.Join(err, errClients)
}

// Config is for a listener of HTTP/1.1. Every handshake is a full one: a
// resumed one would not look at a client's certificate again.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair := t.pair.get()
			if pair == nil {
				return nil, errors.New("there is no certificate that can be used")
			}
			c := &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true,
				Certificates: []tls.Certificate{*pair},
			}
			if pool := t.ClientCAs(); pool != nil {
				// A certificate is not required: others carry a token.
				c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, pool
			}
			return c, nil
		},
	}
}

// ClientCAs are the authorities of client certificates as they are now, nil when
// none are asked for.
func (t *TLS) ClientCAs() *x509.CertPool {
	if t.clientCAs == nil {
		return nil
	}
	return t.clientCAs.get()
}

func parsePair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

func parsePool(contents [][]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents[0]) {
		return nil, errors.New("expected PEM with at least one certificate")
	}
	return pool, nil
}
