package verify

import (
	"context"
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
)

// readers is how many objects are read at a time.
const readers = 4

// Options shape a verification.
type Options struct {
	// Sample, when above 0, reads only that many randomly chosen parts of each
	// object, always including the last; otherwise every byte is read.
	Sample int
	// Streams, when set, decodes streams that are encoded, which are then read a
	// second time and compared with what HANA wrote. Without it, and with Sample,
	// only what is stored of them is checked.
	Streams backup.StreamOpener
	// Undecoded, when set, is told of streams that Streams has no identity for. It
	// is called concurrently and must not block.
	Undecoded func(id backup.StreamID)
	// Progress, when set, is told of newly checked bytes, part by part. It is
	// called concurrently and must not block.
	Progress func(id backup.StreamID, n int64)
}

// Run compares what the store holds with manifest m and returns every
// difference, sorted by key and part. It changes nothing. The error is for what
// kept it from looking: ctx ended, or the store failed three times in a row at
// the same list, object or part. Then there are no findings, because a store
// that fails says nothing about the backup.
func Run(ctx context.Context, store backup.Store, m *backup.Manifest, options Options) ([]Finding, error) {
	if options.Progress == nil {
		options.Progress = func(backup.StreamID, int64) {}
	}
	if options.Undecoded == nil {
		options.Undecoded = func(backup.StreamID) {}
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
	var objects []backup.Object
	err := persist(ctx, func() (err error) {
		objects, err = a.store.List(ctx, prefix)
		return err
	})
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
	sums := newSums()
	sound := true
	for i := range s.Objects {
		good, err := a.object(ctx, s.StreamID, &s.Objects[i], sums)
		if err != nil {
			return err
		}
		sound = sound && good
	}
	if !sound || a.options.Sample > 0 {
		return nil
	}
	if len(backup.EncodingOf(s.Objects)) > 0 {
		return a.decoded(ctx, s)
	}
	if !matches(sums.stream, s.SHA256) {
		a.find(Finding{
			Code: CodeStreamHash, Severity: SeverityError, Stream: s.String(), Key: s.Objects[0].Key,
			Message: fmt.Sprintf("the objects of stream %s together do not have its SHA-256", s.StreamID),
		})
	}
	return nil
}

// decoded compares what the sound objects of a stream decode to with what HANA
// wrote.
func (a *audit) decoded(ctx context.Context, s *backup.ManifestStream) error {
	if a.options.Streams == nil {
		a.options.Undecoded(s.StreamID)
		return nil
	}
	var corrupt error
	err := persist(ctx, func() error {
		corrupt = nil
		reader, err := a.options.Streams.OpenStream(ctx, s.Objects)
		if err == nil {
			_, err = io.Copy(io.Discard, backup.Checked(reader, s.Objects, s.Size, s.SHA256))
			err = errors.Join(err, reader.Close())
		}
		if errors.Is(err, backup.ErrCorrupt) || errors.Is(err, backup.ErrNoIdentity) {
			corrupt, err = err, nil // an answer
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("verify stream %s: %w", s.StreamID, err)
	case errors.Is(corrupt, backup.ErrNoIdentity):
		a.options.Undecoded(s.StreamID)
	case corrupt != nil:
		a.find(Finding{
			Code: CodeStreamHash, Severity: SeverityError, Stream: s.String(), Key: s.Objects[0].Key,
			Message: fmt.Sprintf("the objects of stream %s do not decode to it: %v", s.StreamID, corrupt),
		})
	}
	return nil
}

// object checks one object. What is not there or has another size or hash is a
// finding; what the store does not tell is an error.
func (a *audit) object(ctx context.Context, id backup.StreamID, o *backup.Object, sums *sums) (sound bool, err error) {
	f := Finding{Severity: SeverityError, Stream: id.String(), Key: o.Key}
	var found backup.Object
	err = persist(ctx, func() (err error) {
		found, err = a.store.Stat(ctx, o.Key)
		return err
	})
	switch {
	case err == nil && found.Size != o.Size:
		f.Code, f.Message = CodeSize, fmt.Sprintf("object %s has %d bytes, the manifest says %d", o.Key, found.Size, o.Size)
		a.find(f)
		return false, nil
	case err == nil && a.options.Sample > 0:
		err = a.sample(ctx, id, o, f)
	case err == nil:
		sound, err = a.read(ctx, id, o, f, sums)
	}
	if errors.Is(err, backup.ErrNotFound) {
		f.Code, f.Message = CodeMissing, fmt.Sprintf("object %s is missing", o.Key)
		a.find(f)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("verify object %s: %w", o.Key, err)
	}
	return sound, nil
}

// read checks every part and the whole of an object.
func (a *audit) read(ctx context.Context, id backup.StreamID, o *backup.Object, f Finding, sums *sums) (bool, error) {
	sums.object.Reset()
	sound := true
	var offset int64
	for i := range o.Parts {
		good, err := a.part(ctx, id, o, f, i, offset, sums)
		if err != nil {
			return false, err
		}
		sound = sound && good
		offset += o.Parts[i].Size
	}
	if sound && !matches(sums.object, o.SHA256) {
		f.Code, f.Message = CodeObjectHash, fmt.Sprintf("object %s does not have its SHA-256", o.Key)
		a.find(f)
		sound = false
	}
	return sound, nil
}

// sample checks some parts of an object.
func (a *audit) sample(ctx context.Context, id backup.StreamID, o *backup.Object, f Finding) error {
	offsets := make([]int64, len(o.Parts))
	for i := 1; i < len(o.Parts); i++ {
		offsets[i] = offsets[i-1] + o.Parts[i-1].Size
	}
	last := len(o.Parts) - 1
	chosen := rand.Perm(last)[:min(a.options.Sample-1, last)]
	for _, i := range append(chosen, last) {
		if _, err := a.part(ctx, id, o, f, i, offsets[i], newSums()); err != nil {
			return err
		}
	}
	return nil
}

// part checks one part by a read of its range and adds its bytes to sums.
func (a *audit) part(ctx context.Context, id backup.StreamID, o *backup.Object, f Finding, i int, offset int64, sums *sums) (bool, error) {
	err := persist(ctx, func() error {
		before, err := sums.clone()
		if err != nil {
			return err
		}
		sums.part = checksums(o.Parts[i])
		if err := fetch(ctx, a.store, o.Key, offset, o.Parts[i].Size, sums); err != nil {
			*sums = before
			return err
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("part %d: %w", i+1, err)
	}
	a.options.Progress(id, o.Parts[i].Size)
	if !slices.ContainsFunc(sums.part, func(c checksum) bool { return !matches(c.Hash, c.want) }) {
		return true, nil
	}
	f.Code, f.Part = CodePartHash, i+1
	f.Message = fmt.Sprintf("part %d of object %s does not have its checksum", i+1, o.Key)
	a.find(f)
	return false, nil
}
