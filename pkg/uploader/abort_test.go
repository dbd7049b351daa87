package uploader

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// stubborn is an object in the making that cannot be removed a number of times.
type stubborn struct{ times int }

var errStubborn = errors.New("403 Forbidden")

func (*stubborn) complete(context.Context) error { return errStubborn }

func (s *stubborn) discard(context.Context) error {
	if s.times--; s.times >= 0 {
		return errStubborn
	}
	return nil
}

// TestOneLeftKeepsNoOther has an upload that can never be removed beside others
// that could not be at first: those go at the next round, in whatever order they
// are taken.
func TestOneLeftKeepsNoOther(t *testing.T) {
	store, err := New(t.Context(), Config{Type: "local", Root: t.TempDir()}, zaptest.NewLogger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, times := range []int{1, 1 << 30, 1, 1, 1, 1, 1, 1, 1} {
		u, err := store.begin(t.Context(), fmt.Sprintf("k/%d", i), backup.UploadOptions{}, false)
		if err != nil {
			t.Fatal(err)
		}
		u.addSegment().hidden = &stubborn{times}
		if err := u.Abort(t.Context()); !errors.Is(err, errStubborn) {
			t.Fatalf("the first abort gave %v", err)
		}
	}
	err = store.AbortLeft(t.Context())
	if !errors.Is(err, errStubborn) || !strings.Contains(err.Error(), "k/1") {
		t.Errorf("the round gave %v", err)
	}
	var left []string
	store.left.Range(func(key, _ any) bool {
		left = append(left, key.(*upload).key)
		return true
	})
	if len(left) != 1 || left[0] != "k/1" {
		t.Errorf("left are %v", left)
	}
}
