package logship_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/logship"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func nopLogger() *zap.Logger { return zap.NewNop() }

func newContext(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// file is an entry of an index.
func file(name string) backup.LogFile {
	sum := hexSum([]byte(name))
	return backup.LogFile{Name: name, Size: 9, SHA256: sum, Objects: []backup.Object{{
		Key: backup.LogKey(sid, database, name), Size: 9, SHA256: sum, Parts: []backup.Part{{Size: 9, SHA256: sum}},
	}}}
}

func putIndex(t *testing.T, s *memoryStore, sequence int64, files ...backup.LogFile) string {
	t.Helper()
	x := &backup.LogIndex{Version: 1, SID: sid, Database: database, Sequence: sequence, Files: files}
	text, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key := backup.LogIndexKey(sid, database, sequence)
	s.put(key, text)
	return key
}

func TestReadIndexes(t *testing.T) {
	t.Parallel()
	const (
		early = "log_backup_2_0_0_64.1000"
		again = "log_backup_2_0_0_64.1001"
		late  = "log_backup_2_0_64_128.1002"
		other = "log_backup_10_0_0_64.1003"
		topo  = "log_backup_0_0_0_0.900"
	)
	hour := time.Hour.Milliseconds()
	s := newMemoryStore()
	confirmed := file(early)
	confirmed.Confirmed = true
	putIndex(t, s, 10*hour, file(early), file(topo))
	putIndex(t, s, 11*hour, confirmed, file(again))
	putIndex(t, s, 12*hour, file(late), file(other))
	s.put(backup.LogIndexPrefix(sid, database)+"notes.txt", []byte("not an index"))
	s.put(backup.LogIndexPrefix(sid, "OTHER")+"00000000000000000001.json", []byte("not ours"))
	for _, test := range []struct {
		name  string
		since time.Time
		want  []backup.LogFile
	}{
		{"all", time.Time{}, []backup.LogFile{confirmed, file(again), file(late), file(other), file(topo)}},
		{"an hour of patience with clocks", time.UnixMilli(12 * hour), []backup.LogFile{confirmed, file(again), file(late), file(other)}},
		{"the last", time.UnixMilli(12*hour + 1), []backup.LogFile{file(late), file(other)}},
		{"none", time.UnixMilli(14 * hour), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, _, err := logship.ReadIndexes(t.Context(), s, sid, database, test.since)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// What one damaged index said is missing, and told; the others count.
func TestReadIndexesDamaged(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *memoryStore, key string) string{
		"a damaged one": func(s *memoryStore, key string) string {
			s.put(key, []byte(`{"version":1}`))
			return "is damaged"
		},
		"one with a field that is not known": func(s *memoryStore, key string) string {
			text, _ := s.get(key)
			s.put(key, []byte(strings.Replace(string(text), `"version"`, `"x":1,"version"`, 1)))
			return "is damaged"
		},
		"one under another's key": func(s *memoryStore, key string) string {
			text, _ := s.get(key)
			s.put(key, []byte(strings.Replace(string(text), `"sequence":2`, `"sequence":3`, 1)))
			return "is that of PRD@HXE with sequence 3"
		},
		"one that is gone": func(s *memoryStore, key string) string {
			s.fail(func(call, of string) error {
				if call == "Open" && of == key {
					return backup.ErrNotFound
				}
				return nil
			})
			return "is not there"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMemoryStore()
			putIndex(t, s, 1, file("log_backup_2_0_0_64.1000"))
			key := putIndex(t, s, 2, file("log_backup_2_0_64_128.1001"))
			want := spoil(s, key)
			putIndex(t, s, 3, file("log_backup_2_0_128_192.1002"))
			files, damaged, err := logship.ReadIndexes(t.Context(), s, sid, database, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for i := range files {
				names = append(names, files[i].Name)
			}
			if diff := cmp.Diff([]string{"log_backup_2_0_0_64.1000", "log_backup_2_0_128_192.1002"}, names); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if len(damaged) != 1 || !strings.Contains(damaged[0].Error(), want) || !strings.Contains(damaged[0].Error(), key) {
				t.Errorf("damaged: %v, expected %q with the key %s", damaged, want, key)
			}
		})
	}
}

// A store that fails now and then is asked again, one that is away is an error.
func TestReadIndexesAsksAgain(t *testing.T) {
	t.Parallel()
	s := newMemoryStore()
	putIndex(t, s, 1, file("log_backup_2_0_0_64.1000"))
	fault := errors.New("503")
	times := 0
	s.fail(func(call, _ string) error {
		if call == "Open" && times == 0 {
			times++
			return fault
		}
		return nil
	})
	if files, _, err := logship.ReadIndexes(t.Context(), s, sid, database, time.Time{}); err != nil || len(files) != 1 {
		t.Errorf("got %d files and %v", len(files), err)
	}
	s.fail(func(call, _ string) error {
		if call == "List" {
			return fault
		}
		return nil
	})
	if _, _, err := logship.ReadIndexes(t.Context(), s, sid, database, time.Time{}); !errors.Is(err, fault) {
		t.Errorf("got %v, expected %v", err, fault)
	}
}
