package notify

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWatch(t *testing.T) {
	hook := startWebhook(t)
	s := newSet(t, hook.URL, nil)
	run(t, s.Notifier)
	ctx, cancel := context.WithCancel(t.Context())
	looks := make(chan map[string]string)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.Watch(ctx, time.Millisecond, func() map[string]string {
			select {
			case now := <-looks:
				return now
			case <-ctx.Done():
				return nil
			}
		})
	}()
	for _, now := range []map[string]string{{"A": "", "B": "gap"}, {"A": "", "B": "two gaps"}, {"A": "away", "B": ""}, {"B": ""}} {
		looks <- now
	}
	eventually(t, "four notifications", func() bool { return len(hook.got()) == 4 })
	cancel()
	<-watched
	var got []string
	for _, r := range hook.got() {
		var e Event
		if err := errors.Join(json.Unmarshal(r.Body, &e)); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Type+" "+e.Data.Database+" "+e.Data.Message)
	}
	want := []string{"logs.trouble B gap", "logs.trouble A away", "logs.recovered B ", "logs.recovered A "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
