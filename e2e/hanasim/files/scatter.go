package files

import (
	"bytes"
	"context"
	"math/rand/v2"
)

// windowSize is how many writes of the profile Offset are under way together.
const windowSize = 8

// piece is one write at an offset.
type piece struct {
	at   int64
	data []byte
}

// scatters tells whether the file takes writes at offsets: a pipe does not.
func (f *writing) scatters() bool { return f.Profile == Offset && !f.file.pipe }

// collect keeps a write until its window is full. As soon as it is kept it
// counts as written for the faults, which come after the whole window.
func (f *writing) collect(ctx context.Context, data []byte) error {
	f.window = append(f.window, piece{f.offset, bytes.Clone(data)})
	f.offset += int64(len(data))
	if len(f.window) < windowSize {
		return nil
	}
	return f.flush(ctx)
}

// flush writes what is kept, in an order that depends on the file and the place
// in it only.
func (f *writing) flush(ctx context.Context) error {
	window := f.window
	f.window = nil
	if len(window) == 0 {
		return nil
	}
	random := rand.New(rand.NewPCG(uint64(f.header.BackupID), uint64(window[0].at)))
	random.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
	for _, p := range window {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.size = len(p.data)
		n, err := f.file.WriteAt(p.data, p.at)
		f.Written(int64(n))
		if err != nil {
			f.offset = p.at
			return err
		}
		if err := f.Pause(ctx, BetweenWrites); err != nil {
			return err
		}
	}
	return nil
}
