package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const bucket = "bucket"

// store is a running store of one scenario.
type store struct {
	endpoint string
	// objects is the directory of the bucket, empty where nothing is kept.
	objects string
	// seed is the trial that wrote what is read, nil where all is written.
	seed      *trial
	processes []*process
	cancel    context.CancelFunc
}

// openStore starts the store of a scenario.
func (b *bench) openStore(ctx context.Context, s scenario) (_ *store, err error) {
	ctx, cancel := context.WithCancel(ctx)
	st := &store{cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	args := []string{"serve", "-payload", s.payload}
	if s.wan {
		args = append(args, "-delay", wanDelay.String(), "-rate", strconv.Itoa(wanRate))
	}
	if s.slow {
		args = append(args, "-delay", slowDelay.String())
	}
	if s.tls {
		args = append(args, "-certificate", b.certificate)
	}
	if s.store == vgw {
		target, err := st.startReal(ctx, b, s)
		if err != nil || !s.wan {
			st.endpoint = target
			return st, err
		}
		args = append(args, "-forward", target)
	}
	p, err := start(ctx, append([]string{filepath.Join(b.programs, "pump")}, args...), nil, true)
	if err != nil {
		return nil, err
	}
	if st.endpoint, err = p.ready(); err != nil {
		return nil, err
	}
	st.processes = append(st.processes, p)
	return st, nil
}

// startReal starts versitygw and returns its URL. What stands before it speaks
// TLS in its place.
func (st *store) startReal(ctx context.Context, b *bench, s scenario) (string, error) {
	base, err := os.MkdirTemp(b.data, "vgw-")
	if err != nil {
		return "", err
	}
	st.objects = filepath.Join(base, bucket)
	if err := os.Mkdir(st.objects, 0o750); err != nil {
		return "", err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	argv, scheme := []string{b.program("versitygw"), "--port", address, "--quiet"}, "http://"
	if s.tls && !s.wan {
		argv, scheme = append(argv, "--cert", b.certificate, "--key", b.certificate), "https://"
	}
	p, err := start(ctx, append(argv, "posix", base), []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}, false)
	if err != nil {
		return "", err
	}
	st.processes = append(st.processes, p)
	return scheme + address, awaitListener(ctx, address)
}

// freeAddress returns an address that nobody listens at.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// awaitListener returns when somebody listens at address.
func awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the store does not start: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// forget removes what the store keeps.
func (st *store) forget() error {
	if st.objects == "" {
		return nil
	}
	entries, err := os.ReadDir(st.objects)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(st.objects, entry.Name())))
	}
	return err
}

// close ends the store. That it ends by a signal is no error.
func (st *store) close() error {
	st.cancel()
	for _, p := range st.processes {
		_ = p.wait() // it was told to end
	}
	if st.objects != "" {
		return os.RemoveAll(filepath.Dir(st.objects))
	}
	return nil
}

// writeCertificate makes a certificate for the loopback interface, with its key
// in the same file, which the clients trust for as long as the bench runs.
func writeCertificate(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	return os.WriteFile(path, text, 0o600)
}
