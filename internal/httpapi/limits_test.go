package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/httpapi/apitest"
)

// dial connects for at most 5 s.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// raw sends text as it is and returns the status of the answer.
func raw(t *testing.T, address, text string) (status string) {
	t.Helper()
	conn := dial(t, address)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	_, status, _ = strings.Cut(line, " ")
	return status[:3]
}

// TestSlowBodies: a body that does not come is cut off also where nobody reads
// it.
func TestSlowBodies(t *testing.T) {
	a := newAPI(t)
	stranger := tokenGuard(nil).Network()
	for _, test := range []struct {
		name, request, want string
		identify            access.Identify
	}{
		{"read", "POST /v1/backups", "400", apitest.Operator},
		{"of a stranger", "POST /v1/backups", "401", stranger},
		{"not read", "DELETE /v1/jobs/x", "404", apitest.Operator},
		{"of a request that has none", "GET /v1/jobs", "200", apitest.Operator},
		{"for no route", "POST /nothing", "404", apitest.Operator},
	} {
		for kind, length := range map[string]string{"announced": "Content-Length: 100\r\n\r\n{", "chunked": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			t.Run(test.name+", "+kind, func(t *testing.T) {
				server := httptest.NewServer(a.server.Handler(test.identify))
				defer server.Close()
				conn := dial(t, server.Listener.Addr().String())
				start := time.Now()
				if _, err := io.WriteString(conn, test.request+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+length); err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(conn)
				if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 "+test.want) {
					t.Errorf("%q, %v after %s; expected %s and the end of the connection", text, err, time.Since(start), test.want)
				}
			})
		}
	}
}

func TestOversizedRequests(t *testing.T) {
	a := newAPI(t)
	address := serveTCP(t, a.server.Handler(apitest.Operator))
	for name, test := range map[string]struct{ text, want string }{
		"header":            {"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", "431"},
		"many headers":      {"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Many: x\r\n", 4<<10) + "\r\n", "431"},
		"path":              {"GET /v1/jobs/" + strings.Repeat("x", 40<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
		"announced body":    {"POST /v1/backups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n" + strings.Repeat(" ", 65<<10), "413"},
		"chunked body":      {"POST /v1/backups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + strings.Repeat(" ", 0x20000) + "\r\n0\r\n\r\n", "413"},
		"two lengths":       {"POST /v1/backups HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"two ways to tell":  {"POST /v1/backups HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{}", "501"},
		"an older protocol": {"GET /v1/jobs HTTP/0.9\r\n\r\n", "505"},
		"no host":           {"GET /v1/jobs HTTP/1.1\r\n\r\n", "400"},
	} {
		if got := raw(t, address, test.text); got != test.want {
			t.Errorf("%s: %s, expected %s", name, got, test.want)
		}
	}
	if jobs := a.jobs.Jobs(); len(jobs) != 0 {
		t.Errorf("jobs were started: %v", jobs)
	}
}

// TestOptionsOfEverything is what net/http answers by itself unless told not to.
func TestOptionsOfEverything(t *testing.T) {
	a := newAPI(t)
	address := serveTCP(t, a.server.Handler(tokenGuard(nil).Network()))
	if got := raw(t, address, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); got != "401" {
		t.Errorf("OPTIONS *: %s, expected 401", got)
	}
}

// TestStrangersDoNotFillTheLog speaks no TLS to a listener that does.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	issued := accesstest.NewAuthority(t).Issue(t, "hana", nil)
	server, err := access.NewTLS(access.TLSFiles{Cert: issued.CertFile, Key: issued.KeyFile}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- httpapi.Serve(ctx, tls.NewListener(listener, server.Config()), http.NotFoundHandler(), zap.New(core))
	}()
	for range 60 {
		conn := dial(t, listener.Addr().String())
		if _, err := io.WriteString(conn, "no TLS at all\r\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn) // an answer or a reset: the server is done with it
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := logs.FilterMessageSnippet("TLS handshake error").Len(); got < 20 || got > 25 {
		t.Errorf("60 strangers left %d lines, expected 20 and few more", got)
	}
}

// serveTCP runs the real server until the test ends.
func serveTCP(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, listener, handler, zap.NewNop()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}

// TestManyConnections takes every connection that the listener has, and sends
// nothing. Whoever comes next waits until one of them ends.
func TestManyConnections(t *testing.T) {
	a := newAPI(t)
	address := serveTCP(t, a.server.Handler(apitest.Operator))
	var first net.Conn
	for range httpapi.MaxConnections {
		first = dial(t, address)
	}
	next := dial(t, address)
	if _, err := io.WriteString(next, "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(next)
		answered <- fmt.Sprint(string(text), err)
	}()
	select {
	case text := <-answered:
		t.Fatalf("answered beside %d others: %s", httpapi.MaxConnections, text)
	case <-time.After(200 * time.Millisecond):
	}
	closeAll(t, first)
	if text := <-answered; !strings.HasPrefix(text, "HTTP/1.1 200") {
		t.Errorf("when there is room: %s", text)
	}
}

// TestSlowHandshakes: who connects to TLS and says nothing is cut off like a
// header that does not come.
func TestSlowHandshakes(t *testing.T) {
	issued := accesstest.NewAuthority(t).Issue(t, "hana", nil)
	server, err := access.NewTLS(access.TLSFiles{Cert: issued.CertFile, Key: issued.KeyFile}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := httpapi.ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- httpapi.ServeWith(ctx, tls.NewListener(listener, server.Config()), http.NotFoundHandler(), zap.NewNop(), func(s *http.Server) { s.ReadHeaderTimeout = 100 * time.Millisecond })
	}()
	conn := dial(t, listener.Addr().String())
	if text, err := io.ReadAll(conn); err != nil || len(text) > 0 {
		t.Errorf("%q, %v; expected the end of the connection", text, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestStrangersKeepNoConnection: who is not known is cut off after the answer.
func TestStrangersKeepNoConnection(t *testing.T) {
	a := newAPI(t)
	address := serveTCP(t, a.server.Handler(tokenGuard(nil).Network()))
	conn := dial(t, address)
	if _, err := io.WriteString(conn, "GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 401") {
		t.Errorf("%q, %v; expected 401 and the end of the connection", text, err)
	}
}

// TestSocketKnowsItsCaller goes through the real listener: the daemon's own user
// is an operator there, without any token.
func TestSocketKnowsItsCaller(t *testing.T) {
	a := newAPI(t)
	socket := filepath.Join(t.TempDir(), "s.sock")
	listener, err := httpapi.ListenUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan access.Caller, 1)
	socketIdentify := tokenGuard(nil).Socket()
	identify := func(r *http.Request) (access.Caller, error) {
		caller, err := socketIdentify(r)
		seen <- caller
		return caller, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, listener, a.server.Handler(identify), zap.NewNop()) }()
	if _, err := newClient(t, httpapi.ClientOptions{Socket: socket}).Jobs(t.Context()); err != nil {
		t.Errorf("Jobs: %v", err)
	}
	if got, want := <-seen, (access.Caller{Identity: fmt.Sprintf("uid:%d", os.Geteuid()), Role: access.Operator}); got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
