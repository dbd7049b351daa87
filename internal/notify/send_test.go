package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestSigned computes the signature as a receiver would.
func TestSigned(t *testing.T) {
	hook := startWebhook(t)
	key := []byte("0123456789abcdef0123456789abcdef")
	s := newSet(t, hook.URL, func(c *Config) { c.ReadSecret = fixed("whsec_" + base64.StdEncoding.EncodeToString(key)) })
	before := time.Now().Unix()
	run(t, s.Notifier)
	s.Tell(failedJob())
	eventually(t, "a request", func() bool { return len(hook.got()) == 1 })
	got := hook.got()[0]
	mac := hmac.New(sha256.New, key)
	if _, err := fmt.Fprintf(mac, "%s.%s.%s", got.ID, got.Timestamp, got.Body); err != nil {
		t.Fatal(err)
	}
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); got.Signature != want {
		t.Errorf("signature %q, expected %q", got.Signature, want)
	}
	if at, err := strconv.ParseInt(got.Timestamp, 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("timestamp %q", got.Timestamp)
	}
	if !strings.HasPrefix(got.ID, "msg_") || got.Path != pathCanary {
		t.Errorf("id %q, path %q", got.ID, got.Path)
	}
	var event Event
	if err := json.Unmarshal(got.Body, &event); err != nil {
		t.Fatal(err)
	}
	want := failedJob()
	want.Data.SID = "HXE"
	if diff := cmp.Diff(want, event); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// TestSignatureOfTheSpecification checks against the test vector that the libraries
// of Standard Webhooks share.
func TestSignatureOfTheSpecification(t *testing.T) {
	c := Config{ReadSecret: fixed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}
	key, err := c.key()
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

func TestRetryAfter(t *testing.T) {
	hook := startWebhook(t, http.StatusTooManyRequests)
	hook.header.Set("Retry-After", "1")
	s := newSet(t, hook.URL, nil)
	run(t, s.Notifier)
	began := time.Now()
	s.Tell(failedJob())
	eventually(t, "the second attempt", func() bool { return len(hook.got()) == 2 })
	if took := time.Since(began); took < time.Second {
		t.Errorf("tried again after %s, expected not before 1 s", took)
	}
}

// TestAddressIsSecret lets everything fail that has the address in its hands.
func TestAddressIsSecret(t *testing.T) {
	closed := startWebhook(t)
	closed.Close()
	elsewhere := startWebhook(t)
	moved := startWebhook(t, 307, 307)
	moved.header.Set("Location", elsewhere.URL+"/other-canary")
	for name, url := range map[string]string{
		"nobody listens": closed.URL, "no such host": "https://hook-canary.invalid", "no TLS there": strings.Replace(startWebhook(t).URL, "http:", "https:", 1),
		"redirect": moved.URL, "with a password": strings.Replace(closed.URL, "http://", "http://user:password-canary@", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t, url, nil)
			stop := run(t, s.Notifier)
			s.Tell(failedJob())
			eventually(t, "it is tried", func() bool { return testutil.ToFloat64(s.metrics.failed) > 0 })
			stop()
			if text := s.logged(); strings.Contains(text, "canary") || strings.Contains(text, "127.0.0.1") {
				t.Errorf("the log shows the address:\n%s", text)
			}
		})
	}
	if got := elsewhere.got(); len(got) > 0 {
		t.Errorf("a redirect was followed: %+v", got)
	}
}

// TestStatusIsBounded: what a webhook answers goes to the log.
func TestStatusIsBounded(t *testing.T) {
	err := judge(&http.Response{StatusCode: http.StatusTeapot, Status: "418 " + strings.Repeat("x", 1<<16)})
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
