// Package payload makes the bytes that the benchmarks send: one buffer, repeated
// for as long as a stream lasts, so that making them costs next to nothing while
// something is measured.
package payload

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

const (
	// Period is after how many bytes a payload repeats itself: far more than any
	// compressor looks back.
	Period = 64 << 20
	// block is the piece in which the kinds of a mixed payload alternate.
	block = 64 << 10
	row   = 64
)

// Kinds are the names of the payloads.
func Kinds() []string { return []string{"random", "mixed", "table"} }

// Payload is an endless stream.
type Payload struct{ buffer []byte }

// New makes the payload of a kind, always the same bytes:
//
//	random  does not compress: what HANA writes with its encryption on
//	mixed   blocks of 64 KiB, alternately random and rows of a table in which a
//	        quarter is random: compresses to about two thirds, as HANA's data may,
//	        whose columns are compressed already
//	table   rows with counters and few different values: compresses highly
func New(kind string) (*Payload, error) {
	p := &Payload{make([]byte, Period)}
	random := rand.NewChaCha8([32]byte{})
	for n := 0; n < Period; n += block {
		switch piece := p.buffer[n : n+block]; {
		case kind == "random", kind == "mixed" && n/block%2 == 0:
			_, _ = random.Read(piece) // it never fails
		case kind == "mixed":
			fillTable(piece, uint64(n/row), random, row/4)
		case kind == "table":
			fillTable(piece, uint64(n/row), random, 0)
		default:
			return nil, fmt.Errorf("payload %q: expected one of %v", kind, Kinds())
		}
	}
	return p, nil
}

// fillTable writes rows: a counter, a date, a status, an amount, a text, and at
// the end random bytes.
func fillTable(piece []byte, first uint64, random *rand.ChaCha8, noise int) {
	for n := 0; n < len(piece); n += row {
		r, dice := piece[n:n+row], random.Uint64()
		binary.LittleEndian.PutUint64(r, first+uint64(n/row))
		binary.LittleEndian.PutUint32(r[8:], 20260101+uint32(dice%28))
		r[12] = "ABCX"[dice>>8%4]
		binary.LittleEndian.PutUint32(r[16:], uint32(dice>>16%10000))
		copy(r[24:], []string{"0000100001 EUR DE01", "0000100017 USD US07", "0000200003 EUR FR02"}[dice>>32%3])
		_, _ = random.Read(r[row-noise:])
	}
}

// Bytes returns the bytes that repeat. They must not be changed.
func (p *Payload) Bytes() []byte { return p.buffer }

// At returns at most most bytes from offset on, at least one. They must not be
// changed.
func (p *Payload) At(offset int64, most int) []byte {
	rest := p.buffer[offset%Period:]
	return rest[:min(len(rest), most)]
}

// ReadAt implements io.ReaderAt.
func (p *Payload) ReadAt(to []byte, offset int64) (int, error) {
	for n := 0; n < len(to); {
		n += copy(to[n:], p.At(offset+int64(n), len(to)-n))
	}
	return len(to), nil
}

var _ io.ReaderAt = (*Payload)(nil)
