package main

import (
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

// TestStoreBeside: the codec and the store together stay within memoryBudget.
func TestStoreBeside(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		budget      config.Size
		compression string
		recipients  []string
		want        string // in the error
		shares      bool
	}{
		{"neither", 320 << 20, "off", nil, "", false},
		{"compressed", 512 << 20, "fastest", nil, "", true},
		{"encrypted", 512 << 20, "off", []string{"age1x"}, "", true},
		{"no room beside", 320 << 20, "fastest", nil, "memoryBudget: 320.0 MiB: expected at least", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &config.Config{
				MemoryBudget: test.budget, Compression: test.compression,
				Encryption: config.Encryption{Recipients: test.recipients}, Store: config.Store{Type: "s3", Streams: 32},
			}
			shape, err := storeBeside(c)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, expected %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if sum := shape.MemoryBudget + codecConfig(c).Memory(); sum != int64(test.budget) {
				t.Errorf("store and codec take %d together, of %d", sum, test.budget)
			}
			if shares := shape.MemoryBudget < int64(test.budget); shares != test.shares {
				t.Errorf("the store gets %d of %d", shape.MemoryBudget, test.budget)
			}
		})
	}
}
