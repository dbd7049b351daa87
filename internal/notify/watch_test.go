package notify

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watching has a Notifier watch what is sent to looks.
func watching(t *testing.T, n *Notifier) (looks chan<- map[string]string, told <-chan []string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	now, names, watched := make(chan map[string]string), make(chan []string, 100), make(chan struct{})
	go func() {
		defer close(watched)
		n.Watch(ctx, time.Millisecond, func(troubled []string) map[string]string {
			select {
			case look := <-now:
				names <- troubled
				return look
			case <-ctx.Done():
				return nil
			}
		})
	}()
	return now, names, func() { cancel(); <-watched }
}

// told are the events that a webhook got.
func told(t *testing.T, hook *webhook) []string {
	t.Helper()
	var got []string
	for _, r := range hook.got() {
		var e Event
		if err := json.Unmarshal(r.Body, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Type+" "+e.Data.Database+" "+e.Data.Message)
	}
	return got
}

func TestWatch(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, nil)
	run(t, s.Notifier)
	looks, _, stop := watching(t, s.Notifier)
	for _, now := range []map[string]string{{"A": "", "B": "gap"}, {"A": "", "B": "two gaps"}, {"A": "away"}, {"B": ""}, {"A": "", "B": ""}} {
		looks <- now
	}
	want := []string{"logs.trouble B gap", "logs.trouble A away", "logs.recovered B ", "logs.recovered A "}
	eventually(t, "four notifications", func() bool { return len(hook.got()) == len(want) })
	stop()
	if diff := cmp.Diff(want, told(t, hook)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What one process has told, the next one knows: the end is told, once, and what
// lasts is not told again.
func TestWatchOverRestarts(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, nil)
	var want []string
	for i, process := range []struct {
		looks []map[string]string
		told  []string // by earlier processes
		want  []string
	}{
		{looks: []map[string]string{{"A": "gap", "": "no directory"}}, want: []string{"logs.trouble  no directory", "logs.trouble A gap"}},
		{looks: []map[string]string{{}, {"A": "two gaps"}}, told: []string{"", "A"}},
		{looks: []map[string]string{{}, {"A": ""}}, told: []string{"", "A"}, want: []string{"logs.recovered A "}},
		{looks: []map[string]string{{"A": "", "": ""}}, told: []string{""}, want: []string{"logs.recovered  "}},
		{looks: []map[string]string{{"A": ""}}},
	} {
		n := s.open(t)
		end := run(t, n)
		looks, names, stop := watching(t, n)
		for _, look := range process.looks {
			looks <- look
		}
		looks <- nil // it has dealt with the last one
		if got := <-names; !slices.Equal(got, process.told) {
			t.Errorf("process %d knows of %q, expected %q", i, got, process.told)
		}
		want = append(want, process.want...)
		eventually(t, "its notifications", func() bool { return len(hook.got()) >= len(want) })
		stop()
		end()
	}
	got := told(t, hook)
	slices.Sort(got[:2]) // both are of one look
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What nobody was told, because logs.trouble is not in notify.on, is told when it is.
func TestWatchTellsWhatWasNotTold(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, func(c *Config) { c.On = []string{JobFailed} })
	for _, want := range []int{0, 1} {
		n := s.open(t)
		end := run(t, n)
		looks, _, stop := watching(t, n)
		looks <- map[string]string{"A": "gap"}
		looks <- nil
		eventually(t, "its notifications", func() bool { return len(hook.got()) >= want })
		stop()
		end()
		if got := told(t, hook); len(got) != want {
			t.Errorf("told %q", got)
		}
		s.config.On = Types()
	}
}
