package httpapi_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/httpapi"
)

// TestShared has looks at the store that last ten seconds.
func TestShared(t *testing.T) {
	tests := []struct {
		name string
		// patience of the ones who ask, in seconds; each comes a second after the other.
		patience []int
		// looks is how many there may be: of those who are left, chance says who looks.
		looks []int64
		took  time.Duration
		want  []string
	}{
		{"one look for all", []int{60, 60, 60}, []int64{1}, 10 * time.Second, []string{"found", "found", "found"}},
		{"the first leaves, another looks", []int{5, 60, 60}, []int64{2}, 15 * time.Second, []string{"gone", "found", "found"}},
		{"each leaves before the end of a look", []int{5, 5, 5}, []int64{2, 3}, 7 * time.Second, []string{"gone", "gone", "gone"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var shared httpapi.Shared[string]
				var looks atomic.Int64
				look := func(ctx context.Context) (string, error) {
					looks.Add(1)
					select {
					case <-time.After(10 * time.Second):
						return "found", nil
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				got := make([]string, len(test.patience))
				done, start := make(chan struct{}), time.Now()
				for i, patience := range test.patience {
					go func() {
						time.Sleep(time.Duration(i) * time.Second)
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience)*time.Second)
						defer cancel()
						text, err := shared.Do(ctx, "HXE", look)
						if errors.Is(err, context.DeadlineExceeded) {
							text = "gone"
						}
						got[i] = text
						done <- struct{}{}
					}()
				}
				for range test.patience {
					<-done
				}
				if diff := cmp.Diff(test.want, got); diff != "" || !slices.Contains(test.looks, looks.Load()) {
					t.Errorf("%d looks, expected %d (-want +got):\n%s", looks.Load(), test.looks, diff)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("it took %s, expected %s", took, test.took)
				}
			})
		})
	}
}
