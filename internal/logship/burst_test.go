package logship_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// 5,000 files at once are all in the store and in the indexes, in order, at a
// known number of requests.
func TestBurst(t *testing.T) {
	t.Parallel()
	const files = 5000
	play(t, logship.Config{}, func(w *world) {
		id := time.Now().UnixMilli()
		for i := range files {
			name := logName(2+i%4, i/4, i/4+1, id+int64(i))
			w.confirm(name)
			w.write(name)
		}
		// Looking at every index for each file would be what takes the time here.
		w.volume.removing = nil
		w.start()
		status := w.after(time.Millisecond) // no round waits for the next
		if got := w.volume.names(); len(got) != 0 {
			t.Errorf("%d files are left", len(got))
		}
		if history := w.history(); len(history) != files {
			t.Errorf("%d files in the history", len(history))
		}
		w.mustBeInOrder()
		if len(status.Gaps) != 0 || len(status.Volumes) != 4 || status.Volumes[3].Position != files/4*64 {
			t.Errorf("status: gaps %v, volumes %v", status.Gaps, status.Volumes)
		}
		indexes := len(w.indexes())
		want := map[string]int{
			"Begin": files + indexes, "Consume": files + indexes, "Commit": files + indexes,
			"OpenStream": files, "Open": 2 * indexes, "List": 3, "Stat": 0,
		}
		for call, n := range want {
			if got := w.store.calls[call]; got != n {
				t.Errorf("%d calls of %s, expected %d", got, call, n)
			}
		}
		if indexes != files/100 || w.hana.asked != indexes {
			t.Errorf("%d indexes, HANA was asked %d times", indexes, w.hana.asked)
		}
	})
}

// BenchmarkShip ships files of 64 KiB from a directory to a local store. A second
// or two pass before the watcher takes them for finished.
func BenchmarkShip(b *testing.B) {
	p := newPlace(b)
	p.poll, p.rescan = 200*time.Millisecond, time.Second
	content := strings.Repeat("0123456789abcdef", 4096)
	for i := range b.N {
		p.writeContent(logName(2, i, i+1, int64(1795230245000+i)), content)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	b.ResetTimer()
	p.run(&killer{}, p.empty)
}

// BenchmarkIndex is what an index of 500 files costs.
func BenchmarkIndex(b *testing.B) {
	x := &backup.LogIndex{Version: 1, SID: sid, Database: database, Sequence: 1}
	for i := range 500 {
		x.Files = append(x.Files, file(fmt.Sprintf("log_backup_2_0_%d_%d.1795230245000", i*64, i*64+64)))
	}
	for b.Loop() {
		text, err := x.Encode()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(text)))
	}
}
