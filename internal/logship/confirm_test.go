package logship_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// What HANA's catalog says decides on the removal, never on the upload.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	name := logName(2, 0, 1, 946684800001)
	size := int64(len("content of " + name))
	successful := func(change func(*backup.CatalogEntry)) func(*world) {
		return func(w *world) {
			e := entryOf(w.t, name, size, backup.CatalogSuccessful)
			change(&e)
			w.hana.change(func(h *hana) { h.entries = []backup.CatalogEntry{e} })
		}
	}
	for _, test := range []struct {
		name string
		hana func(*world)
		// later happens after a minute, in which the file has to stay.
		later func(*world)
		doubt string
		want  bool
	}{
		{name: "a catalog that knows it", hana: successful(func(*backup.CatalogEntry) {}), want: true},
		{name: "an unknown file", hana: func(*world) {}, doubt: "does not know it"},
		{
			name: "a file that becomes known", hana: func(*world) {}, doubt: "does not know it",
			later: successful(func(*backup.CatalogEntry) {}), want: true,
		},
		{
			name: "a failed backup", hana: successful(func(e *backup.CatalogEntry) { e.State, e.Message = backup.CatalogFailed, "[447]" }),
			doubt: "calls it failed: [447]",
		},
		{
			name: "a backup that runs and becomes successful", hana: successful(func(e *backup.CatalogEntry) { e.State = backup.CatalogRunning }),
			doubt: "calls it running", later: successful(func(*backup.CatalogEntry) {}), want: true,
		},
		{name: "another size", hana: successful(func(e *backup.CatalogEntry) { e.Files[0].Size++ }), doubt: "the file has"},
		{name: "another volume", hana: successful(func(e *backup.CatalogEntry) { e.Files[0].VolumeID++ }), doubt: "volume 3"},
		{name: "another position", hana: successful(func(e *backup.CatalogEntry) { e.Files[0].LastLogPosition++ }), doubt: "positions 0 to 65"},
		{name: "an entry without files", hana: successful(func(e *backup.CatalogEntry) { e.Files = nil }), doubt: "does not know it"},
		{name: "positions that the catalog does not say", hana: successful(func(e *backup.CatalogEntry) {
			e.Files[0].FirstLogPosition, e.Files[0].LastLogPosition = 0, 0
		}), want: true},
		{
			name: "a HANA that is away", hana: func(w *world) { w.hana.change(func(h *hana) { h.err = errors.New("refused") }) },
			doubt: "cannot be asked",
			later: func(w *world) {
				successful(func(*backup.CatalogEntry) {})(w)
				w.hana.change(func(h *hana) { h.err = nil })
			}, want: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{}, func(w *world) {
				test.hana(w)
				w.write(name)
				w.start()
				status := w.after(time.Minute)
				if test.doubt == "" {
					w.mustHave(name, true, false)
					return
				}
				w.mustHave(name, false, true)
				if status.UnconfirmedFiles != 1 || !strings.Contains(status.Unconfirmed[0].Text, test.doubt) {
					t.Errorf("unconfirmed %+v, expected a word about %q", status.Unconfirmed, test.doubt)
				}
				w.mustGauge("unconfirmed", 1)
				if test.later != nil {
					test.later(w)
				}
				w.after(10 * time.Minute)
				w.mustHave(name, test.want, !test.want)
			})
		})
	}
}

// A catalog that is a little late costs no second index.
func TestLateCatalogRow(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		name := logName(2, 0, 1, w.id())
		w.write(name)
		w.after(2 * time.Second)
		w.confirm(name)
		w.after(time.Second)
		w.mustHave(name, true, false)
		if got := len(w.indexes()); got != 1 {
			t.Errorf("%d indexes, expected 1", got)
		}
	})
}

func TestCatalogBackups(t *testing.T) {
	t.Parallel()
	t.Run("that of a data backup", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := catalogName(w.id())
			entry := entryOf(t, name, int64(len("content of "+name)), backup.CatalogSuccessful)
			w.hana.base = &entry
			w.write(name)
			w.start()
			w.after(time.Second)
			w.mustHave(name, true, false)
		})
	})
	t.Run("one that nobody knows is superseded by a later one", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			unknown := catalogName(w.id())
			w.write(unknown)
			w.start()
			w.after(time.Minute)
			w.mustHave(unknown, false, true)
			w.catalog()
			w.after(time.Minute)
			w.mustHave(unknown, false, false)
		})
	})
	t.Run("not by one that is not confirmed", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			unknown, later := catalogName(w.id()), catalogName(w.id())
			w.write(unknown)
			w.write(later)
			w.start()
			w.after(time.Hour)
			w.mustHave(unknown, false, true)
			w.mustHave(later, false, true)
		})
	})
}
