package codec

import "encoding/binary"

const (
	// rawBlock is the most that a block of a zstd frame holds (RFC 8878, 3.1.1.2.4).
	rawBlock = 128 << 10
	// rawBlocks is how many of them hold one of ours.
	rawBlocks = blockSize / rawBlock
)

// rawHeads is memory for the headers of a frame that holds bytes as they are.
type rawHeads struct {
	frame  [9]byte
	blocks [rawBlocks][3]byte
}

// appendRaw appends to pieces a zstd frame that holds data as it is, without a
// copy of it: up to blockSize bytes, more than none. The pieces point into data
// and heads.
func appendRaw(pieces [][]byte, heads *rawHeads, data []byte) [][]byte {
	// RFC 8878, 3.1.1: the magic number; a descriptor that says "4 bytes of content
	// size, one segment, no checksum, no dictionary"; the content size.
	binary.LittleEndian.PutUint32(heads.frame[:4], 0xFD2FB528)
	heads.frame[4] = 2<<6 | 1<<5
	binary.LittleEndian.PutUint32(heads.frame[5:], uint32(len(data))) //nolint:gosec // at most blockSize
	pieces = append(pieces, heads.frame[:])
	for i := 0; len(data) > 0; i++ {
		content := data[:min(len(data), rawBlock)]
		data = data[len(content):]
		// 3.1.1.2: one bit for the last block, two for the type (0: raw), 21 for
		// the size.
		head := uint32(len(content)) << 3 //nolint:gosec // at most rawBlock
		if len(data) == 0 {
			head |= 1
		}
		heads.blocks[i] = [3]byte{byte(head), byte(head >> 8), byte(head >> 16)}
		pieces = append(pieces, heads.blocks[i][:], content)
	}
	return pieces
}
