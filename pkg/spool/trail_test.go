package spool

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestQuietFile: without an event, a file is finished when it did not change for
// the quiet time, however often it was looked at meanwhile.
func TestQuietFile(t *testing.T) {
	short, whole := File{Name: "F", Dev: 1, Ino: 2, Size: 10}, File{Name: "F", Dev: 1, Ino: 2, Size: 20}
	type look struct {
		after    time.Duration
		file     File
		finished bool
	}
	for name, c := range map[string]struct {
		config Config
		looks  []look
	}{
		"on a network file system": {looks: []look{
			{0, whole, false}, {time.Second, whole, false}, {3 * time.Second, whole, false}, {time.Second, whole, true},
		}},
		"with two looks": {looks: []look{{0, whole, false}, {firstRescan, whole, true}}},
		"one that HANA goes on with": {looks: []look{
			{0, short, false}, {4 * time.Second, short, false}, {time.Second, whole, false}, {4 * time.Second, whole, false}, {time.Second, whole, true},
		}},
		"with looks that are set": {config: Config{Rescan: time.Second}, looks: []look{{0, whole, false}, {time.Second, whole, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen trail
				for i, l := range c.looks {
					time.Sleep(l.after)
					seen.scanned(l.file, c.config.quiet())
					if got := seen.finished(l.file); got != l.finished {
						t.Errorf("look %d: finished is %t, want %t", i+1, got, l.finished)
					}
				}
			})
		})
	}
}
