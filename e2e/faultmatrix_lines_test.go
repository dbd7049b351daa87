package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
)

// toxiproxy is a running one: proxies for TCP that break what passes.
type toxiproxy struct {
	url     string
	client  *http.Client
	process *process
	next    atomic.Int64
}

// startToxiproxy runs it for the time of the test.
func startToxiproxy(t *testing.T) *toxiproxy {
	t.Helper()
	program := toxiproxyProgram(t)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	var log tail
	log.showOnFailure(t, "toxiproxy")
	for range 5 {
		address := freeAddress(t)
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		p := startProcess(t, "toxiproxy", &log, []string{"LOG_LEVEL=error"}, program, "-host", host, "-port", port)
		if p.awaitStart(func() bool { return accepts(address) }) {
			return &toxiproxy{url: "http://" + address, client: &http.Client{Transport: transport, Timeout: patience}, process: p}
		}
	}
	t.Fatal("toxiproxy does not start")
	return nil
}

// line is a connection that can be broken.
type line struct {
	*toxiproxy

	t       *testing.T
	name    string
	address string // to connect to
}

// open makes a line to an address.
func (x *toxiproxy) open(t *testing.T, to string) *line {
	t.Helper()
	n := x.next.Add(1)
	l := &line{toxiproxy: x, t: t, name: "line" + strconv.FormatInt(n, 10)}
	// An address of its own: while the line is cut, nobody takes its port.
	listen := fmt.Sprintf("127.1.%d.%d:0", n/250, n%250+1)
	var made struct{ Listen string }
	l.ask(http.MethodPost, "/proxies", map[string]any{"name": l.name, "listen": listen, "upstream": to, "enabled": true}, &made)
	l.address = made.Listen
	t.Cleanup(func() {
		// At a test's end the whole of toxiproxy may have ended before.
		if !x.process.hasEnded() {
			l.ask(http.MethodDelete, "/proxies/"+l.name, nil, nil)
		}
	})
	return l
}

// cut refuses connections and ends those that there are.
func (l *line) cut() { l.t.Helper(); l.enable(false) }

func (l *line) enable(enabled bool) {
	l.t.Helper()
	l.ask(http.MethodPatch, "/proxies/"+l.name, map[string]any{"enabled": enabled}, nil)
}

// resetPeers resets every connection, now and from now on.
func (l *line) resetPeers() {
	l.t.Helper()
	l.poison("reset_peer", "downstream", map[string]any{"timeout": 0})
}

// swallow keeps every connection open and lets nothing pass.
func (l *line) swallow() {
	l.t.Helper()
	l.poison("timeout", "upstream", map[string]any{"timeout": 0})
	l.poison("timeout", "downstream", map[string]any{"timeout": 0})
}

// limit ends each connection after so many bytes in one direction, "upstream"
// or "downstream".
func (l *line) limit(direction string, bytes int64) {
	l.t.Helper()
	l.poison("limit_data", direction, map[string]any{"bytes": bytes})
}

// slow delays what comes back and narrows what goes there, in KB/s.
func (l *line) slow(latencyMilliseconds, rate int64) {
	l.t.Helper()
	l.poison("latency", "downstream", map[string]any{"latency": latencyMilliseconds})
	l.poison("bandwidth", "upstream", map[string]any{"rate": rate})
}

func (l *line) poison(kind, direction string, attributes map[string]any) {
	l.t.Helper()
	l.ask(http.MethodPost, "/proxies/"+l.name+"/toxics", map[string]any{
		"name": kind + "_" + direction, "type": kind, "stream": direction, "toxicity": 1, "attributes": attributes,
	}, nil)
}

// mend ends everything that was done to the line, and the connections to which
// it was done.
func (l *line) mend() {
	l.t.Helper()
	var toxics []struct{ Name string }
	l.ask(http.MethodGet, "/proxies/"+l.name+"/toxics", nil, &toxics)
	if len(toxics) > 0 {
		l.cut()
	}
	for _, toxic := range toxics {
		l.ask(http.MethodDelete, "/proxies/"+l.name+"/toxics/"+toxic.Name, nil, nil)
	}
	l.enable(true)
}

// ask speaks to toxiproxy.
func (l *line) ask(method, path string, body, answer any) {
	l.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		l.t.Fatal(err)
	}
	request, err := http.NewRequest(method, l.url+path, bytes.NewReader(text))
	if err != nil {
		l.t.Fatal(err)
	}
	response, err := l.client.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	text, err = io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		l.t.Fatal(err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		l.t.Fatalf("toxiproxy: %s %s: %s: %s", method, path, response.Status, text)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			l.t.Fatalf("toxiproxy: %s %s: %v", method, path, err)
		}
	}
}
