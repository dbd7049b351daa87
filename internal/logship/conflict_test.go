package logship_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

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
			var faulty atomic.Bool
			faulty.Store(true)
			w.volume.opened = func(of string) error {
				if of == name && faulty.Load() {
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
			faulty.Store(false)
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
