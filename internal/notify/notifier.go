package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"go.uber.org/zap"
)

const (
	// mostIncoming is how many may be made while the directory does not take them,
	// and mostQueued how many may wait for the webhook.
	mostIncoming = 256
	mostQueued   = 1000
	// longestPause is the longest time between two attempts.
	longestPause = 5 * time.Minute
)

// Notifier sends events to one webhook, in order. It is safe for concurrent use.
type Notifier struct {
	config  Config
	client  *http.Client // of the one attempt at a time; nil before the first
	trusted []byte       // what its authorities were made of
	log     *zap.Logger
	metrics *Metrics

	incoming chan notification

	mu     sync.Mutex
	queue  []notification
	more   chan struct{} // has a token when the queue may have grown
	failed bool          // the webhook has not taken the last one
}

// notification is an event on its way.
type notification struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Made time.Time `json:"made"`
	Body []byte    `json:"body,omitempty"`
	// Event is what Body is still to be made of: the template could not be used.
	Event *Event `json:"event,omitempty"`
}

// New checks config.On and takes up what an earlier process has not delivered, if the
// directory can be used; that is logged. It sends nothing before Run. Files that
// cannot be used are no error: notifications wait for them, see Config.Problems.
func New(config Config, log *zap.Logger, metrics *Metrics) (*Notifier, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	n := &Notifier{
		config: config, log: log.Named("notify"), metrics: metrics, incoming: make(chan notification, mostIncoming), more: make(chan struct{}, 1),
	}
	var err error
	if n.queue, err = load(config.Directory, n.log); err != nil {
		// HANA does not start beside a daemon that does not, and needs no webhook.
		n.log.Error("what earlier processes have not delivered cannot be read; what this one does not deliver is lost when it ends", zap.Error(err))
	}
	n.count()
	return n, nil
}

// Tell has an event sent, if it is of a type that is told, says whether it will be,
// and never waits. When too many wait already it is dropped, logged and counted. What
// is told before Run is sent by Run, and what is told after Run has returned never.
func (n *Notifier) Tell(e Event) bool {
	if e.Type == JobRecovered && !slices.Contains(n.config.On, JobRecovered) {
		e.Type = JobSucceeded
	}
	if !slices.Contains(n.config.On, e.Type) {
		return false
	}
	e.Data.SID = n.config.SID
	id, err := uuid.NewV7()
	if err != nil {
		n.drop(notification{Type: e.Type}, droppedOverflow, err)
		return false
	}
	note := notification{ID: "msg_" + id.String(), Type: e.Type, Made: time.Now(), Event: &e}
	select {
	case n.incoming <- note:
		return true
	default:
		n.drop(note, droppedOverflow, errors.New("too many wait to be written down"))
		return false
	}
}

// Run sends until ctx ends, then for Config.Grace at most what is still there. What
// is left then stays in the directory, for the next process.
func (n *Notifier) Run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	taken, delivered := make(chan struct{}), make(chan struct{})
	all.Go(func() {
		defer close(taken)
		n.takeIn(ctx)
	})
	all.Go(func() {
		defer close(delivered)
		n.deliverAll(sending, taken)
	})
	<-ctx.Done()
	grace := time.NewTimer(n.config.Grace)
	defer grace.Stop()
	select {
	case <-delivered:
	case <-grace.C:
	}
	stop()
	all.Wait()
	if n.client != nil {
		n.client.CloseIdleConnections()
	}
}

// takeIn writes down what is told. After the end of ctx it takes what is there.
func (n *Notifier) takeIn(ctx context.Context) {
	for {
		select {
		case note := <-n.incoming:
			n.enqueue(note)
		case <-ctx.Done():
			for {
				select {
				case note := <-n.incoming:
					n.enqueue(note)
				default:
					return
				}
			}
		}
	}
}

func (n *Notifier) enqueue(note notification) {
	if err := n.compose(&note); errors.Is(err, errTemplate) {
		n.drop(note, droppedTemplate, err)
		return
	}
	n.mu.Lock()
	full := len(n.queue) >= mostQueued
	n.mu.Unlock()
	if full {
		n.drop(note, droppedOverflow, fmt.Errorf("%d wait already", mostQueued))
		return
	}
	if err := save(n.config.Directory, note); err != nil {
		n.log.Warn("a notification is lost if the daemon ends before it has arrived", zap.String("type", note.Type), zap.Error(err))
	}
	n.mu.Lock()
	n.queue = append(n.queue, note)
	n.mu.Unlock()
	n.count()
	n.wake()
}

func (n *Notifier) wake() {
	select {
	case n.more <- struct{}{}:
	default:
	}
}

func (n *Notifier) count() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.metrics.queued.Set(float64(len(n.queue)))
}

// first is the oldest notification.
func (n *Notifier) first() (notification, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) == 0 {
		return notification{}, false
	}
	return n.queue[0], true
}

// deliverAll sends one after the other until ctx ends, or nothing is left and taken
// says that nothing more comes.
func (n *Notifier) deliverAll(ctx context.Context, taken <-chan struct{}) {
	for ctx.Err() == nil {
		if note, there := n.first(); there {
			if n.deliver(ctx, note) {
				n.forget(note)
			}
			continue
		}
		select {
		case <-n.more:
		case <-taken:
			if _, there := n.first(); !there {
				return
			}
		case <-ctx.Done():
		}
	}
}

// deliver sends one until it has arrived or there is no sense in it any more, and
// says whether that was so. It is not when ctx has ended.
func (n *Notifier) deliver(ctx context.Context, note notification) (done bool) {
	limit, cancel := context.WithDeadlineCause(ctx, note.Made.Add(n.config.Patience), errExpired)
	defer cancel()
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = n.config.Pause, longestPause
	var last error
	_, err := backoff.Retry(limit, func() (struct{}, error) {
		if last = n.compose(&note); last == nil {
			last = n.attempt(limit, note)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, pause time.Duration) {
		n.metrics.failed.Inc()
		if !n.failed {
			n.failed = true
			n.log.Warn("the webhook does not take notifications; trying again", zap.String("type", note.Type), zap.Duration("wait", pause), zap.Error(err))
		}
	}))
	switch {
	case err == nil:
		n.metrics.sent.Inc()
		if n.failed {
			n.log.Info("the webhook takes notifications again")
		}
		n.failed = false
		n.log.Debug("notification sent", zap.String("type", note.Type), zap.String("id", note.ID))
	case ctx.Err() != nil:
		return false
	case limit.Err() != nil:
		n.drop(note, droppedExpired, errors.Join(errExpired, last))
	case errors.Is(err, errTemplate):
		n.drop(note, droppedTemplate, err)
	default:
		n.metrics.failed.Inc()
		n.drop(note, droppedRefused, err)
	}
	return true
}

// compose makes the body, which then stays the same for all attempts. A template that
// cannot be used may be mended; one that makes no JSON of this event is errTemplate.
func (n *Notifier) compose(note *notification) error {
	if note.Event == nil {
		return nil
	}
	t, err := n.config.template()
	if err != nil {
		return fmt.Errorf("notify.template: %w", err)
	}
	body, err := render(t, *note.Event)
	if err != nil {
		return backoff.Permanent(fmt.Errorf("%w: %w", errTemplate, err))
	}
	note.Body, note.Event = body, nil
	return nil
}

var errTemplate = errors.New("notify.template")

var errExpired = errors.New("it did not arrive in time")

func (n *Notifier) forget(note notification) {
	if err := remove(n.config.Directory, note); err != nil {
		n.log.Warn("a notification that is done stays in the state directory", zap.Error(err))
	}
	n.mu.Lock()
	n.queue = n.queue[1:]
	n.mu.Unlock()
	n.count()
}

func (n *Notifier) drop(note notification, reason string, err error) {
	n.metrics.dropped.WithLabelValues(reason).Inc()
	n.log.Error("a notification is dropped", zap.String("type", note.Type), zap.String("reason", reason), zap.Error(err))
}
