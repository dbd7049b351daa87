package access_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
)

// mounted is a directory as Kubernetes mounts a secret: ..data is a symbolic
// link to a directory with the files, and turned all at once.
type mounted struct {
	dir     string
	version int
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mounted) turn(t *testing.T, files map[string]string) {
	t.Helper()
	m.version++
	data := "..version" + string(rune('0'+m.version))
	if err := os.Mkdir(m.path(data), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, from := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.path(data+"/"+name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if m.version == 1 {
			if err := os.Symlink("..data/"+name, m.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink(data, m.path("..new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(m.path("..new"), m.path("..data")); err != nil {
		t.Fatal(err)
	}
}

// serveTLS answers each request with who sent it, or why nobody did.
func serveTLS(t *testing.T, server *access.TLS, cfg access.Config) (address string) {
	t.Helper()
	cfg.ClientCAs, cfg.RateLimit = server.ClientCAs, 1000
	guard := access.NewGuard(cfg, zap.NewNop())
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{
		ErrorLog: zap.NewStdLog(zap.NewNop()),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, err := guard.Network()(r)
			text := caller.Identity
			if err != nil {
				text = err.Error()
			}
			_, _ = io.WriteString(w, text)
		}),
	}
	var served sync.WaitGroup
	served.Go(func() { _ = h.Serve(tls.NewListener(listener, server.Config())) })
	t.Cleanup(func() { _ = h.Close(); served.Wait() })
	return listener.Addr().String()
}

// ask sends one request over a connection of its own and returns the answer and
// the serial number of the server's certificate.
func ask(t *testing.T, address string, config *tls.Config, authorization string) (answer, serial string, err error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(r)
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return string(text), response.TLS.PeerCertificates[0].SerialNumber.String(), nil
}

// TestCertificateReloads turns a mounted secret as Kubernetes does.
func TestCertificateReloads(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	first, second := authority.Issue(t, "server", nil), authority.Issue(t, "server", func(c *x509.Certificate) { c.NotAfter = time.Unix(4102444800, 0) })
	m := &mounted{dir: t.TempDir()}
	m.turn(t, map[string]string{"tls.crt": first.CertFile, "tls.key": first.KeyFile})
	core, logs := observer.New(zap.InfoLevel)
	registry := prometheus.NewRegistry()
	server, err := access.NewTLS(access.TLSFiles{Cert: m.path("tls.crt"), Key: m.path("tls.key")}, zap.New(core), registry)
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, server, access.Config{})
	serial := func() string {
		_, serial, err := ask(t, address, &tls.Config{RootCAs: authority.Pool()}, "")
		if err != nil {
			t.Fatal(err)
		}
		return serial
	}
	serialOf := func(i accesstest.Issued) string { return i.Pair.Leaf.SerialNumber.String() }
	steps := []struct {
		name      string
		cert, key string
		want      accesstest.Issued
		errors    int // lines in the log so far
		reloads   int
	}{
		{"unchanged", first.CertFile, first.KeyFile, first, 0, 0},
		{"a pair that does not belong together", second.CertFile, first.KeyFile, first, 1, 0},
		{"no certificate", first.KeyFile, first.KeyFile, first, 2, 0},
		{"the new pair", second.CertFile, second.KeyFile, second, 2, 1},
		{"back", first.CertFile, first.KeyFile, first, 2, 2},
	}
	for _, step := range steps {
		m.turn(t, map[string]string{"tls.crt": step.cert, "tls.key": step.key})
		if a, b := serial(), serial(); a != serialOf(step.want) || b != a {
			t.Errorf("%s: serial numbers %s and %s, expected %s", step.name, a, b, serialOf(step.want))
		}
		if got := []int{logs.FilterLevelExact(zap.ErrorLevel).Len(), logs.FilterMessageSnippet("reloaded").Len()}; cmp.Diff([]int{step.errors, step.reloads}, got) != "" {
			t.Errorf("%s: errors and reloads in the log: %v, expected %d and %d\n%v", step.name, got, step.errors, step.reloads, logs.All())
		}
	}
	if err := os.RemoveAll(m.path("..data")); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != serialOf(first) {
		t.Errorf("without files: serial number %s", got)
	}
	want := strings.NewReader("# HELP pipestreamer_http_certificate_not_after_timestamp_seconds When the certificate of the job interface, as it is in use, ends.\n" +
		"# TYPE pipestreamer_http_certificate_not_after_timestamp_seconds gauge\npipestreamer_http_certificate_not_after_timestamp_seconds " +
		strconv.FormatFloat(float64(first.Pair.Leaf.NotAfter.Unix()), 'g', -1, 64) + "\n")
	if err := testutil.GatherAndCompare(registry, want); err != nil {
		t.Error(err)
	}
}

// TestRewrittenInPlace replaces contents without any trace in the file's times.
func TestRewrittenInPlace(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	first, second := authority.Issue(t, "server", nil), authority.Issue(t, "server", nil)
	server, err := access.NewTLS(access.TLSFiles{Cert: first.CertFile, Key: first.KeyFile}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(first.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{second.CertFile: first.CertFile, second.KeyFile: first.KeyFile} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(to, before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	address := serveTLS(t, server, access.Config{})
	if _, serial, err := ask(t, address, &tls.Config{RootCAs: authority.Pool()}, ""); err != nil || serial != second.Pair.Leaf.SerialNumber.String() {
		t.Errorf("serial number %s, %v", serial, err)
	}
}

func TestTLSVersions(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	issued := authority.Issue(t, "server", nil)
	server, err := access.NewTLS(access.TLSFiles{Cert: issued.CertFile, Key: issued.KeyFile}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, server, access.Config{})
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, _, err := ask(t, address, &tls.Config{RootCAs: authority.Pool(), MinVersion: version, MaxVersion: version}, "")
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// TestClientCertificates shows who a certificate makes a caller.
func TestClientCertificates(t *testing.T) {
	authority, stranger := accesstest.NewAuthority(t), accesstest.NewAuthority(t)
	issued := authority.Issue(t, "server", nil)
	server, err := access.NewTLS(access.TLSFiles{Cert: issued.CertFile, Key: issued.KeyFile, ClientCA: authority.File}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, server, access.Config{Tokens: map[string]access.Token{"token": fixed("0123456789abcdef")}})
	twoNames := func(c *x509.Certificate) {
		c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "nightly"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"},
		}}
	}
	tests := []struct {
		name          string
		from          *accesstest.Authority
		commonName    string
		change        func(*x509.Certificate)
		authorization string
		want          string // begins the answer
		refused       bool   // by the handshake
	}{
		{name: "none", want: "no_credentials"},
		{name: "right", from: authority, commonName: "nightly", want: "certificate:nightly"},
		{name: "of a stranger", from: stranger, commonName: "nightly", refused: true},
		{name: "expired", from: authority, commonName: "nightly", change: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, refused: true},
		{name: "not yet valid", from: authority, commonName: "nightly", change: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, refused: true},
		{name: "for servers", from: authority, commonName: "nightly", change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, refused: true},
		{name: "without a name", from: authority, want: "wrong_credentials: the client's certificate: it has 0 common names"},
		{name: "with two names", from: authority, change: twoNames, want: "wrong_credentials: the client's certificate: it has 2 common names"},
		{name: "with a long name", from: authority, commonName: strings.Repeat("n", 65), want: "wrong_credentials: the client's certificate: it has 1 common names"},
		{name: "beside a token", from: authority, commonName: "nightly", authorization: "Bearer 0123456789abcdef", want: "token"},
		{name: "beside a wrong token", from: authority, commonName: "nightly", authorization: "Bearer wrong", want: "wrong_credentials"},
		{name: "a name like a token", from: authority, commonName: "token", want: "certificate:token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := &tls.Config{RootCAs: authority.Pool()}
			if test.from != nil {
				config.Certificates = []tls.Certificate{test.from.Issue(t, test.commonName, test.change).Pair}
			}
			got, _, err := ask(t, address, config, test.authorization)
			if (err != nil) != test.refused || !strings.HasPrefix(got, test.want) {
				t.Errorf("%q, %v; expected %q, refused %v", got, err, test.want, test.refused)
			}
		})
	}
}

// TestAuthorityIsTakenAway while a connection stands: the next request on it is
// refused.
func TestAuthorityIsTakenAway(t *testing.T) {
	authority, next := accesstest.NewAuthority(t), accesstest.NewAuthority(t)
	issued := authority.Issue(t, "server", nil)
	m := &mounted{dir: t.TempDir()}
	m.turn(t, map[string]string{"ca.crt": authority.File})
	server, err := access.NewTLS(access.TLSFiles{Cert: issued.CertFile, Key: issued.KeyFile, ClientCA: m.path("ca.crt")}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, server, access.Config{})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{authority.Issue(t, "nightly", nil).Pair}}}
	defer transport.CloseIdleConnections()
	var answers []string
	for range 2 {
		response, err := (&http.Client{Transport: transport}).Get("https://" + address)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		answers = append(answers, string(text))
		m.turn(t, map[string]string{"ca.crt": next.File})
	}
	if answers[0] != "certificate:nightly" || !strings.HasPrefix(answers[1], "wrong_credentials: the client's certificate: x509: certificate signed by unknown authority") {
		t.Errorf("answers: %q", answers)
	}
}

func TestTLSFilesAtStart(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	a, b := authority.Issue(t, "a", nil), authority.Issue(t, "b", nil)
	for name, files := range map[string]access.TLSFiles{
		"no such file": {Cert: a.CertFile + "x", Key: a.KeyFile}, "do not belong together": {Cert: a.CertFile, Key: b.KeyFile},
		"no authority": {Cert: a.CertFile, Key: a.KeyFile, ClientCA: a.KeyFile},
	} {
		server, err := access.NewTLS(files, zap.NewNop(), prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), filepath.Dir(files.Cert)) {
			t.Errorf("%s: %v, expected an error that names the file", name, err)
		}
		_, err = server.Config().GetConfigForClient(nil)
		if pool := server.ClientCAs(); (err != nil) != (files.ClientCA == "") || files.ClientCA != "" && (pool == nil || !pool.Equal(x509.NewCertPool())) {
			t.Errorf("%s: a handshake: %v; authorities %v, expected none rather than those of the system", name, err, pool)
		}
	}
}
