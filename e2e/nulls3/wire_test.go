package nulls3_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
)

// counting is content whose bytes are the low bits of their offset.
type counting struct{}

func (counting) ReadAt(p []byte, offset int64) (int, error) {
	for n := range p {
		p[n] = byte(offset + int64(n))
	}
	return len(p), nil
}

func TestContentOfWhatWasThrownAway(t *testing.T) {
	t.Parallel()
	_, c := start(t, nulls3.Options{Content: counting{}})
	const size = nulls3.KeptSize + 10
	if status, _, _ := c.ask(http.MethodPut, "/bucket/big", bytes.NewReader(make([]byte, size)), "X-Amz-Meta-Mtime", "1.5"); status != http.StatusOK {
		t.Fatalf("PUT gave %d", status)
	}
	status, header, text := c.ask(http.MethodGet, "/bucket/big", nil)
	if status != http.StatusOK || len(text) != size || text[300] != 300%256 {
		t.Errorf("GET gave %d, %d bytes", status, len(text))
	}
	if got := header.Get("X-Amz-Meta-Mtime"); got != "1.5" {
		t.Errorf("the object has the metadata %q, expected 1.5", got)
	}
	status, _, text = c.ask(http.MethodGet, "/bucket/big", nil, "Range", "bytes=1000-1002")
	if want := string([]byte{1000 % 256, 1001 % 256, 1002 % 256}); status != http.StatusPartialContent || text != want {
		t.Errorf("GET of a range gave %d, %q, expected %q", status, text, want)
	}
}

func TestMetadataOfMultipart(t *testing.T) {
	t.Parallel()
	_, c := start(t, nulls3.Options{})
	_, _, text := c.ask(http.MethodPost, "/bucket/x?uploads", nil, "X-Amz-Meta-Mtime", "2.5")
	_, after, _ := strings.Cut(text, "<UploadId>")
	id, _, _ := strings.Cut(after, "<")
	_, etag := c.part("/bucket/x", id, 1, 10)
	if status, text := c.complete("/bucket/x", id, []string{etag}); status != http.StatusOK {
		t.Fatalf("complete gave %d, %s", status, text)
	}
	if _, header, _ := c.ask(http.MethodHead, "/bucket/x", nil); header.Get("X-Amz-Meta-Mtime") != "2.5" {
		t.Errorf("HEAD gave %v", header)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	// The standard library's test server has a certificate.
	other := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	server, err := nulls3.Start(t.Context(), nulls3.Options{TLS: &tls.Config{Certificates: other.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	transport := other.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	c := client{t, &http.Client{Transport: transport}, server.URL()}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if !strings.HasPrefix(server.URL(), "https://") {
		t.Errorf("its URL is %s", server.URL())
	}
	if status, _, _ := c.ask(http.MethodPut, "/bucket/a", strings.NewReader("0123456789")); status != http.StatusOK {
		t.Errorf("PUT gave %d", status)
	}
	if status, _, text := c.ask(http.MethodGet, "/bucket/a", nil); status != http.StatusOK || text != "0123456789" {
		t.Errorf("GET gave %d, %q", status, text)
	}
}

// A connection takes the time that its rate says, in both
// directions. That it does not take much longer is for the benchmarks to see.
func TestRate(t *testing.T) {
	t.Parallel()
	const rate, size = 20 << 20, 4 << 20 // 200 ms
	_, c := start(t, nulls3.Options{Rate: rate, Content: counting{}})
	began := time.Now()
	if status, _, _ := c.ask(http.MethodPut, "/bucket/big", bytes.NewReader(make([]byte, size))); status != http.StatusOK {
		t.Fatalf("PUT gave %d", status)
	}
	sent := time.Now()
	if status, _, text := c.ask(http.MethodGet, "/bucket/big", nil); status != http.StatusOK || len(text) != size {
		t.Errorf("GET gave %d, %d bytes", status, len(text))
	}
	// The sockets hold some of it when the last byte was written.
	const least = size * time.Second / rate * 3 / 4
	if up, down := sent.Sub(began), time.Since(sent); up < least || down < least {
		t.Errorf("4 MiB at 20 MiB/s took %s up and %s down, expected at least %s", up, down, least)
	}
}
