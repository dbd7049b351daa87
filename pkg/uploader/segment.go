package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// hidden is an object in the making that nobody can see at its key.
type hidden interface {
	// complete makes it visible. It may be called again after an error.
	complete(ctx context.Context) error
	// discard removes it. It may be called again, and when nothing is left.
	discard(ctx context.Context) error
}

// errNotShown passes: some stores need a moment.
var errNotShown = errors.New("the store does not show what it has acknowledged")

// segment is one object of a stream.
type segment struct {
	store  *Store
	object backup.Object
	hidden hidden
	// tried is set before the first complete: from then on an object at the
	// key may be ours. visible is set when it is known to be.
	tried, visible bool
	// checked is set when the store has shown the right size.
	checked bool
	// gone is set when nothing is left.
	gone bool
}

// addSegment appends the next segment of u.
func (u *upload) addSegment() *segment {
	u.mu.Lock()
	defer u.mu.Unlock()
	seg := &segment{store: u.store, object: backup.Object{Key: backup.SegmentKey(u.key, len(u.segments)+1)}}
	u.segments = append(u.segments, seg)
	return seg
}

// checkFree refuses a key that holds an object which is not ours.
func (g *segment) checkFree(ctx context.Context) error {
	if g.visible {
		return nil
	}
	exists, ours, err := g.look(ctx)
	switch {
	case err != nil:
		return err
	case exists && !ours:
		return fmt.Errorf("%s: %w", g.object.Key, backup.ErrExists)
	default:
		return nil
	}
}

// commit makes g visible and compares the size that the store shows.
func (g *segment) commit(ctx context.Context) error {
	if g.checked {
		return nil
	}
	if !g.visible {
		if err := g.store.retry(ctx, "commit", g.store.cfg.OutageTolerance, g.complete); err != nil {
			return err
		}
		g.visible = true
	}
	return g.checkSize(ctx)
}

// complete tries once. An answer may be lost although the store did its work:
// then the object is there and ours.
func (g *segment) complete(ctx context.Context) error {
	if g.tried {
		if _, ours, err := g.look(ctx); err != nil || ours {
			return err
		}
	}
	g.tried = true
	err := g.hidden.complete(ctx)
	if err == nil {
		return nil
	}
	exists, ours, errLook := g.look(ctx)
	switch {
	case errLook != nil:
		return errors.Join(err, errLook)
	case ours:
		return nil
	case exists || isStatus(err, http.StatusPreconditionFailed):
		return fmt.Errorf("%w: %w", backup.ErrExists, err)
	default:
		return err
	}
}

// checkSize compares what the store shows with what was sent. Some stores need
// a moment to show what they have acknowledged.
func (g *segment) checkSize(ctx context.Context) error {
	return g.store.retry(ctx, "check", shortPatience, func(ctx context.Context) error {
		o, err := g.store.find(ctx, g.object.Key)
		if errors.Is(err, backup.ErrNotFound) {
			return fmt.Errorf("%w: %w", errNotShown, err)
		}
		if err != nil {
			return err
		}
		if o.Size() != g.object.Size {
			return fmt.Errorf("%w: the store shows %d bytes, %d were sent", backup.ErrCorrupt, o.Size(), g.object.Size)
		}
		g.checked = true
		return nil
	})
}

// look tells whether there is an object at the key, and whether it is ours: of
// the same size, and its last part has the checksum of our last part.
func (g *segment) look(ctx context.Context) (exists, ours bool, err error) {
	o, err := g.store.find(ctx, g.object.Key)
	if errors.Is(err, backup.ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	if !g.tried || o.Size() != g.object.Size {
		return true, false, nil
	}
	last := g.object.Parts[len(g.object.Parts)-1]
	body, err := g.store.openRange(ctx, o, g.object.Size-last.Size, last.Size)
	if err != nil {
		return true, false, fmt.Errorf("%s: %w", g.object.Key, err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, body)
	if err := errors.Join(err, body.Close()); err != nil {
		return true, false, fmt.Errorf("%s: %w", g.object.Key, err)
	}
	return true, hex.EncodeToString(sum.Sum(nil)) == last.SHA256, nil
}

// undo removes every trace of g.
func (g *segment) undo(ctx context.Context) error {
	if g.gone {
		return nil
	}
	ours := g.visible
	if g.tried && !ours {
		var err error
		if _, ours, err = g.look(ctx); err != nil {
			return err
		}
	}
	if ours {
		if err := g.store.remove(ctx, g.object.Key); err != nil {
			return err
		}
	}
	if err := g.store.retry(ctx, "discard", shortPatience, g.hidden.discard); err != nil {
		return err
	}
	g.gone = true
	return nil
}

// isStatus tells whether err is an HTTP answer with this status.
func isStatus(err error, status int) bool {
	var answer interface{ HTTPStatusCode() int }
	return errors.As(err, &answer) && answer.HTTPStatusCode() == status
}
