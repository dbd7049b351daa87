package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// silence is how long an event stream may send nothing, not even a heartbeat,
// before it counts as dead.
const silence = time.Minute

// Follow calls seen for each record of a job until it has ended, and returns
// the last. A broken connection is opened again, and where events do not get
// through, it asks for the record in intervals. It gives up when ctx ends, when
// the daemon does not answer for the client's patience, or when it refuses for
// another reason than being asked too often.
func (c *Client) Follow(ctx context.Context, id string, seen func(job.Record)) (job.Record, error) {
	contact := contact{client: c}
	heard := func(r job.Record) {
		contact.lost = time.Time{}
		seen(r)
	}
	for {
		last, err := c.followOnce(ctx, id, heard)
		if err == nil {
			return last, nil
		}
		asked := time.Now()
		last, err = c.jobSoon(ctx, id)
		if err == nil {
			heard(last)
			if last.State.Terminal() {
				return last, nil
			}
		}
		if ctx.Err() != nil {
			return last, context.Cause(ctx)
		}
		if err != nil {
			if err := contact.failed(err, asked); err != nil {
				return last, fmt.Errorf("follow job %s: %w", id, err)
			}
		}
		if err := sleep(ctx, c.options.Pause); err != nil {
			return last, err
		}
	}
}

// jobSoon is Job for who has not heard of it for long enough.
func (c *Client) jobSoon(ctx context.Context, id string) (job.Record, error) {
	ctx, cancel := withPatience(ctx, silence)
	defer cancel()
	return c.Job(ctx, id)
}

// contact knows since when the daemon does not answer.
type contact struct {
	client *Client
	lost   time.Time // zero while it answers
}

// failed takes err, which came instead of an answer to what was asked at a time, and
// returns the error that ends the following, or nil to try again.
func (c *contact) failed(err error, asked time.Time) error {
	if p, refused := errors.AsType[*Problem](err); refused && p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests {
		return err
	}
	patience := c.client.options.Patience
	if c.lost.IsZero() {
		c.lost = asked
		c.client.lost(err, c.lost.Add(patience))
	}
	if time.Since(c.lost) <= patience {
		return nil
	}
	return fmt.Errorf("no answer for %s: %w", patience, err)
}

// followOnce reads one event stream; nil means that the record is terminal.
func (c *Client) followOnce(ctx context.Context, id string, seen func(job.Record)) (last job.Record, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	response, err := c.send(ctx, http.MethodGet, "/v1/jobs/"+url.PathEscape(id)+"/events", nil, nil)
	if err != nil {
		return last, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return last, fmt.Errorf("the event stream broke off: %w", err)
		}
		watchdog.Reset(silence)
		data, isData := strings.CutPrefix(line, "data:")
		if !isData {
			continue
		}
		var record job.Record
		if err := json.Unmarshal([]byte(data), &record); err != nil {
			return last, fmt.Errorf("decode an event: %w", err)
		}
		last = record
		seen(last)
		if last.State.Terminal() {
			return last, nil
		}
	}
}
