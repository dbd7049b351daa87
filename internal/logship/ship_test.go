package logship_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func TestShips(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		first, other, second, catalog := w.log64(2, 10, 20), w.log64(3, 5, 9), w.log64(2, 20, 21), w.catalog()
		w.start()
		status := w.after(time.Second)
		for _, name := range []string{first, other, second, catalog} {
			w.mustHave(name, true, false)
		}
		indexes := w.indexes()
		if len(indexes) != 1 {
			t.Fatalf("%d indexes, expected one for all files", len(indexes))
		}
		if diff := cmp.Diff([]string{first, second, other, catalog}, namesOf(indexes[0])); diff != "" {
			t.Errorf("order in the index (-want +got):\n%s", diff)
		}
		entry := entryOf(t, second, 0, backup.CatalogSuccessful)
		want := []logship.VolumeStatus{
			{VolumeID: 2, File: second, Position: 21 * 64, Until: entry.StartedAt},
			{VolumeID: 3, File: other, Position: 9 * 64, Until: entryOf(t, other, 0, "").StartedAt},
		}
		if diff := cmp.Diff(want, status.Volumes); diff != "" {
			t.Errorf("volumes (-want +got):\n%s", diff)
		}
		if !status.RecoveryPoint.Equal(want[1].Until) || status.WaitingFiles != 0 || status.KeptFiles != 0 {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("recovery_point_timestamp_seconds", float64(want[1].Until.UnixMilli())/1000)
		w.mustGauge("shipped_files_total", 4)
		w.mustGauge("waiting_files", 0)
		w.mustGauge("store_failing", 0)
		if _, known := w.gauge("oldest_waiting_timestamp_seconds"); known {
			t.Error("the oldest waiting file has a time, and nothing waits")
		}
	})
}

func TestEachFileIsShippedWhenItComes(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		for i := range 3 {
			name := w.log64(2, i, i+1)
			w.after(time.Minute)
			w.mustHave(name, true, false)
		}
		if got := len(w.indexes()); got != 3 {
			t.Errorf("%d indexes", got)
		}
	})
}

func TestKeepFor(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{KeepFor: time.Hour}, func(w *world) {
		name := w.log64(2, 0, 1)
		w.start()
		status := w.after(59 * time.Minute)
		w.mustHave(name, true, true)
		if status.KeptFiles != 1 || status.WaitingFiles != 0 {
			t.Errorf("status %+v", status)
		}
		w.stop()
		w.start()
		w.after(30 * time.Second)
		w.mustHave(name, true, true)
		w.after(time.Minute)
		w.mustHave(name, true, false)
		if got := len(w.indexes()); got != 1 {
			t.Errorf("%d indexes, expected no other after the restart", got)
		}
	})
}

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

func TestObjectExists(t *testing.T) {
	t.Parallel()
	t.Run("the same content", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := w.log64(2, 0, 1)
			w.store.put(backup.LogKey(sid, database, name), w.content[name])
			w.start()
			w.after(time.Second)
			w.mustHave(name, true, false)
		})
	})
	t.Run("other content", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name, next := w.log64(2, 0, 1), w.log64(2, 1, 2)
			key := backup.LogKey(sid, database, name)
			w.store.put(key, []byte("not that file"))
			w.start()
			status := w.after(time.Hour)
			if _, indexed := w.history()[name]; indexed {
				t.Error("what is in conflict was indexed")
			}
			if content, _ := w.store.get(key); string(content) != "not that file" {
				t.Errorf("the object was overwritten: %s", content)
			}
			w.mustHave(next, true, false)
			if diff := cmp.Diff([]string{name}, w.volume.names()); diff != "" {
				t.Errorf("volume (-want +got):\n%s", diff)
			}
			if len(status.Conflicts) != 1 || status.Conflicts[0].File != name || status.ConflictFiles != 1 {
				t.Errorf("conflicts %+v", status.Conflicts)
			}
			w.mustGauge("conflicts", 1)
			if got := w.told("a log backup is in conflict with the store"); got != 1 {
				t.Errorf("told %d times", got)
			}
			if err := w.store.Remove(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			status = w.after(time.Hour)
			w.mustHave(name, true, false)
			if status.ConflictFiles != 0 {
				t.Errorf("conflicts %+v", status.Conflicts)
			}
		})
	})
	t.Run("an index names other content", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := w.log64(2, 0, 1)
			w.start()
			w.after(time.Second)
			w.stop()
			w.volume.write(name, []byte("HANA has written something else"))
			w.start()
			status := w.after(time.Hour)
			w.mustHave(name, true, true)
			if status.ConflictFiles != 1 || !strings.Contains(status.Conflicts[0].Text, "an index names") {
				t.Errorf("conflicts %+v", status.Conflicts)
			}
		})
	})
}

func TestSecondCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		verify string
		spoil  func(content []byte) []byte
		want   string
	}{
		{"a flipped byte", logship.VerifyRead, func(b []byte) []byte { b[0] ^= 1; return b }, "not what was sent"},
		{"a shorter object", logship.VerifyStat, func(b []byte) []byte { return b[1:] }, "not what was sent"},
		{"a lost object is sent again", logship.VerifyRead, nil, ""},
		{"a lost object is sent again, by its size", logship.VerifyStat, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{Verify: test.verify}, func(w *world) {
				name := w.log64(2, 0, 1)
				key := backup.LogKey(sid, database, name)
				spoilt := false
				w.store.fail(func(call, of string) error {
					if (call == "OpenStream" || call == "Stat") && of == key && !spoilt {
						spoilt = true
						content, _ := w.store.get(key)
						if test.spoil == nil {
							return w.store.Remove(t.Context(), key)
						}
						w.store.put(key, test.spoil(slices.Clone(content)))
					}
					return nil
				})
				w.start()
				status := w.after(time.Minute)
				if test.want == "" {
					w.mustHave(name, true, false)
					return
				}
				if status.ConflictFiles != 1 || !strings.Contains(status.Conflicts[0].Text, test.want) {
					t.Errorf("conflicts %+v", status.Conflicts)
				}
				if diff := cmp.Diff([]string{name}, w.volume.names()); diff != "" {
					t.Errorf("volume (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestFileTrouble(t *testing.T) {
	t.Parallel()
	t.Run("it cannot be read for a while", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name, next := w.log64(2, 0, 1), w.log64(3, 0, 1)
			faulty := true
			w.volume.opened = func(of string) error {
				if of == name && faulty {
					return errors.New("input/output error")
				}
				return nil
			}
			w.start()
			status := w.after(3 * time.Minute)
			w.mustHave(next, true, false)
			if status.ProblemFiles != 1 || status.StoreTrouble != "" {
				t.Errorf("status %+v", status)
			}
			faulty = false
			status = w.after(2 * time.Minute)
			w.mustHave(name, true, false)
			if status.ProblemFiles != 0 {
				t.Errorf("problems %+v", status.Problems)
			}
		})
	})
	t.Run("it changes while it is read", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := w.log64(2, 0, 1)
			times := 0
			w.store.fail(func(call, key string) error {
				if call == "Consume" && baseName(key) == name && times < 3 {
					times++
					w.volume.write(name, w.content[name])
				}
				return nil
			})
			w.start()
			w.after(5 * time.Minute)
			w.mustHave(name, true, false)
			if times != 3 {
				t.Errorf("it changed %d times", times)
			}
		})
	})
	t.Run("somebody removes it", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			first, lost, third := w.log64(2, 0, 1), w.log64(2, 1, 2), w.log64(2, 2, 3)
			w.volume.opened = func(of string) error {
				if of == lost {
					w.volume.unlink(of)
				}
				return nil
			}
			w.start()
			status := w.after(5 * time.Minute)
			w.mustHave(first, true, false)
			w.mustHave(third, true, false)
			want := []logship.Gap{{VolumeID: 2, After: 64, Before: 128, AfterFile: first, BeforeFile: third}}
			if diff := cmp.Diff(want, status.Gaps); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if got := w.told("a log backup was removed from the volume before it was safe in the store"); got != 1 {
				t.Errorf("told %d times", got)
			}
		})
	})
	t.Run("an empty one stays", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := logName(2, 0, 1, w.id())
			w.volume.write(name, nil)
			w.start()
			status := w.after(time.Hour)
			if status.ProblemFiles != 1 || len(w.volume.names()) != 1 || len(w.indexes()) != 0 {
				t.Errorf("status %+v, volume %v", status, w)
			}
		})
	})
	t.Run("it is replaced before it is removed", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			name := w.log64(2, 0, 1)
			w.volume.removing = func(name string) {
				w.mustBeSafe(name)
				w.volume.removing = nil
				w.volume.write(name, []byte("another file"))
			}
			w.start()
			status := w.after(time.Minute)
			if len(w.volume.names()) != 1 || status.ConflictFiles != 1 {
				t.Errorf("%s: status %+v, volume %v", name, status, w)
			}
		})
	})
}

func TestGaps(t *testing.T) {
	t.Parallel()
	t.Run("one that nothing explains is recorded at once", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			first := w.log64(2, 0, 1)
			w.after(time.Second)
			third := w.log64(2, 2, 3)
			status := w.after(time.Second)
			w.mustHave(third, true, false)
			want := []logship.Gap{{VolumeID: 2, After: 64, Before: 128, AfterFile: first, BeforeFile: third}}
			if diff := cmp.Diff(want, status.Gaps); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if point := entryOf(t, first, 0, "").StartedAt; !status.RecoveryPoint.Equal(point) {
				t.Errorf("recovery point %s, expected %s before the gap", status.RecoveryPoint, point)
			}
			w.mustGauge("gaps", 1)
			w.after(time.Hour)
			if got := w.told("a piece of the log is missing in the store: no recovery can go past it"); got != 1 {
				t.Errorf("told %d times", got)
			}

			w.log64(2, 1, 2)
			status = w.after(time.Second)
			if len(status.Gaps) != 0 || !status.RecoveryPoint.Equal(entryOf(t, third, 0, "").StartedAt) {
				t.Errorf("after the missing file came: status %+v", status)
			}
		})
	})
	t.Run("a backup that runs is waited for", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			first := w.log64(2, 0, 1)
			w.after(time.Second)
			slow := logName(2, 1, 2, w.id())
			w.hana.knows(t, slow, 0, backup.CatalogRunning)
			third := w.log64(2, 2, 3)
			w.after(30 * time.Second)
			if _, indexed := w.history()[third]; indexed {
				t.Error("a file was indexed before an earlier one that HANA still writes")
			}
			if _, stored := w.store.get(backup.LogKey(sid, database, third)); !stored {
				t.Error("a file that has to wait was not even uploaded")
			}
			w.hana.change(func(h *hana) { h.entries = h.entries[:1:1] })
			w.confirm(third)
			w.confirm(slow)
			w.write(slow)
			status := w.after(time.Minute)
			var names []string
			for _, x := range w.indexes() {
				names = append(names, namesOf(x)...)
			}
			if diff := cmp.Diff([]string{first, slow, third}, names); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if len(status.Gaps) != 0 || len(w.volume.names()) != 0 {
				t.Errorf("status %+v, volume %v", status, w)
			}
		})
	})
	for name, spoil := range map[string]func(*hana){
		"a backup that runs for ever is waited for a moment": func(h *hana) {
			h.entries = append(h.entries, backup.CatalogEntry{BackupID: time.Now().UnixMilli(), State: backup.CatalogRunning})
		},
		"a HANA that cannot say is waited for a moment": func(h *hana) { h.err = errors.New("refused") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, logship.Config{}, func(w *world) {
				w.start()
				w.log64(2, 0, 1)
				w.after(time.Second)
				third := w.log64(2, 2, 3)
				w.hana.change(spoil)
				w.after(50 * time.Second)
				if _, indexed := w.history()[third]; indexed {
					t.Error("it was not waited for")
				}
				status := w.after(20 * time.Second)
				if _, indexed := w.history()[third]; !indexed || len(status.Gaps) != 1 {
					t.Errorf("it is waited for longer; status %+v", status)
				}
			})
		})
	}
	t.Run("a data backup behind it makes it count no more", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Second)
			w.log64(2, 2, 3)
			if status := w.after(time.Second); len(status.Gaps) != 1 {
				t.Fatalf("gaps %+v", status.Gaps)
			}
			w.hana.change(func(h *hana) {
				h.base = &backup.CatalogEntry{Files: []backup.CatalogFile{{VolumeID: 2, SourceType: backup.SourceVolume, RedoLogPosition: 150}}}
			})
			last := w.log64(2, 3, 4)
			status := w.after(time.Second)
			if len(status.Gaps) != 0 || !status.RecoveryPoint.Equal(entryOf(t, last, 0, "").StartedAt) {
				t.Errorf("status %+v", status)
			}
			if got := w.told("a gap of the log counts no more"); got != 1 {
				t.Errorf("told %d times", got)
			}
		})
	})
	t.Run("a failed backup does not fill it, and its second try does", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			failed := logName(2, 1, 2, w.id())
			w.hana.knows(t, failed, int64(len("content of "+failed)), backup.CatalogFailed)
			w.write(failed)
			w.log64(2, 2, 3)
			if status := w.after(2 * time.Minute); len(status.Gaps) != 1 {
				t.Errorf("gaps %+v", status.Gaps)
			}
			w.log64(2, 1, 2)
			if status := w.after(time.Minute); len(status.Gaps) != 0 {
				t.Errorf("gaps %+v", status.Gaps)
			}
			w.mustHave(failed, false, true)
		})
	})
	t.Run("a duplicate and an overlap are none", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 4)
			w.after(time.Second)
			w.log64(2, 0, 4)
			w.log64(2, 2, 6)
			status := w.after(time.Minute)
			if len(status.Gaps) != 0 || status.Volumes[0].Position != 6*64 || len(w.volume.names()) != 0 {
				t.Errorf("status %+v", status)
			}
		})
	})
	t.Run("a gap is known after a restart", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			w.log64(2, 0, 1)
			w.after(time.Second)
			w.log64(2, 2, 3)
			before := w.after(time.Second)
			w.stop()
			w.start()
			after := w.after(time.Second)
			if diff := cmp.Diff(before.Gaps, after.Gaps); diff != "" || !after.RecoveryPoint.Equal(before.RecoveryPoint) {
				t.Errorf("gaps, recovery point %s then %s (-before +after):\n%s", before.RecoveryPoint, after.RecoveryPoint, diff)
			}
			w.log64(2, 4, 5)
			if status := w.after(time.Minute); len(status.Gaps) != 2 {
				t.Errorf("gaps %+v", status.Gaps)
			}
		})
	})
}

func TestStoreOutage(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Minute)
		away := errors.New("connection refused")
		w.store.fail(func(string, string) error { return away })
		const told = "log backups stay on the volume, because the store fails"
		var names []string
		w.volume.free = 1000
		began := time.Now()
		for i := 1; i <= 25; i++ {
			names = append(names, w.log64(2, i, i+1), w.catalog())
			status := w.after(time.Minute)
			if len(w.volume.names()) != len(names) || status.WaitingFiles != len(names) || !strings.Contains(status.StoreTrouble, away.Error()) {
				t.Fatalf("after %d minutes: status %+v, volume %v", i, status, w)
			}
			if want := 1 + (i-1)/10; w.told(told) != want && w.told(told) != 1+i/10 {
				t.Errorf("told %d times after %d minutes", w.told(told), i)
			}
		}
		status := w.shipper.Status()
		if status.Lasts == nil || *status.Lasts < 5*60 || *status.Lasts > 15*60 {
			t.Errorf("the volume of 1000 free bytes lasts %v s, with two files of about 45 bytes each minute", status.Lasts)
		}
		if status.StoreTroubleSince.Sub(began) > time.Second || status.OldestWaiting.Sub(began) > time.Second {
			t.Errorf("since %s, oldest %s, expected %s", status.StoreTroubleSince, status.OldestWaiting, began)
		}
		w.mustGauge("store_failing", 1)
		w.mustGauge("waiting_files", 50)
		for _, line := range w.log.FilterMessage(told).All()[1:] {
			if line.ContextMap()["volume_lasts"] == "unknown" {
				t.Errorf("how long the volume lasts was not told: %v", line.ContextMap())
			}
		}
		w.store.fail(nil)
		status = w.after(2 * time.Minute)
		history := w.history()
		for _, name := range names {
			w.mustHaveIn(history, name, true, false)
		}
		w.mustBeInOrder()
		if status.StoreTrouble != "" || len(status.Gaps) != 0 || w.told("the store takes log backups again") != 1 {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("store_failing", 0)
	})
}

// A store that is away when the shipper starts, before it has read an index.
func TestStoreAwayAtStart(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		name := w.log64(2, 0, 1)
		w.store.fail(func(string, string) error { return errors.New("connection refused") })
		w.start()
		if status := w.after(time.Second); status.StoreTrouble == "" || status.WaitingFiles != 1 {
			t.Errorf("status %+v", status)
		}
		w.store.fail(nil)
		w.after(2 * time.Minute)
		w.mustHave(name, true, false)
	})
}

// A volume that cannot be read is told, and read again when it can.
func TestVolumeTrouble(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.volume.fault = errors.New("stale file handle")
		w.start()
		status := w.after(10 * time.Minute)
		if !strings.Contains(status.VolumeTrouble, "stale") || time.Since(status.VolumeTroubleSince) < 9*time.Minute {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("volume_failing", 1)
		w.volume.mu.Lock()
		w.volume.fault = nil
		w.volume.mu.Unlock()
		name := w.log64(2, 0, 1)
		status = w.after(2 * time.Minute)
		w.mustHave(name, true, false)
		if status.VolumeTrouble != "" {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("volume_failing", 0)
	})
}

func TestBroken(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.log64(2, 0, 1)
		w.start()
		w.after(time.Minute)
		w.hana.change(func(h *hana) { h.broken = &backup.Break{At: time.Now(), Reason: "log mode overwrite"} })
		status := w.after(11 * time.Minute)
		if status.Broken == nil || status.Broken.Reason != "log mode overwrite" {
			t.Errorf("status %+v", status)
		}
		w.mustGauge("history_broken", 1)
		w.after(time.Hour)
		if got := w.told("HANA has interrupted the log: no recovery goes past that moment until the next data backup"); got != 1 {
			t.Errorf("told %d times", got)
		}
		w.log64(2, 5, 6)
		if status := w.after(time.Minute); status.Broken != nil {
			t.Errorf("the log goes on, and is called broken since %s", status.Broken.At)
		}
	})
}

func TestIndexSequences(t *testing.T) {
	t.Parallel()
	t.Run("a taken one is passed over", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			w.start()
			first := w.log64(2, 0, 1)
			w.after(time.Minute)
			name := w.log64(2, 1, 2)
			for i := range int64(3) { // another process has written just now
				sequence := time.Now().UnixMilli() + i
				x := w.indexes()[0]
				x.Sequence = sequence
				text, err := x.Encode()
				if err != nil {
					t.Fatal(err)
				}
				w.store.put(backup.LogIndexKey(sid, database, sequence), text)
			}
			w.after(time.Minute)
			w.mustHave(name, true, false)
			w.mustHave(first, true, false)
			if got := len(w.indexes()); got != 5 {
				t.Errorf("%d indexes, expected 5", got)
			}
		})
	})
	t.Run("they grow although the clock went back", func(t *testing.T) {
		t.Parallel()
		play(t, logship.Config{}, func(w *world) {
			x := &backup.LogIndex{Version: 1, SID: sid, Database: database, Sequence: time.Now().Add(48 * time.Hour).UnixMilli(), Files: []backup.LogFile{file("log_backup_2_0_0_64.5")}}
			text, err := x.Encode()
			if err != nil {
				t.Fatal(err)
			}
			w.store.put(backup.LogIndexKey(sid, database, x.Sequence), text)
			w.start()
			w.log64(2, 1, 2)
			w.after(time.Minute)
			if got := w.indexes(); len(got) != 2 || got[1].Sequence != x.Sequence+1 {
				t.Errorf("%d indexes, the last %d, expected %d", len(got), got[len(got)-1].Sequence, x.Sequence+1)
			}
		})
	})
}

// An index that cannot be read must not stop the shipping of what comes.
func TestDamagedIndexAtStart(t *testing.T) {
	t.Parallel()
	play(t, logship.Config{}, func(w *world) {
		w.start()
		w.log64(2, 0, 1)
		w.after(time.Minute)
		w.stop()
		key := backup.LogIndexKey(sid, database, w.indexes()[0].Sequence)
		w.store.put(key, []byte("{"))
		name := w.log64(2, 1, 2)
		w.start()
		status := w.after(time.Minute)
		if len(w.volume.names()) != 0 || len(status.DamagedIndexes) != 1 || !strings.Contains(status.DamagedIndexes[0], key) {
			t.Errorf("%s: status %+v", name, status)
		}
		if err := w.store.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		w.mustHave(name, true, false)
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := logship.Config{SID: sid, Database: database}
	parts := logship.Parts{Volume: newVolume(), Store: newMemoryStore(), Historian: &hana{}, Remove: newVolume().remove}
	for want, change := range map[string]func(*logship.Config, *logship.Parts){
		"sid":                  func(c *logship.Config, _ *logship.Parts) { c.SID = "x" },
		"upper case":           func(c *logship.Config, _ *logship.Parts) { c.Database = "prd" },
		`verify "no"`:          func(c *logship.Config, _ *logship.Parts) { c.Verify = "no" },
		"no negative numbers":  func(c *logship.Config, _ *logship.Parts) { c.KeepFor = -1 },
		"expected a volume, a": func(_ *logship.Config, p *logship.Parts) { p.Historian = nil },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			c, p := good, parts
			change(&c, &p)
			if _, err := logship.New(c, p, nopLogger(), logship.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, expected a word about %q", err, want)
			}
		})
	}
	s, err := logship.New(good, parts, nopLogger(), logship.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := newContext(t)
	cancel()
	if err := errors.Join(s.Run(ctx)); err != nil {
		t.Errorf("the first run: %v", err)
	}
	if err := s.Run(ctx); err == nil || !strings.Contains(fmt.Sprint(err), "already") {
		t.Errorf("the second run: %v", err)
	}
}
