package payload_test

import (
	"bytes"
	"compress/flate"
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/bench/payload"
)

func TestPayload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind string
		// ratio of deflate at its fastest
		least, most float64
	}{
		{"random", 0.9, 1.01},
		{"mixed", 1.3, 2},
		{"table", 3, 100},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			p, err := payload.New(test.kind)
			if err != nil {
				t.Fatal(err)
			}
			const size = 4 << 20
			start := make([]byte, size)
			if _, err := p.ReadAt(start, payload.Period-size/2); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(start[size/2:], p.At(0, size/2)) {
				t.Error("the payload does not begin again after its period")
			}
			var packed bytes.Buffer
			w, err := flate.NewWriter(&packed, flate.BestSpeed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(start); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if ratio := float64(size) / float64(packed.Len()); ratio < test.least || ratio > test.most {
				t.Errorf("compresses %.2f times, expected %.2f to %.2f", ratio, test.least, test.most)
			} else {
				t.Logf("compresses %.2f times", ratio)
			}
		})
	}
	if _, err := payload.New("none"); err == nil {
		t.Error("a payload of no known kind was made")
	}
}
