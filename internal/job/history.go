package job

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// historyLength bounds the history of a job. What comes first explains what
// comes later, and what comes last is the end: when there are more, the first
// historyHead and the last ones are kept.
const (
	historyLength = 200
	historyHead   = 100
)

// Event is one thing that happened in a job. The events of a job that failed
// tell who stopped first.
type Event struct {
	At time.Time `json:"at"`
	// Side is who did it.
	Side Side `json:"side"`
	// Stream is "<volume>_<part>", empty when it concerns the whole job.
	Stream string `json:"stream,omitempty"`
	// Bytes of the stream had passed by then.
	Bytes int64  `json:"bytes,omitempty"`
	Text  string `json:"text"`
}

// note adds an event of the whole job to the history.
func (j *live) note(side Side, format string, args ...any) {
	j.append(Event{Side: side, Text: fmt.Sprintf(format, args...)})
}

// noteStream adds an event of one stream, with its position.
func (j *live) noteStream(side Side, id backup.StreamID, c *counter, format string, args ...any) {
	j.append(Event{Side: side, Stream: id.String(), Bytes: c.bytes.Load(), Text: fmt.Sprintf(format, args...)})
}

// noteFailure adds a failure to the history, in the words of its error.
func (j *live) noteFailure(e *Error) {
	event := Event{Side: sideOf(e.Code), Stream: e.Stream, Text: e.Message}
	j.update(func(r *Record) {
		for i := range r.Streams {
			if r.Streams[i].String() == e.Stream && i < len(j.counters) {
				event.Bytes = j.counters[i].bytes.Load()
			}
		}
	})
	j.append(event)
}

func (j *live) append(e Event) {
	e.At, e.Text = time.Now().UTC(), shorten(e.Text)
	j.update(func(r *Record) {
		if len(r.History) < historyLength {
			r.History = append(r.History, e)
			return
		}
		if j.omitted == 0 {
			j.omitted = 1 // the one in whose place the gap is told
		}
		j.omitted++
		gap := Event{At: r.History[historyHead+1].At, Side: SideDaemon, Text: fmt.Sprintf("%d events are left out here", j.omitted)}
		// A new array: what is in the old one belongs to snapshots, too.
		r.History = slices.Concat(r.History[:historyHead], []Event{gap}, r.History[historyHead+2:], []Event{e})
	})
}

// shorten leaves out the middle of a long text: HANA's errors begin with what
// failed and end with why. The whole text is in the error of the job.
func shorten(text string) string {
	const head, tail = 200, 80
	if runes := []rune(text); len(runes) > head+tail {
		return string(runes[:head]) + " … " + string(runes[len(runes)-tail:])
	}
	return text
}

// trouble follows the errors of the store that one stream lives through.
type trouble struct {
	mu    sync.Mutex
	since time.Time // zero while the store works
	last  string
}

// hear takes an error, or nil when the store works again. It reports the start
// of trouble, and its end with the time that it took.
func (t *trouble) hear(err error) (began bool, lasted time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.last = err.Error()
		if !t.since.IsZero() {
			return false, 0
		}
		t.since = time.Now().UTC()
		return true, 0
	}
	if t.since.IsZero() {
		return false, 0
	}
	lasted = max(time.Since(t.since), 1)
	t.since, t.last = time.Time{}, ""
	return false, lasted
}

// text is what the store said last, empty while it works.
func (t *trouble) text() string {
	text, _ := t.now()
	return text
}

// now is that, and since when the store fails.
func (t *trouble) now() (text string, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.since
}
