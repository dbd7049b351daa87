package uploader

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"

	"github.com/rclone/rclone/fs"

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
	upload *upload
	object backup.Object
	hidden hidden
	// tried is set before the first complete: from then on an object at the
	// key may be ours. visible is set when it is known to be.
	tried, visible bool
	// shown is set when the store has shown it, checked when of the right size.
	shown, checked bool
	// gone is set when nothing is left.
	gone bool
}

// addSegment appends the next segment of u.
func (u *upload) addSegment() *segment {
	u.mu.Lock()
	defer u.mu.Unlock()
	seg := &segment{store: u.store, upload: u, object: backup.Object{Key: backup.SegmentKey(u.key, len(u.segments)+1)}}
	u.segments = append(u.segments, seg)
	return seg
}

// checkFree refuses a key that holds an object which is not ours.
func (g *segment) checkFree(ctx context.Context) error {
	if g.visible {
		return nil
	}
	return g.store.persist(ctx, g.upload.task("commit"), func(ctx context.Context) error {
		exists, ours, err := g.look(ctx)
		if err == nil && exists && !ours {
			err = fmt.Errorf("%s: %w", g.object.Key, backup.ErrExists)
		}
		return err
	})
}

// commit makes g visible and compares the size that the store shows.
func (g *segment) commit(ctx context.Context) error {
	if g.checked {
		return nil
	}
	if !g.visible {
		if err := g.store.persist(ctx, g.upload.task("commit"), g.complete); err != nil {
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
		exists, ours, err := g.look(ctx)
		switch {
		case err != nil || ours:
			return err
		case exists:
			return backup.ErrExists
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
	t := g.upload.task("check")
	t.patience = max(t.patience, shortPatience)
	return g.store.persist(ctx, t, func(ctx context.Context) error {
		o, err := g.store.find(ctx, g.object.Key)
		if errors.Is(err, backup.ErrNotFound) {
			// It may also be that something on the way has answered in the
			// store's place: then it has to be asked once more.
			again := g.complete(ctx)
			return fmt.Errorf("%w: %w (asked again: %v)", errNotShown, err, again) //nolint:errorlint // what was answered to the second question does not say whether the first will pass
		}
		if err != nil {
			return err
		}
		g.shown = true
		if o.Size() != g.object.Size {
			return fmt.Errorf("%w: the store shows %d bytes, %d were sent", backup.ErrCorrupt, o.Size(), g.object.Size)
		}
		g.checked = true
		return nil
	})
}

// markName is the name of the metadata in which an object on s3 carries the id of
// the upload that made it.
const markName = "pipestreamer-upload"

// look tells whether there is an object at the key, and whether it is ours.
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
	if mark, err := g.mark(ctx, o); err != nil || mark != "" {
		return true, mark == g.upload.id, err
	}
	ours, err = g.same(ctx, o)
	if err != nil {
		return true, false, fmt.Errorf("%s: %w", g.object.Key, err)
	}
	return true, ours, nil
}

// mark returns the id of the upload that made o, or "" where it carries none.
func (g *segment) mark(ctx context.Context, o fs.Object) (string, error) {
	described, can := o.(fs.Metadataer)
	if g.store.kind != "s3" || !can {
		return "", nil
	}
	var metadata fs.Metadata
	err := g.store.ask(ctx, func(*remote) (err error) {
		metadata, err = described.Metadata(ctx)
		return err
	})
	return metadata[markName], err
}

// same compares every part of o with what was sent. That an object has the size
// of ours does not say so, nor its last bytes, which may be padding. It is
// needed where an answer was lost and the object has no mark.
func (g *segment) same(ctx context.Context, o fs.Object) (bool, error) {
	body, err := g.store.openRange(ctx, o, 0, g.object.Size)
	if err != nil {
		return false, err
	}
	equal := true
	for _, part := range g.object.Parts {
		sum, want := checksum(part)
		if _, err = io.CopyN(sum, body, part.Size); err != nil {
			break
		}
		if equal = hex.EncodeToString(sum.Sum(nil)) == want; !equal {
			break
		}
	}
	err = errors.Join(err, body.Close())
	return equal && err == nil, err
}

// undo removes every trace of g. What is hidden goes first: after that, the
// store cannot finish a completion any more whose answer was lost.
func (g *segment) undo(ctx context.Context) error {
	if g.gone {
		return nil
	}
	if err := g.store.retry(ctx, "discard", shortPatience, g.hidden.discard); err != nil {
		return err
	}
	ours := g.visible
	if g.tried && !ours {
		var err error
		if _, ours, err = g.look(ctx); err != nil {
			return err
		}
	}
	if ours {
		if err := g.remove(ctx); err != nil {
			return err
		}
	}
	g.gone = true
	return nil
}

// remove removes the object at the key. One that was completed and that the
// store does not show by its key is looked for in a list; it is not gone because
// nobody can see it.
func (g *segment) remove(ctx context.Context) error {
	_, err := g.store.find(ctx, g.object.Key)
	if g.shown || !errors.Is(err, backup.ErrNotFound) {
		return g.store.remove(ctx, g.object.Key)
	}
	listed, err := g.store.list(ctx, path.Dir(g.object.Key)+"/")
	if err != nil {
		return err
	}
	for _, o := range listed {
		if o.Remote() == g.object.Key {
			return g.store.ask(ctx, func(*remote) error { return g.store.within(ctx, o.Remove) })
		}
	}
	return fmt.Errorf("%w, so that it cannot be removed", errNotShown)
}

// isStatus tells whether err is an HTTP answer with this status.
func isStatus(err error, status int) bool {
	var answer interface{ HTTPStatusCode() int }
	return errors.As(err, &answer) && answer.HTTPStatusCode() == status
}
