package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// connectTimeout is how long it may take to connect, and again to agree on TLS.
	connectTimeout = 10 * time.Second
	// requestTimeout is how long an answer may take, to its last byte; an event stream
	// has none. The daemon itself gives up before.
	requestTimeout = 2 * time.Minute
)

// Token gives the bearer token. It is asked for each request, so a token that is
// rotated, as Kubernetes does it, is always the newest.
type Token func() (string, error)

// ClientOptions say where the daemon is.
type ClientOptions struct {
	// Socket is the path of its Unix socket; used unless URL is set.
	Socket string
	// URL is its address, for example "https://hana:8443".
	URL string
	// TLS is for an https URL; nil means Go's defaults.
	TLS *tls.Config
	// Token gives the bearer token, nil for none.
	Token Token
	// Patience is how long Follow bears a daemon that does not answer. Default
	// 5 min.
	Patience time.Duration
	// StartPatience is how long a request for a job that has an idempotency key is
	// sent again. Default 20 min: a pod that is moved first waits for its jobs and
	// for HANA's end, 18 min in deploy/k8s.
	StartPatience time.Duration
	// Pause is the time between Follow's attempts, and the first one between
	// those to start a job. Default 1 s.
	Pause time.Duration
}

// Client talks to a daemon. Errors that the daemon reports are *[Problem].
type Client struct {
	base    string
	options ClientOptions
	http    *http.Client
	lost    func(err error, until time.Time)
}

// NewClient returns a client. Nothing is sent yet.
func NewClient(options ClientOptions) (*Client, error) {
	if options.Patience <= 0 {
		options.Patience = 5 * time.Minute
	}
	if options.StartPatience <= 0 {
		options.StartPatience = 20 * time.Minute
	}
	if options.Pause <= 0 {
		options.Pause = time.Second
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout, IdleConnTimeout: 30 * time.Second, TLSClientConfig: options.TLS,
	}
	c := &Client{
		base: "http://pipestreamer", options: options, http: &http.Client{Transport: transport},
		lost: func(error, time.Time) {},
	}
	if options.URL == "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", options.Socket)
		}
		return c, nil
	}
	address, err := url.Parse(options.URL)
	switch {
	case err != nil || address.User != nil: // it may have a password in it, so it is not shown
		return nil, errors.New("URL: expected http://host:port or https://host:port, without a user: a token comes from a file")
	case address.Host == "" || (address.Scheme != "http" && address.Scheme != "https"):
		return nil, fmt.Errorf("URL %q: expected http://host:port or https://host:port", options.URL)
	}
	c.base = strings.TrimSuffix(options.URL, "/")
	return c, nil
}

// OnLost sets what is called each time that the daemon begins not to answer, or
// not to take a request for a job: with the error, and the time until which the
// client tries again. Nothing may be under way.
func (c *Client) OnLost(tell func(err error, until time.Time)) { c.lost = tell }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Jobs returns the jobs that the daemon knows, newest first.
func (c *Client) Jobs(ctx context.Context) ([]job.Record, error) {
	list, err := call[jobList](ctx, c, http.MethodGet, "/v1/jobs", nil, nil)
	return list.Jobs, err
}

// Job returns one job.
func (c *Client) Job(ctx context.Context, id string) (job.Record, error) {
	return call[job.Record](ctx, c, http.MethodGet, "/v1/jobs/"+url.PathEscape(id), nil, nil)
}

// Cancel asks a job to end.
func (c *Client) Cancel(ctx context.Context, id string) error {
	_, err := call[job.Record](ctx, c, http.MethodDelete, "/v1/jobs/"+url.PathEscape(id), nil, nil)
	return err
}

// Backups lists the backups of a database, or of all.
func (c *Client) Backups(ctx context.Context, database string) (job.BackupList, error) {
	return call[job.BackupList](ctx, c, http.MethodGet, "/v1/backups?"+url.Values{"database": {database}}.Encode(), nil, nil)
}

// Backup returns the manifest of one backup, by id or "latest".
func (c *Client) Backup(ctx context.Context, database, id string) (*backup.Manifest, error) {
	path := "/v1/backups/" + url.PathEscape(id) + "?" + url.Values{"database": {database}}.Encode()
	return call[*backup.Manifest](ctx, c, http.MethodGet, path, nil, nil)
}

// Logs tells how far the shipping of log backups is, by database, and what keeps
// them from being found, if anything does.
func (c *Client) Logs(ctx context.Context) (LogList, error) {
	return call[LogList](ctx, c, http.MethodGet, "/v1/logs", nil, nil)
}

// Recovery says to which points a database can be restored.
func (c *Client) Recovery(ctx context.Context, database string) (job.Recovery, error) {
	return call[job.Recovery](ctx, c, http.MethodGet, "/v1/recovery?"+url.Values{"database": {database}}.Encode(), nil, nil)
}

// Bandwidth tells the bandwidth limit of the store.
func (c *Client) Bandwidth(ctx context.Context) (Bandwidth, error) {
	return call[Bandwidth](ctx, c, http.MethodGet, "/v1/bandwidth", nil, nil)
}

// SetBandwidth changes the bandwidth limit of the store and returns what holds
// then.
func (c *Client) SetBandwidth(ctx context.Context, limit string) (Bandwidth, error) {
	text, err := json.Marshal(map[string]string{"limit": limit})
	if err != nil {
		return Bandwidth{}, fmt.Errorf("encode the request: %w", err)
	}
	return call[Bandwidth](ctx, c, http.MethodPut, "/v1/bandwidth", http.Header{"Content-Type": {"application/json"}}, text)
}

// withPatience ends ctx after d, with the reason.
func withPatience(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %s: %w", d, context.DeadlineExceeded))
}

// call sends a request and decodes the answer.
func call[T any](ctx context.Context, c *Client, method, path string, header http.Header, body []byte) (result T, err error) {
	ctx, cancel := withPatience(ctx, requestTimeout)
	defer cancel()
	response, err := c.send(ctx, method, path, header, body)
	if err != nil {
		return result, err
	}
	err = json.NewDecoder(response.Body).Decode(&result)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return result, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return result, nil
}

// send returns a response with a status below 300; its body is the caller's to
// close.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	if c.options.Token != nil {
		token, err := c.options.Token()
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// Whoever asks knows the address, and that of a socket is made up.
		if inner, is := errors.AsType[*url.Error](err); is {
			err = inner.Err
		}
		return nil, fmt.Errorf("reach the daemon: %w", err)
	}
	if response.StatusCode < http.StatusMultipleChoices {
		return response, nil
	}
	p := &Problem{Status: response.StatusCode, Title: response.Status}
	if response.Header.Get("Content-Type") == problemMediaType {
		if err := json.NewDecoder(response.Body).Decode(p); err != nil {
			p.Detail = "its reason could not be read: " + err.Error()
		}
	} else {
		p.Detail = textOf(response)
	}
	return nil, errors.Join(p, response.Body.Close())
}

// textOf is the first line of an answer that is none of the daemon's handlers,
// but of net/http, a proxy, or something else, after its status.
func textOf(response *http.Response) string {
	const most = 200
	text, err := io.ReadAll(io.LimitReader(response.Body, most))
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if err != nil || line == "" || strings.HasPrefix(line, "<") {
		return response.Status
	}
	return response.Status + ": " + line
}
