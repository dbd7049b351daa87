package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// maxStartPause bounds the pause between two tries to start a job: a daemon that
// refuses logs each.
const maxStartPause = 15 * time.Second

// StartBackup asks for a backup. A repeated request with the same key starts
// nothing new; so, with a key, the client sends the request again for its
// StartPatience while the daemon is away, begins, ends or is asked too often.
func (c *Client) StartBackup(ctx context.Context, r job.BackupRequest, idempotencyKey string) (job.Record, error) {
	return c.start(ctx, "/v1/backups", r, idempotencyKey)
}

// StartRestore asks for a restore, as StartBackup does.
func (c *Client) StartRestore(ctx context.Context, r job.RestoreRequest, idempotencyKey string) (job.Record, error) {
	return c.start(ctx, "/v1/restores", r, idempotencyKey)
}

// StartVerification asks for a verification, as StartBackup does.
func (c *Client) StartVerification(ctx context.Context, r job.VerificationRequest, idempotencyKey string) (job.Record, error) {
	return c.start(ctx, "/v1/verifications", r, idempotencyKey)
}

// StartProbe asks for a probe, as StartBackup does.
func (c *Client) StartProbe(ctx context.Context, r job.ProbeRequest, idempotencyKey string) (job.Record, error) {
	return c.start(ctx, "/v1/probes", r, idempotencyKey)
}

func (c *Client) start(ctx context.Context, path string, body any, key string) (job.Record, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return job.Record{}, fmt.Errorf("encode the request: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	send := func() (job.Record, error) { return call[job.Record](ctx, c, http.MethodPost, path, header, text) }
	if key == "" {
		return send()
	}
	header.Set("Idempotency-Key", key)
	record, err := send()
	if err == nil || ctx.Err() != nil || !mayPass(err) {
		return record, err
	}
	until := time.Now().Add(c.options.StartPatience)
	c.lost(err, until)
	for pause := c.options.Pause; mayPass(err); pause = min(2*pause, maxStartPause) {
		left := time.Until(until)
		if left <= 0 {
			return record, fmt.Errorf("tried for %s: %w", c.options.StartPatience, err)
		}
		if sleep(ctx, min(pause, left)) != nil {
			return record, err
		}
		record, err = send()
	}
	return record, err
}

// mayPass says whether the same request may be answered otherwise later: nobody has
// answered it, or somebody who takes none now. Who is not trusted, or does not trust
// the client, stays so.
func mayPass(err error) bool {
	if p, answered := errors.AsType[*Problem](err); answered {
		switch p.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if errors.Is(err, fs.ErrPermission) { // of the socket
		return false
	}
	if op, is := errors.AsType[*net.OpError](err); is {
		return op.Op != "remote error" // an alert of TLS
	}
	timeout, is := errors.AsType[net.Error](err)
	return is && timeout.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// sleep returns the cause of the end of ctx when that comes first.
func sleep(ctx context.Context, d time.Duration) error {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-pause.C:
		return nil
	}
}
