package logship_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

var errKilled = errors.New("the process is dead")

// killer ends a process at one of its steps: nothing that it does after that has
// an effect, not even its clean-up.
type killer struct {
	// at is the step, counted from 1; 0 never. late lets the step have its effect,
	// of which the process does not hear any more.
	at   int
	late bool
	die  func()

	mu   sync.Mutex
	n    int
	dead bool
}

func (k *killer) step(do func() error) error {
	k.mu.Lock()
	k.n++
	now := k.n == k.at
	if k.dead || now && !k.late {
		k.dead = true
		k.mu.Unlock()
		k.die()
		return errKilled
	}
	k.dead = now
	k.mu.Unlock()
	err := do()
	if now {
		k.die()
		return errKilled
	}
	return err
}

// mortalStore is a store as a process sees it that may be killed.
type mortalStore struct {
	logship.Store

	killer *killer
}

func (s *mortalStore) Begin(ctx context.Context, key string, options backup.UploadOptions) (upload backup.Upload, err error) {
	err = s.killer.step(func() error {
		upload, err = s.Store.Begin(ctx, key, options)
		return err
	})
	return &mortalUpload{Upload: upload, killer: s.killer}, err
}

func (s *mortalStore) Open(ctx context.Context, key string, offset, length int64) (r io.ReadCloser, err error) {
	err = s.killer.step(func() error {
		r, err = s.Store.Open(ctx, key, offset, length)
		return err
	})
	return r, err
}

func (s *mortalStore) OpenStream(ctx context.Context, objects []backup.Object) (r io.ReadCloser, err error) {
	err = s.killer.step(func() error {
		r, err = s.Store.OpenStream(ctx, objects)
		return err
	})
	if err != nil && r != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, err
}

func (s *mortalStore) List(ctx context.Context, prefix string) (objects []backup.Object, err error) {
	err = s.killer.step(func() error {
		objects, err = s.Store.List(ctx, prefix)
		return err
	})
	return objects, err
}

type mortalUpload struct {
	backup.Upload

	killer *killer
}

func (u *mortalUpload) Consume(ctx context.Context, r io.Reader) (stored backup.Stored, err error) {
	err = u.killer.step(func() error {
		stored, err = u.Upload.Consume(ctx, r)
		return err
	})
	return stored, err
}

func (u *mortalUpload) Commit(ctx context.Context) error {
	return u.killer.step(func() error { return u.Upload.Commit(ctx) })
}

func (u *mortalUpload) Abort(ctx context.Context) error {
	return u.killer.step(func() error { return u.Upload.Abort(ctx) })
}

// place is a real directory and a real store.
type place struct {
	t       testing.TB
	dir     string
	root    string
	store   *uploader.Store
	hana    *hana
	content map[string]string
	// poll is how often a run looks whether it is done.
	poll time.Duration
	// rescan is how often the watcher looks at files that were there before it.
	rescan time.Duration
}

func newPlace(tb testing.TB) *place {
	tb.Helper()
	p := &place{t: tb, dir: tb.TempDir(), root: tb.TempDir(), hana: &hana{}, poll: time.Millisecond, rescan: 20 * time.Millisecond, content: make(map[string]string)}
	var err error
	p.store, err = uploader.New(tb.Context(), uploader.Config{Type: "local", Root: p.root}, zap.NewNop(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.store.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// write has HANA write a file and its catalog know it.
func (p *place) write(name string) {
	p.t.Helper()
	p.writeContent(name, strings.Repeat(name+"\n", 100))
}

func (p *place) writeContent(name, content string) {
	p.t.Helper()
	p.content[name] = content
	hidden := filepath.Join(p.dir, "."+name)
	if err := os.WriteFile(hidden, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(hidden, filepath.Join(p.dir, name)); err != nil {
		p.t.Fatal(err)
	}
	p.hana.knows(p.t, name, int64(len(content)), backup.CatalogSuccessful)
}

// run ships until done holds or the process dies.
func (p *place) run(k *killer, done func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	defer cancel()
	k.die = cancel
	parts, watcher := p.parts(k)
	defer func() {
		if err := watcher.Close(); err != nil {
			p.t.Error(err)
		}
	}()
	s, err := logship.New(logship.Config{SID: sid, Database: database, Parallel: 2}, parts, zap.NewNop(), logship.NewMetrics(nil))
	if err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); !done() && ctx.Err() == nil; {
		if time.Now().After(deadline) {
			p.t.Errorf("not done: %+v", s.Status())
			break
		}
		time.Sleep(p.poll)
	}
	cancel()
	if err := <-ended; err != nil {
		p.t.Error(err)
	}
}

// empty reports whether everything was removed from the volume.
func (p *place) empty() bool {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		p.t.Error(err)
	}
	return len(entries) == 0
}

// mustBeSomewhere checks that no file is lost: it is on the volume, or in the
// store and in an index.
func (p *place) mustBeSomewhere(at string) {
	p.t.Helper()
	files, _, err := logship.ReadIndexes(context.Background(), p.store, sid, database, time.Time{})
	if err != nil {
		p.t.Error(err)
	}
	for name, content := range p.content {
		if got, err := os.ReadFile(filepath.Join(p.dir, name)); err == nil && string(got) == content {
			continue
		}
		got, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(backup.LogKey(sid, database, name))))
		if err != nil || string(got) != content {
			p.t.Errorf("%s: %s is neither on the volume nor in the store", at, name)
		}
		if !slices.ContainsFunc(files, func(f backup.LogFile) bool { return f.Name == name }) {
			p.t.Errorf("%s: %s is neither on the volume nor in an index", at, name)
		}
	}
}

// mustHaveAll checks that store and history have each file once, confirmed, with
// its content.
func (p *place) mustHaveAll() {
	p.t.Helper()
	type entry struct {
		Name, SHA256 string
		Confirmed    bool
	}
	var want, got []entry
	var keys []string
	for name, content := range p.content {
		want = append(want, entry{name, hexSum([]byte(content)), true})
		keys = append(keys, backup.LogKey(sid, database, name))
	}
	files, _, err := logship.ReadIndexes(p.t.Context(), p.store, sid, database, time.Time{})
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range files {
		got = append(got, entry{files[i].Name, files[i].SHA256, files[i].Confirmed})
	}
	byName := func(a, b entry) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(want, byName)
	slices.SortFunc(got, byName)
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("history (-want +got):\n%s", diff)
	}
	objects, err := p.store.List(p.t.Context(), backup.LogPrefix(sid, database))
	if err != nil {
		p.t.Fatal(err)
	}
	var stored []string
	for _, o := range objects {
		stored = append(stored, o.Key)
	}
	slices.Sort(keys)
	if diff := cmp.Diff(keys, stored); diff != "" {
		p.t.Errorf("objects (-want +got):\n%s", diff)
	}
	p.mustBeSomewhere("at the end")
}

// A process that is killed at any step loses nothing, and the next one ends what
// it began.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	files := []string{logName(2, 0, 1, 1795230245001), logName(2, 1, 2, 1795230245002), logName(3, 7, 9, 1795230245003), catalogName(1795230245004)}
	whole := newPlace(t)
	for _, name := range files {
		whole.write(name)
	}
	count := &killer{}
	whole.run(count, whole.empty)
	whole.mustHaveAll()
	t.Logf("%d steps", count.n)
	for at := 1; at <= count.n; at++ {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("step-%d-late-%v", at, late), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				for _, name := range files {
					p.write(name)
				}
				p.run(&killer{at: at, late: late}, p.empty)
				p.mustBeSomewhere("after the kill")
				p.write(logName(2, 2, 3, 1795230245005))
				p.run(&killer{}, p.empty)
				p.mustHaveAll()
			})
		}
	}
}

// Ten processes are killed while files arrive.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for i := range 10 {
		for k := range 6 {
			at := 6*i + k
			p.write(logName(2+k%2, at/2, at/2+1, int64(1795230245000+at)))
		}
		p.run(&killer{at: 5 + 3*i, late: i%2 == 0}, p.empty)
		p.mustBeSomewhere(fmt.Sprintf("after kill %d", i))
	}
	p.run(&killer{}, p.empty)
	p.mustHaveAll()
}
