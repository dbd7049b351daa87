package landscape

import (
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

func newSystem(t *testing.T) *System {
	t.Helper()
	s, err := New(Config{SID: "HXE", Databases: []Database{{Name: SystemDB, Volumes: []Volume{{ID: 1, Size: 1}}}}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSet(t *testing.T) {
	s := newSystem(t)
	for key, value := range map[string]string{
		"profile": "direct-fallback", "write-size": "4KiB", "sync": "true", "header-pass": "true", "compressible": "true",
		"delay-open": "1ms..2s", "delay-write": "3ms", "delay-close": "4ms", "delay-answer": "5ms", "replication": "primary", "chunk-size": "1MiB",
		"first-writes": "1B:8KiB", "packets": "true", "late-row": "6ms", "late-state": "7ms", "late-files": "8ms",
		"client-gone": "continue", "cancel": "ignore", "catalog": "error", "crash-leaves": "running",
		"clock": "-2s", "catalog-each": "true", "delta-size": "2MiB", "log-gap": "fail",
	} {
		if err := s.Set(key, value); err != nil {
			t.Error(err)
		}
	}
	want := Settings{
		Profile: files.DirectFallback, WriteSize: 4096, Sync: true, HeaderPass: true, Compressible: true, Replication: "primary",
		Delay: Delay{
			Open: Range{time.Millisecond, 2 * time.Second}, Write: Range{3e6, 3e6}, Close: Range{4e6, 4e6}, Answer: Range{5e6, 5e6},
		},
		First: files.First{Size: 1, Bytes: 8192}, Packets: true, Late: Late{Range{6e6, 6e6}, Range{7e6, 7e6}, Range{8e6, 8e6}},
		ClientGone: "continue", Cancel: "ignore", Catalog: "error", CrashLeaves: "running",
		Clock: -2 * time.Second, CatalogEach: true, DeltaSize: 2 << 20, LogGap: "fail",
	}
	if diff := cmp.Diff(want, s.settings); diff != "" {
		t.Error(diff)
	}
	if got := s.chunkSize("HXE"); got != 1<<20 {
		t.Errorf("chunk size %d", got)
	}
}

func TestSetRefuses(t *testing.T) {
	s := newSystem(t)
	for _, test := range []struct{ key, value string }{
		{"profile", "x"},
		{"write-size", "2GiB"},
		{"write-size", "0"},
		{"sync", "maybe"},
		{"delay-open", "2s..1s"},
		{"delay-open", "-1s"},
		{"delay-open", "x"},
		{"replication", "x"},
		{"chunk-size", "x"},
		{"first-writes", "1B"},
		{"first-writes", "x:1B"},
		{"packets", "x"},
		{"late-state", "x"},
		{"client-gone", "x"},
		{"cancel", ""},
		{"catalog", "x"},
		{"clock", "x"},
		{"log-backups", "-1s"},
		{"log-backups", "x"},
		{"delta-size", "0"},
		{"log-gap", "x"},
		{"catalog-each", "x"},
		{"crash-leaves", "x"},
		{"nothing", ""},
		{"fail", "x"},
		{"fail", "open:x"},
		{"fail", "open:1:x"},
		{"fail", "open:1:0:EWHAT"},
		{"fail", "open:1:0:EIO:1"},
	} {
		if err := s.Set(test.key, test.value); err == nil {
			t.Errorf("%s=%s was accepted", test.key, test.value)
		}
	}
}

func TestFault(t *testing.T) {
	s := newSystem(t)
	if err := s.Set("fail", "write:2:3MiB:ENOSPC"); err != nil {
		t.Fatal(err)
	}
	want := fault{files.Fault{What: "write", At: 3 << 20, Errno: syscall.ENOSPC}, 2}
	if len(s.faults) != 1 || s.faults[0] != want {
		t.Errorf("got %+v, want %+v", s.faults, want)
	}
}

func TestNewRefuses(t *testing.T) {
	volume := []Volume{{ID: 1, Size: 1}}
	for name, databases := range map[string][]Database{
		"no SYSTEMDB":      {{Name: "HXE", Volumes: volume}},
		"one name twice":   {{Name: SystemDB, Volumes: volume}, {Name: SystemDB, Volumes: volume}},
		"no name":          {{Volumes: volume}},
		"one volume twice": {{Name: SystemDB, Volumes: []Volume{{ID: 1, Size: 1}, {ID: 1, Size: 1}}}},
		"an empty volume":  {{Name: SystemDB, Volumes: []Volume{{ID: 1}}}},
	} {
		if _, err := New(Config{Databases: databases}, zap.NewNop()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
