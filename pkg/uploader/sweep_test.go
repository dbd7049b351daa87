package uploader

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// FuzzCheckLeft gives checkLeft whatever a list of multipart uploads may be. It
// never lets an old one pass.
func FuzzCheckLeft(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"bucket": []}`, `{"bucket": null}`, `{"bucket": [{"Key": "a/b"}]}`,
		`{"bucket": [{"Key": "a/b", "Initiated": "2026-01-02T03:04:05Z", "UploadId": "x"}]}`,
		`{"bucket": [{"Key": "a/b", "Initiated": "2999-01-02T03:04:05Z"}], "other": [{"Initiated": "0001-01-01T00:00:00Z"}]}`,
		`{"bucket": [{"Initiated": "yesterday"}]}`, `{"bucket": {"Key": 1}}`,
	} {
		f.Add(text, int64(time.Hour))
	}
	f.Fuzz(func(t *testing.T, text string, age int64) {
		var uploads any
		if json.Unmarshal([]byte(text), &uploads) != nil {
			return
		}
		limit := time.Duration(age % int64(1000*time.Hour))
		err := checkLeft(uploads, limit)
		if err == nil && oldest(uploads).Before(time.Now().Add(-limit-2*time.Minute)) {
			t.Errorf("%s: an upload older than %s has passed", text, limit)
		}
	})
}

// oldest returns when the oldest of uploads began, now if there is none.
func oldest(uploads any) time.Time {
	result := time.Now()
	buckets, _ := uploads.(map[string]any)
	for _, list := range buckets {
		entries, _ := list.([]any)
		for _, entry := range entries {
			fields, _ := entry.(map[string]any)
			text, _ := fields["Initiated"].(string)
			if began, err := time.Parse(time.RFC3339, text); err == nil && began.Before(result) {
				result = began
			}
		}
	}
	return result
}

// What a Check has left that was cut off goes when it is old, with any prefix.
func TestSweepOfChecks(t *testing.T) {
	root := t.TempDir()
	store := open(t, Config{Type: "local", Root: root})
	for _, key := range []string{trialPrefix + "old", trialPrefix + "new", "HDB/k"} {
		if _, err := store.write(t.Context(), key, []byte("x"), false); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-3 * time.Hour)
	for _, key := range []string{trialPrefix + "old", "HDB/k"} {
		if err := os.Chtimes(filepath.Join(root, key), before, before); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(olderThan time.Duration, want ...string) {
		t.Helper()
		if err := store.Sweep(t.Context(), "HDB/", olderThan); err != nil {
			t.Fatal(err)
		}
		found, err := store.list(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range found {
			got = append(got, o.Remote())
		}
		if !slices.Equal(got, want) {
			t.Errorf("after a sweep of %s: %q, want %q", olderThan, got, want)
		}
	}
	sweep(0, trialPrefix+"new", trialPrefix+"old", "HDB/k")
	sweep(72*time.Hour, trialPrefix+"new", trialPrefix+"old", "HDB/k")
	sweep(2*time.Hour, trialPrefix+"new", "HDB/k")
}
