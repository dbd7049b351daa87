package codec

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// FuzzRawFrame: what a raw frame holds is what a decoder finds in it, alone and
// between others.
func FuzzRawFrame(f *testing.F) {
	for _, size := range []int{1, 100, rawBlock - 1, rawBlock, rawBlock + 1, 2 * rawBlock, blockSize - 1, blockSize} {
		f.Add([]byte("ab"), size)
	}
	f.Fuzz(func(t *testing.T, pattern []byte, size int) {
		if len(pattern) == 0 || size < 1 || size > blockSize {
			return
		}
		data := bytes.Repeat(pattern, size/len(pattern)+1)[:size]
		var heads rawHeads
		frame := slices.Concat(appendRaw(nil, &heads, data)...)
		if most := size + 9 + 3*((size-1)/rawBlock+1); len(frame) != most {
			t.Errorf("a frame of %d bytes has %d, expected %d", size, len(frame), most)
		}
		decoder, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer decoder.Close()
		got, err := decoder.DecodeAll(slices.Concat(frame, frame), nil)
		if err != nil || !bytes.Equal(got, slices.Concat(data, data)) {
			t.Errorf("%d of twice %d bytes came back: %v", len(got), size, err)
		}
		if _, err := decoder.DecodeAll(frame[:len(frame)-1], nil); err == nil {
			t.Error("a frame that is cut was decoded")
		}
	})
}

// TestTrial follows the decisions over a stream: how many of its blocks are tried.
func TestTrial(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		blocks int
		late   int // a result comes after so many further blocks
		shrink func(i int) bool
		least  int
		most   int
	}{
		{"all shrink", 1000, 0, func(int) bool { return true }, 1000, 1000},
		{"all shrink, told late", 1000, 4, func(int) bool { return true }, 1000, 1000},
		{"none shrinks", 100_000, 0, func(int) bool { return false }, 100, 130},
		{"none shrinks, told late", 100_000, 4, func(int) bool { return false }, 100, 650},
		{"one in four does", 1000, 0, func(i int) bool { return i%4 == 0 }, 1000, 1000},
		{"from the middle on", 2000, 0, func(i int) bool { return i >= 1000 }, 400, 1010},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var tr trial
			var waiting []int
			tried := 0
			for i := range test.blocks {
				if tr.next() {
					tried++
					waiting = append(waiting, i)
				}
				for len(waiting) > 0 && waiting[0] <= i-test.late {
					tr.result(test.shrink(waiting[0]))
					waiting = waiting[1:]
				}
			}
			if tried < test.least || tried > test.most {
				t.Errorf("%d of %d blocks were tried, expected %d to %d", tried, test.blocks, test.least, test.most)
			}
		})
	}
}

// TestTally: what is told as safe is never more than what is stored can restore,
// and all of it at the end.
func TestTally(t *testing.T) {
	t.Parallel()
	var safe []int64
	var acknowledged int64
	told := newTally(backup.UploadOptions{
		Safe:     func(offset int64) { safe = append(safe, offset) },
		Progress: func(n int64) { acknowledged += n },
	})
	for i := range int64(10) {
		told.add(mark{plain: (i + 1) * 1000, stored: (i + 1) * markDistance})
	}
	told.acknowledge(markDistance - 1)
	told.secure(markDistance - 1)
	if acknowledged != 0 || len(safe) != 0 {
		t.Errorf("%d acknowledged and %v safe of a block that is not stored", acknowledged, safe)
	}
	told.acknowledge(1 + 2*markDistance)
	told.secure(2*markDistance + 7)
	told.secure(markDistance) // late
	told.secure(3 * markDistance)
	if acknowledged != 3000 {
		t.Errorf("%d acknowledged, expected 3000", acknowledged)
	}
	told.end(10_500)
	if diff := cmp.Diff([]int64{2000, 3000, 10_500}, safe); diff != "" {
		t.Errorf("safe (-want +got):\n%s", diff)
	}
	if acknowledged != 10_500 {
		t.Errorf("%d acknowledged at the end, expected 10500", acknowledged)
	}
}

// TestTallyIsBounded: a store that takes a stream in one piece says nothing for
// long.
func TestTallyIsBounded(t *testing.T) {
	t.Parallel()
	var safe int64
	told := newTally(backup.UploadOptions{Safe: func(offset int64) { safe = offset }})
	const blocks = 100_000
	for i := range int64(blocks) {
		told.add(mark{plain: i + 1, stored: (i + 1) * markDistance})
	}
	if len(told.marks) > mostMarks {
		t.Errorf("%d marks are kept", len(told.marks))
	}
	told.secure(blocks / 2 * markDistance)
	if safe > blocks/2 || safe < blocks/2-blocks/100 {
		t.Errorf("%d blocks are safe, expected a little less than %d", safe, blocks/2)
	}
}
