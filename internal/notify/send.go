package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// newClient follows no redirect: the notification, and what the address knows as a
// secret, are for one host.
func newClient(pool *x509.CertPool) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
		},
	}
}

// connect makes the client, again when its authorities have changed.
func (n *Notifier) connect() error {
	text, err := n.config.authorities()
	if err != nil || n.client != nil && bytes.Equal(text, n.trusted) {
		return err
	}
	pool, err := n.config.pool(text)
	if err != nil {
		return err
	}
	if n.client != nil {
		n.client.CloseIdleConnections()
	}
	n.client, n.trusted = newClient(pool), text
	return nil
}

// attempt sends a notification once. An error that no further attempt would change
// is a backoff.PermanentError. None shows the address.
func (n *Notifier) attempt(ctx context.Context, note notification) error {
	ctx, cancel := context.WithTimeoutCause(ctx, n.config.AttemptTimeout, fmt.Errorf("no answer within %s", n.config.AttemptTimeout))
	defer cancel()
	target, err := n.config.target()
	if err != nil {
		return fmt.Errorf("notify.urlFile: %w", err)
	}
	key, err := n.config.key()
	if err != nil {
		return fmt.Errorf("notify.secretFile: %w", err)
	}
	if err := n.connect(); err != nil {
		return fmt.Errorf("notify.caFile: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(note.Body))
	if err != nil {
		return errors.New("the request cannot be made") // it has the URL in it
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "pipestreamer")
	request.Header.Set("Webhook-Id", note.ID)
	request.Header.Set("Webhook-Timestamp", now)
	if key != nil {
		request.Header.Set("Webhook-Signature", sign(key, note.ID, now, note.Body))
	}
	answer, err := n.client.Do(request)
	if err != nil {
		return hideAddress(ctx, err, target)
	}
	// What it says is not used; reading a little of it lets the connection live on.
	// Trouble with that changes nothing about the status.
	_, _ = io.CopyN(io.Discard, answer.Body, 4<<10)
	_ = answer.Body.Close()
	return judge(answer)
}

// judge says what the status of an answer means. Only an answer that is about this
// body is final: an address, a secret or a proxy may be mended meanwhile.
func judge(answer *http.Response) error {
	err := fmt.Errorf("the webhook answered %.100s", answer.Status)
	switch status := answer.StatusCode; status {
	case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return backoff.Permanent(err)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if seconds, errParse := strconv.Atoi(answer.Header.Get("Retry-After")); errParse == nil && seconds > 0 {
			return fmt.Errorf("%w: %w", err, backoff.RetryAfter(min(seconds, int(longestPause.Seconds()))))
		}
		return err
	default:
		if status >= 200 && status < 300 {
			return nil
		}
		if status >= 300 && status < 400 {
			return fmt.Errorf("%w: redirects are not followed; put the final URL into notify.urlFile", err)
		}
		return err
	}
}

// sign is the signature scheme v1 of Standard Webhooks.
func sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	// A hash never returns an error (package hash).
	_, _ = mac.Write([]byte(id + "." + timestamp + "."))
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// hideAddress takes the address out of an error: its path, and often its host, is
// what lets anybody write to the webhook.
func hideAddress(ctx context.Context, err error, target *url.URL) error {
	if outer, is := errors.AsType[*url.Error](err); is {
		err = outer.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	text := strings.NewReplacer(target.String(), "[webhook]", target.Host, "[webhook]", target.Hostname(), "[webhook]").Replace(err.Error())
	return errors.New("send to the webhook: " + text)
}
