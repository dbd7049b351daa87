package backup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

func goodBreak() backup.BreakRecord {
	return backup.BreakRecord{
		Version: backup.BreakVersion, Tool: "pipestreamer test", SID: "HXE", Database: "PRD",
		Break: backup.Break{At: time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC), Reason: "RECOVERY", Message: "by somebody"},
	}
}

func TestBreakRecord(t *testing.T) {
	t.Parallel()
	want := goodBreak()
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := backup.DecodeBreak(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name, spoil := range map[string]func(*backup.BreakRecord){
		"version":  func(r *backup.BreakRecord) { r.Version = 2 },
		"no time":  func(r *backup.BreakRecord) { r.Break.At = time.Time{} },
		"no sid":   func(r *backup.BreakRecord) { r.SID = "" },
		"database": func(r *backup.BreakRecord) { r.Database = "../X" },
		"long":     func(r *backup.BreakRecord) { r.Break.Message = strings.Repeat("x", backup.BreakLimit) },
	} {
		r := goodBreak()
		spoil(&r)
		if _, err := r.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	for _, text := range []string{"", "{}", strings.Replace(string(text), `"tool"`, `"fool"`, 1), string(text) + "{}"} {
		if _, err := backup.DecodeBreak([]byte(text)); err == nil {
			t.Errorf("decoded %q", text)
		}
	}
}

func TestBreakKey(t *testing.T) {
	t.Parallel()
	at := goodBreak().Break.At
	key := backup.BreakKey("HXE", "PRD", at)
	if want := "HXE/PRD/breaks/00000001767323045678.json"; key != want {
		t.Errorf("key %s, expected %s", key, want)
	}
	if got, err := backup.ParseBreakKey("HXE", "PRD", key); err != nil || !got.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%s, %v", got, err)
	}
	for _, key := range []string{"", "HXE/PRD/breaks/1.json", key + "x", "HXE/OTHER" + key[len("HXE/PRD"):], "HXE/PRD/breaks/00000000000000000000.json"} {
		if at, err := backup.ParseBreakKey("HXE", "PRD", key); err == nil {
			t.Errorf("%q gives %s", key, at)
		}
	}
}

func FuzzDecodeBreak(f *testing.F) {
	good := goodBreak()
	text, err := good.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := backup.DecodeBreak(text)
		if err != nil {
			return
		}
		if _, err := r.Encode(); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
		key := backup.BreakKey(r.SID, r.Database, r.Break.At)
		if at, err := backup.ParseBreakKey(r.SID, r.Database, key); err != nil || at.UnixMilli() != r.Break.At.UnixMilli() {
			t.Errorf("%s gives %s, %v", key, at, err)
		}
	})
}
