package logship_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

// world is HANA, its volume, a store and a shipper, with fake time.
type world struct {
	t      *testing.T
	config logship.Config
	volume *volume
	store  *memoryStore
	hana   *hana
	bases  *bases
	// codec, when set, encodes what goes to the store.
	codec    codec.Config
	registry *prometheus.Registry
	shipper  *logship.Shipper
	log      *observer.ObservedLogs
	stop     func()
	mu       sync.Mutex
	// content is of every file that was ever written.
	content map[string][]byte
	// named are the files that the indexes of these keys name.
	named map[string][]string
}

// play runs a test in fake time. After it, nothing is lost.
func play(t *testing.T, config logship.Config, script func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		config.SID, config.Database, config.Tool = sid, database, "pipestreamer test"
		w := &world{t: t, config: config, volume: newVolume(), store: newMemoryStore(), hana: &hana{}, bases: newBases(), content: make(map[string][]byte), named: make(map[string][]string)}
		w.volume.removing = w.mustBeSafe
		script(w)
		if w.stop != nil {
			w.stop()
		}
	})
}

// start runs a new shipper.
func (w *world) start() {
	w.t.Helper()
	core, log := observer.New(zapcore.InfoLevel)
	w.log, w.registry = log, prometheus.NewRegistry()
	parts := logship.Parts{Volume: w.volume.restart(), Store: w.encoding(), Historian: w.hana, Bases: w.bases, Remove: w.volume.remove}
	var err error
	w.shipper, err = logship.New(w.config, parts, zap.New(core), logship.NewMetrics(w.registry))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.shipper.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		w.stop = nil
	}
}

// encoding is the store with the codec around it.
func (w *world) encoding() *codec.Store {
	w.t.Helper()
	store, err := codec.New(maintained{memoryStore: w.store}, w.codec)
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

// maintained is a memoryStore with what only a job needs.
type maintained struct{ *memoryStore }

func (maintained) Check(context.Context) error { return nil }

func (maintained) Sweep(context.Context, string, time.Duration) error { return nil }

func (maintained) Folders(context.Context, string) ([]string, error) { return nil, nil }

// after lets time pass.
func (w *world) after(d time.Duration) logship.Status {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	return w.shipper.Status()
}

// id is a backup id of now, later than those before.
func (w *world) id() int64 {
	time.Sleep(time.Millisecond)
	return time.Now().UnixMilli()
}

// write has HANA write a file that its catalog does not know yet.
func (w *world) write(name string) {
	content := []byte("content of " + name)
	w.mu.Lock()
	w.content[name] = content
	w.mu.Unlock()
	w.volume.write(name, content)
}

// written is what HANA has written.
func (w *world) written(name string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.content[name]
}

// log64 has HANA back up a piece of the log of a volume.
func (w *world) log64(volume, from, to int) string {
	name := logName(volume, from, to, w.id())
	w.confirm(name)
	w.write(name)
	return name
}

// catalog has HANA back up its catalog.
func (w *world) catalog() string {
	name := catalogName(w.id())
	w.confirm(name)
	w.write(name)
	return name
}

// confirm has the catalog know a file.
func (w *world) confirm(name string) {
	w.t.Helper()
	w.hana.knows(w.t, name, int64(len("content of "+name)), backup.CatalogSuccessful)
}

// mustBeSafe checks what has to hold when a file is removed.
func (w *world) mustBeSafe(name string) {
	w.t.Helper()
	content, found := w.store.get(backup.LogKey(sid, database, name))
	if !found || !bytes.Equal(content, w.written(name)) {
		w.t.Errorf("%s is removed from the volume and not in the store", name)
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for key, text := range w.store.objects {
		if !strings.HasPrefix(key, backup.LogIndexPrefix(sid, database)) {
			continue
		}
		if _, read := w.named[key]; !read {
			if x, err := backup.DecodeLogIndex(text); err == nil {
				w.named[key] = namesOf(x)
			}
		}
		if slices.Contains(w.named[key], name) {
			return
		}
	}
	w.t.Errorf("%s is removed from the volume and in no index", name)
}

// indexes are those in the store, by sequence.
func (w *world) indexes() []*backup.LogIndex {
	w.t.Helper()
	var indexes []*backup.LogIndex
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for key, text := range w.store.objects {
		if !strings.HasPrefix(key, backup.LogIndexPrefix(sid, database)) {
			continue
		}
		x, err := backup.DecodeLogIndex(text)
		if err != nil {
			continue // a test has damaged it
		}
		indexes = append(indexes, x)
	}
	slices.SortFunc(indexes, func(a, b *backup.LogIndex) int { return int(a.Sequence - b.Sequence) })
	return indexes
}

// mustBeInOrder checks that the indexes name no log backup before an earlier one
// of its volume.
func (w *world) mustBeInOrder() {
	w.t.Helper()
	ends := make(map[int]int64)
	for _, x := range w.indexes() {
		for i := range x.Files {
			n := x.Files[i].Parsed()
			if n.First < ends[n.VolumeID] {
				w.t.Errorf("index %d names %s after position %d", x.Sequence, x.Files[i].Name, ends[n.VolumeID])
			}
			ends[n.VolumeID] = n.Last
		}
	}
}

// history is what a restore would read.
func (w *world) history() map[string]backup.LogFile {
	w.t.Helper()
	files, _, err := logship.ReadIndexes(w.t.Context(), w.store, sid, database, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	byName := make(map[string]backup.LogFile)
	for i := range files {
		byName[files[i].Name] = files[i]
	}
	return byName
}

// mustHave checks that a file is in the store and in the history, and whether it
// is confirmed and still on the volume.
func (w *world) mustHave(name string, confirmed, onVolume bool) {
	w.t.Helper()
	w.mustHaveIn(w.history(), name, confirmed, onVolume)
}

func (w *world) mustHaveIn(history map[string]backup.LogFile, name string, confirmed, onVolume bool) {
	w.t.Helper()
	f, indexed := history[name]
	if !indexed {
		w.t.Errorf("%s is in no index", name)
	}
	if f.Confirmed != confirmed {
		w.t.Errorf("%s: confirmed is %v in the index, expected %v", name, f.Confirmed, confirmed)
	}
	if content, _ := w.store.get(backup.LogKey(sid, database, name)); !bytes.Equal(content, w.written(name)) {
		w.t.Errorf("%s: the store has %q", name, content)
	}
	if there := slices.Contains(w.volume.names(), name); there != onVolume {
		w.t.Errorf("%s: on the volume is %v, expected %v", name, there, onVolume)
	}
}

// gauge is the value of a metric of the database.
func (w *world) gauge(name string) (float64, bool) {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "pipestreamer_logs_"+name {
			continue
		}
		m := family.GetMetric()[0]
		if m.GetGauge() != nil {
			return m.GetGauge().GetValue(), true
		}
		return m.GetCounter().GetValue(), true
	}
	return 0, false
}

func (w *world) mustGauge(name string, want float64) {
	w.t.Helper()
	if got, known := w.gauge(name); !known || got != want {
		w.t.Errorf("pipestreamer_logs_%s is %v (known: %v), expected %v", name, got, known, want)
	}
}

// told counts log lines.
func (w *world) told(message string) int { return w.log.FilterMessage(message).Len() }

func (w *world) String() string { return fmt.Sprint(w.volume.names()) }
