package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The codes of findings.
const (
	CodeMissing    = "object_missing"
	CodeSize       = "object_size"
	CodeObjectHash = "object_hash"
	CodePartHash   = "part_hash"
	CodeStreamHash = "stream_hash"
	CodeStray      = "object_stray"
	CodeUnreadable = "object_unreadable"
)

// readers is how many objects are read at a time.
const readers = 4

// Options shape a verification.
type Options struct {
	// Sample, when above 0, reads only that many randomly chosen parts of each
	// object, always including the last; otherwise every byte is read.
	Sample int
	// Progress, when set, is told of newly checked bytes. It is called
	// concurrently and must not block.
	Progress func(id backup.StreamID, n int64)
}

// Run compares what the store holds with manifest m and returns every
// difference, sorted by stream and key. It changes nothing. The error is for
// what kept it from looking: ctx ended, or the store could not be listed.
func Run(ctx context.Context, store backup.Store, m *backup.Manifest, options Options) ([]Finding, error) {
	if options.Progress == nil {
		options.Progress = func(backup.StreamID, int64) {}
	}
	a := &audit{store: store, manifest: m, options: options}
	if err := a.strays(ctx); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i := range m.Streams {
		group.Go(func() error { return a.stream(ctx, &m.Streams[i]) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(a.findings, func(x, y Finding) int {
		if order := strings.Compare(x.Key, y.Key); order != 0 {
			return order
		}
		return x.Part - y.Part
	})
	return a.findings, nil
}

// audit is one verification on its way.
type audit struct {
	store    backup.Store
	manifest *backup.Manifest
	options  Options

	mu       sync.Mutex
	findings []Finding
}

func (a *audit) find(f Finding) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.findings = append(a.findings, f)
}

// strays finds objects beside those of the manifest.
func (a *audit) strays(ctx context.Context) error {
	prefix := backup.DataPrefix(a.manifest.SID, a.manifest.Database) + a.manifest.Prefix + "/"
	objects, err := a.store.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("verify: list %s: %w", prefix, err)
	}
	known := make(map[string]bool)
	for i := range a.manifest.Streams {
		for k := range a.manifest.Streams[i].Objects {
			known[a.manifest.Streams[i].Objects[k].Key] = true
		}
	}
	for _, object := range objects {
		if !known[object.Key] {
			a.find(Finding{
				Code: CodeStray, Severity: SeverityWarning, Key: object.Key,
				Message: fmt.Sprintf("object %s of %d bytes is not in the manifest", object.Key, object.Size),
			})
		}
	}
	return nil
}

// stream checks the objects of one stream in order; with all bytes read, also
// the hash over all of them.
func (a *audit) stream(ctx context.Context, s *backup.ManifestStream) error {
	whole := sha256.New()
	sound := true
	for i := range s.Objects {
		o := &s.Objects[i]
		f := Finding{Severity: SeverityError, Stream: s.String(), Key: o.Key}
		present, err := a.present(ctx, o, f)
		if err != nil {
			return err
		}
		if !present {
			sound = false
			continue
		}
		if a.options.Sample > 0 {
			err = a.sample(ctx, s.StreamID, o, f)
		} else {
			var good bool
			good, err = a.read(ctx, s.StreamID, o, f, whole)
			sound = sound && good
		}
		if err != nil {
			return err
		}
	}
	if sound && a.options.Sample == 0 && hex.EncodeToString(whole.Sum(nil)) != s.SHA256 {
		a.find(Finding{
			Code: CodeStreamHash, Severity: SeverityError, Stream: s.String(), Key: s.Objects[0].Key,
			Message: fmt.Sprintf("the objects of stream %s together do not have its SHA-256", s.StreamID),
		})
	}
	return nil
}

// present compares existence and size.
func (a *audit) present(ctx context.Context, o *backup.Object, f Finding) (bool, error) {
	found, err := a.store.Stat(ctx, o.Key)
	switch {
	case errors.Is(err, backup.ErrNotFound):
		f.Code, f.Message = CodeMissing, fmt.Sprintf("object %s is missing", o.Key)
	case err != nil && ctx.Err() != nil:
		return false, context.Cause(ctx)
	case err != nil:
		f.Code, f.Message = CodeUnreadable, fmt.Sprintf("object %s cannot be looked at: %v", o.Key, err)
	case found.Size != o.Size:
		f.Code, f.Message = CodeSize, fmt.Sprintf("object %s has %d bytes, the manifest says %d", o.Key, found.Size, o.Size)
	default:
		return true, nil
	}
	a.find(f)
	return false, nil
}

// read checks every part and the whole of an object in one pass, and adds its
// bytes to the hash of its stream.
func (a *audit) read(ctx context.Context, id backup.StreamID, o *backup.Object, f Finding, stream io.Writer) (bool, error) {
	reader, err := a.store.Open(ctx, o.Key, 0, -1)
	if err != nil {
		return false, a.unreadable(ctx, o, f, err)
	}
	object := sha256.New()
	sound := true
	for i, part := range o.Parts {
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(sum, object, stream), io.LimitReader(reader, part.Size))
		a.options.Progress(id, n)
		if err == nil && n < part.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			f.Part = i + 1
			return false, errors.Join(a.unreadable(ctx, o, f, err), reader.Close())
		}
		if hex.EncodeToString(sum.Sum(nil)) != part.SHA256 {
			a.findPart(f, o, i)
			sound = false
		}
	}
	if err := reader.Close(); err != nil {
		return false, a.unreadable(ctx, o, f, err)
	}
	if sound && hex.EncodeToString(object.Sum(nil)) != o.SHA256 {
		f.Code, f.Message = CodeObjectHash, fmt.Sprintf("object %s does not have its SHA-256", o.Key)
		a.find(f)
		sound = false
	}
	return sound, nil
}

// sample checks some parts by ranged reads.
func (a *audit) sample(ctx context.Context, id backup.StreamID, o *backup.Object, f Finding) error {
	offsets := make([]int64, len(o.Parts))
	for i := 1; i < len(o.Parts); i++ {
		offsets[i] = offsets[i-1] + o.Parts[i-1].Size
	}
	last := len(o.Parts) - 1
	chosen := rand.Perm(last)[:min(a.options.Sample-1, last)]
	for _, i := range append(chosen, last) {
		if err := a.part(ctx, id, o, f, i, offsets[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) part(ctx context.Context, id backup.StreamID, o *backup.Object, f Finding, i int, offset int64) error {
	f.Part = i + 1
	reader, err := a.store.Open(ctx, o.Key, offset, o.Parts[i].Size)
	if err != nil {
		return a.unreadable(ctx, o, f, err)
	}
	sum := sha256.New()
	n, errRead := io.Copy(sum, reader)
	a.options.Progress(id, n)
	if err := errors.Join(errRead, reader.Close()); err != nil {
		return a.unreadable(ctx, o, f, err)
	}
	if n != o.Parts[i].Size || hex.EncodeToString(sum.Sum(nil)) != o.Parts[i].SHA256 {
		a.findPart(f, o, i)
	}
	return nil
}

func (a *audit) findPart(f Finding, o *backup.Object, i int) {
	f.Code, f.Part = CodePartHash, i+1
	f.Message = fmt.Sprintf("part %d of object %s does not have its SHA-256", i+1, o.Key)
	a.find(f)
}

// unreadable turns a failed read into a finding, unless ctx was the reason.
func (a *audit) unreadable(ctx context.Context, o *backup.Object, f Finding, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.Code, f.Message = CodeUnreadable, fmt.Sprintf("object %s cannot be read: %v", o.Key, err)
	a.find(f)
	return nil
}
