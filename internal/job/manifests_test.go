package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// slowStore takes its time, as one far away does: for each object that is opened, and
// for each thousand that are listed.
type slowStore struct {
	Store // nothing else is asked

	open, list time.Duration
	objects    map[string][]byte
	logs       int   // how many log backups there are besides
	scale      int64 // by how much larger objects are taken to be, unless 0
	changed    map[string]time.Time

	mu      sync.Mutex
	opened  []string
	reading int64 // bytes of what is open now
	most    int64
}

func (s *slowStore) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	found := s.below(prefix)
	listed := len(found)
	if strings.HasPrefix(backup.LogPrefix("HXE", "HXE"), prefix) {
		listed += s.logs
	}
	return found, sleepFor(ctx, s.list*time.Duration(1+listed/1000))
}

func (s *slowStore) Folders(ctx context.Context, prefix string) ([]string, error) {
	return foldersOf(s.below(prefix), prefix), sleepFor(ctx, s.list)
}

func (s *slowStore) below(prefix string) []backup.Object {
	var found []backup.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			found = append(found, backup.Object{Key: key, Size: s.size(key), ModTime: s.changed[key]})
		}
	}
	return found
}

func (s *slowStore) Open(ctx context.Context, key string, _, _ int64) (io.ReadCloser, error) {
	text, size := s.objects[key], s.size(key)
	s.mu.Lock()
	s.opened = append(s.opened, key)
	s.reading += size
	s.most = max(s.most, s.reading)
	s.mu.Unlock()
	return &slowBody{bytes.NewReader(text), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reading -= size
	}}, sleepFor(ctx, s.open)
}

func (s *slowStore) size(key string) int64 { return int64(len(s.objects[key])) * max(s.scale, 1) }

type slowBody struct {
	io.Reader

	closed func()
}

func (b *slowBody) Close() error { b.closed(); return nil }

func sleepFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// put stores a manifest with so many parts.
func (s *slowStore) put(t *testing.T, database string, id int64, parts int) {
	t.Helper()
	const partSize = 16 << 20
	size := int64(parts) * partSize
	sum, prefix := strings.Repeat("a1", 32), fmt.Sprint("COMPLETE_", id)
	object := backup.Object{Key: backup.StreamKey("HXE", database, prefix, backup.StreamID{VolumeID: 3, PartID: 1}), Size: size, SHA256: sum}
	for range parts {
		object.Parts = append(object.Parts, backup.Part{Size: partSize, SHA256: sum, CRC64NVME: strings.Repeat("b2", 8)})
	}
	m := backup.Manifest{
		Version: backup.ManifestVersion, Tool: "test", JobID: "job", SID: "HXE", Database: database, Kind: backup.KindComplete, BackupID: id,
		Directory: "/backup", Prefix: prefix, FinishedAt: time.UnixMilli(id).UTC(),
		Streams: []backup.ManifestStream{{
			StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Path: "/backup/" + prefix + "_databackup_3_1", Size: size, SHA256: sum,
			Objects: []backup.Object{object},
		}},
	}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if s.objects == nil {
		s.objects = make(map[string][]byte)
	}
	s.objects[backup.ManifestKey("HXE", database, id)] = text
}

// conductor is one that only looks.
func (s *slowStore) conductor() *Conductor {
	return &Conductor{
		config: Config{SID: "HXE"}, parts: Parts{Store: s}, log: zap.NewNop(), metrics: NewMetrics(prometheus.NewRegistry()), ends: newEnds(),
		manifestMemory: semaphore.NewWeighted(manifestMemory),
	}
}

// largeStore has years of backups, far away, among more log backups than can be listed
// in the time that somebody waits.
func largeStore(t *testing.T) *slowStore {
	t.Helper()
	s := &slowStore{open: 25 * time.Millisecond, list: 200 * time.Millisecond, logs: 200_000}
	for id := range int64(1000) {
		s.put(t, "HXE", 1+id, 1)
		s.put(t, "SYSTEMDB", 1+id, 1)
	}
	return s
}

func TestBackupsOfALargeStore(t *testing.T) {
	t.Parallel()
	for _, database := range []string{"", "HXE"} {
		synctest.Test(t, func(t *testing.T) {
			s := largeStore(t)
			want := 2000
			if database != "" {
				want = 1000
			}
			start := time.Now()
			list, err := s.conductor().Backups(t.Context(), database)
			if err != nil || len(list.Backups) != want || len(list.Unreadable) > 0 {
				t.Errorf("database %q: %d backups, %v", database, len(list.Backups), err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("database %q: it took %s, and nobody waits for more than 30s", database, took)
			}
		})
	}
}

func TestRecallOfALargeStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, start := largeStore(t), time.Now()
		c := s.conductor()
		c.Recall(t.Context())
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if diff := cmp.Diff([]string{"HXE", "SYSTEMDB"}, slices.Sorted(slices.Values(c.metrics.databases()))); diff != "" {
			t.Errorf("databases (-want +got):\n%s", diff)
		}
	})
}

// TestManifestsTakeLittleMemory: many who ask for backups of terabytes at a time hold no
// more of them than one.
func TestManifestsTakeLittleMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{open: 25 * time.Millisecond, scale: 1000}
		for id := range int64(20) {
			s.put(t, "HXE", 1+id, 40)
			s.put(t, "SYSTEMDB", 1+id, 40)
		}
		s.put(t, "SYSTEMDB", 100, 200) // larger than all that may be read at a time
		c := s.conductor()
		var asking sync.WaitGroup
		for _, database := range []string{"", "HXE", "SYSTEMDB"} {
			asking.Go(func() {
				if _, err := c.Backups(t.Context(), database); err != nil {
					t.Error(err)
				}
			})
		}
		for _, database := range []string{"HXE", "SYSTEMDB"} {
			asking.Go(func() {
				h, notes, err := c.archive().history(t.Context(), database)
				if err != nil || len(notes) > 0 || len(h.Backups) == 0 {
					t.Errorf("history of %s: %d backups, %v, %v", database, len(h.Backups), notes, err)
				}
				for _, m := range h.Backups {
					if m.Streams[0].Objects[0].Parts != nil {
						t.Errorf("%d keeps its parts", m.BackupID)
					}
				}
			})
		}
		asking.Wait()
		largest := s.size(backup.ManifestKey("HXE", "SYSTEMDB", 100))
		if s.most > largest || largest < manifestMemory {
			t.Errorf("%d bytes of manifests were read at a time, of which the largest has %d", s.most, largest)
		}
	})
}

// TestSummariesStayHonest: what was read is not read again, and still the list says what
// the store has.
func TestSummariesStayHonest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{}
		for id := range int64(3) {
			s.put(t, "HXE", 1+id, 1)
		}
		s.put(t, "SYSTEMDB", 1, 1)
		c := s.conductor()
		key := func(id int64) string { return backup.ManifestKey("HXE", "HXE", id) }
		expect := func(when, database string, want []int64, unreadable []string, read int) {
			t.Helper()
			s.opened = nil
			list, err := c.Backups(t.Context(), database)
			if err != nil {
				t.Errorf("%s: %v", when, err)
			}
			var ids []int64
			var keys []string
			for i := range list.Backups {
				ids = append(ids, list.Backups[i].BackupID)
			}
			for i := range list.Unreadable {
				keys = append(keys, list.Unreadable[i].Key)
			}
			if diff := cmp.Diff(want, ids) + cmp.Diff(unreadable, keys); diff != "" || len(s.opened) != read {
				t.Errorf("%s: read %q, expected %d (-want +got):\n%s", when, s.opened, read, diff)
			}
		}
		expect("at first", "", []int64{3, 2, 1, 1}, nil, 4)
		expect("again", "", []int64{3, 2, 1, 1}, nil, 0)
		expect("again, of one", "hxe", []int64{3, 2, 1}, nil, 0)
		s.put(t, "HXE", 4, 1)
		expect("a new one", "", []int64{4, 3, 2, 1, 1}, nil, 1)
		removed := s.objects[key(2)]
		delete(s.objects, key(2))
		expect("one is removed", "", []int64{4, 3, 1, 1}, nil, 0)
		s.objects[key(2)] = append(bytes.Clone(removed), ' ')
		expect("one came back, not as it was", "HXE", []int64{4, 3, 2, 1}, nil, 1)
		s.objects[key(3)] = s.objects[key(3)][:100]
		expect("one is cut short", "HXE", []int64{4, 2, 1}, []string{key(3)}, 1)
		expect("it is told again", "", []int64{4, 2, 1, 1}, []string{key(3)}, 1)
		s.put(t, "HXE", 3, 1)
		s.changed = map[string]time.Time{key(1): time.Now().Add(time.Second)}
		s.objects[key(1)] = bytes.Repeat([]byte{'x'}, len(s.objects[key(1)]))
		expect("one is replaced by something of its size", "", []int64{4, 3, 2, 1}, []string{key(1)}, 1)
		s.objects[key(4)] = bytes.Repeat([]byte{'x'}, len(s.objects[key(4)])) // in its place
		time.Sleep(summaryAge)
		expect("one has rotted", "", []int64{3, 2, 1}, []string{key(1), key(4)}, 5)
		if n := len(c.summaries.kept); n != 3 {
			t.Errorf("%d summaries are kept", n)
		}
	})
}

// TestBackupsGoOn: who had not the time to read all manifests need not begin again.
func TestBackupsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{open: time.Second}
		for id := range int64(100) {
			s.put(t, "HXE", 1+id, 1)
		}
		c := s.conductor()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 4500*time.Millisecond, errFaulty)
		defer cancel()
		if _, err := c.Backups(ctx, ""); !errors.Is(err, errFaulty) {
			t.Errorf("without time: %v", err)
		}
		s.opened = nil
		list, err := c.Backups(t.Context(), "")
		if err != nil || len(list.Backups) != 100 || len(s.opened) != 100-4*manifestReaders {
			t.Errorf("%d backups of %d that were read, %v", len(list.Backups), len(s.opened), err)
		}
	})
}

// TestBackupsOnDisk is with a real store, whose times are those of files.
func TestBackupsOnDisk(t *testing.T) {
	t.Parallel()
	made, bucket := &slowStore{}, t.TempDir()
	made.put(t, "HXE", 1, 1)
	made.put(t, "HXE", 2, 1)
	made.put(t, "SYSTEMDB", 1, 1)
	for key, text := range made.objects {
		writeFile(t, filepath.Join(bucket, key), text)
	}
	for _, other := range []string{"HXE/note.txt", "HXE/not a database/manifests/1.json", "HXE/HXE/manifests/note.txt", "ABC/HXE/manifests/9.json"} {
		writeFile(t, filepath.Join(bucket, other), []byte("x"))
	}
	c := made.conductor()
	c.parts.Store = openStore(t, bucket, zap.NewNop())
	for _, when := range []string{"at first", "again"} {
		list, err := c.Backups(t.Context(), "")
		if err != nil || len(list.Backups) != 3 || len(list.Unreadable) > 0 || len(c.summaries.kept) != 3 {
			t.Errorf("%s: %+v, %v", when, list, err)
		}
	}
	broken := filepath.Join(bucket, backup.ManifestKey("HXE", "HXE", 2))
	writeFile(t, broken, bytes.Repeat([]byte{'x'}, len(made.objects[backup.ManifestKey("HXE", "HXE", 2)])))
	list, err := c.Backups(t.Context(), "")
	if err != nil || len(list.Backups) != 2 || len(list.Unreadable) != 1 || list.Unreadable[0].Database != "HXE" {
		t.Errorf("a broken one: %+v, %v", list, err)
	}
	if err := os.RemoveAll(filepath.Join(bucket, "HXE")); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Backups(t.Context(), ""); err != nil || len(list.Backups)+len(list.Unreadable) > 0 {
		t.Errorf("an empty store: %+v, %v", list, err)
	}
}

func writeFile(t *testing.T, path string, text []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
