package landscape

import (
	"bytes"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

func FuzzRecords(f *testing.F) {
	f.Add(encodeRecords([]record{{position: 64, time: time.Unix(1, 2), payload: [payloadSize]byte{1}}, {position: 128}}))
	f.Add([]byte("no record"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := parseRecords(data)
		if (err == nil) != (len(data)%recordSize == 0) {
			t.Fatalf("%d bytes: %v", len(data), err)
		}
		if err == nil && !bytes.Equal(encodeRecords(records), data) {
			t.Error("the records are others after they were read and written")
		}
	})
}

// The state is that of the content and of every record, in their order.
func TestStates(t *testing.T) {
	content := files.Content{Seed: 1, Volume: 2, Size: 3}
	first, second := record{position: 64, time: time.Unix(1, 0)}, record{position: 128, time: time.Unix(1, 0)}
	altered := second
	altered.payload[payloadSize-1]++
	other := content
	other.Seed++
	seen := map[string]string{}
	for name, point := range map[string]Point{
		"nothing":           newPoint(content, 0),
		"other content":     newPoint(other, 0),
		"one":               newPoint(content, 0).after(first),
		"both":              newPoint(content, 0).after(first).after(second),
		"in another order":  newPoint(content, 0).after(second).after(first),
		"a byte is another": newPoint(content, 0).after(first).after(altered),
	} {
		if same, found := seen[point.Hex()]; found {
			t.Errorf("%s and %s have the same state", name, same)
		}
		seen[point.Hex()] = name
		read, err := pointOf(point.log(7, 0))
		if err != nil || read.Hex() != point.Hex() || read.Position != point.Position || !read.Commit.Equal(point.Commit) {
			t.Errorf("%s: read back %+v, %v, want %+v", name, read, err, point)
		}
	}
	for _, state := range []string{"", "ab", "x"} {
		if _, err := pointOf(files.Log{State: state}); err == nil {
			t.Errorf("state %q was accepted", state)
		}
	}
}
