package files

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

const pageSize = 4096

// Content is what a volume holds: Size bytes that Seed and Volume reproduce.
// Two equal Contents are equal byte for byte.
type Content struct {
	Seed   uint64
	Volume int
	// Size is in bytes, without the header of a backup file.
	Size int64
	// Compressible content has zeros in every second page of 4 KiB.
	Compressible bool
}

// SHA256 computes the digest of the content, in hex. It costs the time of
// producing it (about a second per GiB).
func (c Content) SHA256(ctx context.Context) (string, error) {
	body, err := c.stream(0)
	if err != nil {
		return "", err
	}
	return digest(ctx, &Image{body: body, left: c.Size})
}

func digest(ctx context.Context, image *Image) (string, error) {
	sum := sha256.New()
	buffer := make([]byte, max(1, min(1<<20, int64(len(image.head))+image.left)))
	for {
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("hash content: %w", context.Cause(ctx))
		}
		n, err := image.Read(buffer)
		sum.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
	}
}

// stream produces a content from an offset on. It is an AES-CTR key stream:
// several GiB per second and core, seekable, and no compressor shrinks it.
type stream struct {
	keys         cipher.Stream
	at           int64
	compressible bool
}

func (c Content) stream(from int64) (*stream, error) {
	key := binary.BigEndian.AppendUint64([]byte("hanasim "), c.Seed)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("content of volume %d: %w", c.Volume, err)
	}
	counter := binary.BigEndian.AppendUint64(nil, uint64(c.Volume))
	counter = binary.BigEndian.AppendUint64(counter, uint64(from/aes.BlockSize))
	s := &stream{keys: cipher.NewCTR(block, counter), at: from, compressible: c.Compressible}
	skip := make([]byte, from%aes.BlockSize)
	s.keys.XORKeyStream(skip, skip)
	return s, nil
}

func (s *stream) fill(p []byte) {
	clear(p)
	s.keys.XORKeyStream(p, p)
	for done := 0; s.compressible && done < len(p); {
		at := s.at + int64(done)
		rest := min(pageSize-int(at%pageSize), len(p)-done)
		if (at/pageSize)%2 == 1 {
			clear(p[done : done+rest])
		}
		done += rest
	}
	s.at += int64(len(p))
}

// Image is an io.Reader of the bytes of one backup file.
type Image struct {
	head []byte // the header block and Data, as far as they are not read yet
	body *stream
	left int64 // of the body
}

// NewImage gives the bytes of the file that header describes.
func NewImage(header Header) (*Image, error) {
	block, err := header.block()
	if err != nil {
		return nil, err
	}
	image, err := header.body(int64(len(header.Data)))
	if err != nil {
		return nil, err
	}
	image.head = slices.Concat(block, header.Data)
	return image, nil
}

// body is what follows so many bytes of Data.
func (h Header) body(data int64) (*Image, error) {
	body, err := h.Content.stream(h.From + data)
	if err != nil {
		return nil, err
	}
	return &Image{body: body, left: h.To - h.From - data}, nil
}

func (i *Image) done() bool { return len(i.head) == 0 && i.left == 0 }

// Read fills p as far as the file reaches. It fails with io.EOF only.
func (i *Image) Read(p []byte) (int, error) {
	done := copy(p, i.head)
	i.head = i.head[done:]
	n := int(min(int64(len(p)-done), i.left))
	i.body.fill(p[done : done+n])
	i.left -= int64(n)
	if done+n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return done + n, nil
}
