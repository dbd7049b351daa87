package logship_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// tooEarly has a file be shipped while HANA still writes it.
func (w *world) tooEarly(name string) {
	w.t.Helper()
	w.volume.write(name, []byte("content"))
	w.start()
	status := w.after(10 * time.Second)
	if f, indexed := w.history()[name]; !indexed || f.Confirmed || f.Size != int64(len("content")) {
		w.t.Fatalf("the index has %+v", f)
	}
	if !status.RecoveryPoint.Equal(w.bases.base.StartedAt) || len(status.Volumes) != 0 {
		w.t.Errorf("what is cut off counts: %+v", status)
	}
}

// A file that was taken while HANA only paused is replaced as soon as HANA's
// catalog confirms what it has become.
func TestTakenTooEarly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// between is when the file is finished.
		between func(*world)
		// refused is how often the store refuses the removal.
		refused int
	}{
		"the same process":             {between: func(*world) {}},
		"after a restart":              {between: func(w *world) { w.stop(); w.start() }},
		"with the daemon away":         {between: func(w *world) { w.stop() }},
		"a store that refuses it once": {between: func(*world) {}, refused: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{}, func(w *world) {
				file := logName(2, 0, 1, w.id())
				w.tooEarly(file)
				refused := 0
				w.store.fail(func(call, _ string) error {
					if call == "Remove" && refused < test.refused {
						refused++
						return errors.New("access denied")
					}
					return nil
				})
				test.between(w)
				w.write(file)
				if w.stop == nil {
					w.start()
				}
				other := w.log64(3, 0, 1)
				if status := w.after(time.Minute); status.ConflictFiles != 1 {
					t.Errorf("before HANA says anything: conflicts %+v", status.Conflicts)
				}
				w.mustHave(other, true, false)
				w.confirm(file)
				w.after(20 * time.Minute)
				w.mustHave(file, true, false)
				status := w.shipper.Status()
				if want := entryOf(t, file, 0, "").StartedAt; status.ConflictFiles != 0 || !status.RecoveryPoint.Equal(want) {
					t.Errorf("status %+v, expected the recovery point %v", status, want)
				}
				if got := w.told("a log backup was shipped before HANA had finished it: it is uploaded again"); got != 1 || refused != test.refused {
					t.Errorf("told %d times, refused %d times", got, refused)
				}
			})
		})
	}
	t.Run("finished between the upload and the index", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := logName(2, 0, 1, w.id())
			w.volume.write(name, []byte("content"))
			w.store.lose(func(key string) error {
				if baseName(key) == name && string(w.volumeContent(name)) == "content" {
					w.confirm(name)
					w.write(name)
				}
				return nil
			})
			w.start()
			w.after(time.Minute)
			w.mustHave(name, true, false)
		})
	})
}

func (w *world) volumeContent(name string) []byte {
	w.volume.mu.Lock()
	defer w.volume.mu.Unlock()
	return w.volume.content[name]
}

// Nothing else is replaced.
func TestNotReplaced(t *testing.T) {
	t.Parallel()
	const after = "HANA has written something else"
	for name, test := range map[string]struct {
		// hana says what the catalog knows of the file, of its second content.
		hana      func(w *world, file string)
		content   string
		confirmed bool
	}{
		"a confirmed one": {
			func(w *world, file string) { w.hana.knows(w.t, file, int64(len(after)), backup.CatalogSuccessful) }, after, true,
		},
		"one that the catalog does not know": {func(*world, string) {}, after, false},
		"one that has a third size": {
			func(w *world, file string) { w.hana.knows(w.t, file, 3, backup.CatalogSuccessful) }, after, false,
		},
		"one of a backup that failed": {
			func(w *world, file string) { w.hana.knows(w.t, file, int64(len(after)), backup.CatalogFailed) }, after, false,
		},
		"one of the same size": {
			func(w *world, file string) { w.hana.knows(w.t, file, int64(len("content")), backup.CatalogSuccessful) }, "tnetnoc", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{KeepFor: time.Hour}, func(w *world) {
				file := logName(2, 0, 1, w.id())
				if test.confirmed {
					w.hana.knows(t, file, int64(len("content")), backup.CatalogSuccessful)
				}
				w.volume.write(file, []byte("content"))
				w.start()
				w.after(10 * time.Second)
				w.hana.change(func(h *hana) { h.entries = nil })
				test.hana(w, file)
				w.volume.write(file, []byte(test.content))
				status := w.after(30 * time.Minute)
				if content, _ := w.store.get(backup.LogKey(sid, database, file)); string(content) != "content" {
					t.Errorf("the object was replaced: %s", content)
				}
				if status.ConflictFiles != 1 || !strings.Contains(status.Conflicts[0].Text, "other content") {
					t.Errorf("conflicts %+v", status.Conflicts)
				}
				if diff := cmp.Diff([]string{file}, w.volume.names()); diff != "" {
					t.Errorf("volume (-want +got):\n%s", diff)
				}
				if f := w.history()[file]; f.Confirmed != test.confirmed {
					t.Errorf("the index has %+v", f)
				}
			})
		})
	}
}
