package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const readSize = 1 << 20

// Reader reads backup files for a recovery. A direct profile reads with
// O_DIRECT too: the trace has async_read_submit=on in the same factory.
type Reader struct {
	Profile Profile
}

// Header opens the file at path, reads its header block and closes it again.
// Errors are as for Verify.
func (r Reader) Header(ctx context.Context, path string) (Header, error) {
	file, err := r.open(ctx, path)
	if err != nil {
		return Header{}, err
	}
	defer func() { file.release(); _ = file.Close() }() // only read from
	block := aligned(HeaderSize)
	return readHeader(ctx, file, path, block)
}

// Verify reads the file at path to its end and compares every byte with what
// its header says that it holds; the result has its Data. It fails with a
// *ReadError, with an error of open, or with the cause of ctx.
func (r Reader) Verify(ctx context.Context, path string) (Header, error) {
	file, err := r.open(ctx, path)
	if err != nil {
		return Header{}, err
	}
	defer func() { file.release(); _ = file.Close() }() // only read from
	block := aligned(HeaderSize)
	if _, err := readHeader(ctx, file, path, block); err != nil {
		return Header{}, err
	}
	header, data, err := parseHeader(block)
	if err != nil || data.size < 0 || data.size > header.To-header.From {
		return Header{}, &ReadError{path, 0, fmt.Sprintf("the header does not fit the file: %v", err)}
	}
	image, err := header.body(data.size)
	if err != nil {
		return Header{}, fmt.Errorf("reproduce %s: %w", path, err)
	}
	size := int(min(header.FileSize()/pageSize*pageSize, readSize)) // whole pages, as O_DIRECT needs
	c := comparison{path: path, image: image, header: &header, data: data, got: aligned(size), want: make([]byte, size)}
	err = c.run(ctx, file)
	return header, err
}

// comparison is a file being read behind its header.
type comparison struct {
	path      string
	image     *Image
	header    *Header // gets its Data
	data      promise
	got, want []byte
}

func (c *comparison) run(ctx context.Context, file io.Reader) error {
	size := c.header.FileSize()
	for offset := int64(HeaderSize); ; {
		n, err := file.Read(c.got)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece := c.got[:min(int64(n), size-offset)]
		if at, same := c.matches(piece); !same {
			return &ReadError{c.path, offset + int64(at), "wrong checksum, the content is not that of the backup"}
		}
		if n > len(piece) {
			return &ReadError{c.path, size, "the file is longer than the backup"}
		}
		offset += int64(n)
		switch {
		case errors.Is(err, io.EOF) && offset < size:
			return &ReadError{c.path, offset, fmt.Sprintf("unexpected end of file, expected %d but read %d", size, offset)}
		case errors.Is(err, io.EOF):
			return c.checkData()
		case err != nil:
			return &ReadError{c.path, offset, err.Error()}
		}
	}
}

// matches keeps what piece has of the Data and compares the rest.
func (c *comparison) matches(piece []byte) (at int, same bool) {
	data := int(min(int64(len(piece)), c.data.size-int64(len(c.header.Data))))
	c.header.Data = append(c.header.Data, piece[:data]...)
	want := c.want[:len(piece)-data]
	_, _ = c.image.Read(want) // fails at its end only, which piece does not pass
	at, same = firstDifference(piece[data:], want)
	return data + at, same
}

func (c *comparison) checkData() error {
	if sum := sha256.Sum256(c.header.Data); hex.EncodeToString(sum[:]) != c.data.sum {
		return &ReadError{c.path, HeaderSize, "wrong checksum of the data"}
	}
	return nil
}

func firstDifference(a, b []byte) (int, bool) {
	if bytes.Equal(a, b) {
		return 0, true
	}
	at := 0
	for a[at] == b[at] {
		at++
	}
	return at, false
}

func readHeader(ctx context.Context, file io.Reader, path string, block []byte) (Header, error) {
	n, err := io.ReadFull(file, block)
	if ctx.Err() != nil {
		return Header{}, context.Cause(ctx)
	}
	if err != nil {
		return Header{}, &ReadError{path, int64(n), fmt.Sprintf("unexpected end of file, expected a header of %d but read %d", HeaderSize, n)}
	}
	header, err := ParseHeader(block)
	if err != nil {
		return Header{}, &ReadError{path, 0, err.Error()}
	}
	return header, nil
}

func (r Reader) open(ctx context.Context, path string) (handle, error) {
	file, err := openFile(ctx, path, unix.O_RDONLY, r.Profile)
	if err == nil {
		return file, nil
	}
	if ctx.Err() != nil {
		return handle{}, context.Cause(ctx)
	}
	dir, name := filepath.Split(path)
	number := errno(err)
	return handle{}, fmt.Errorf(`[%d] Cannot open file "<root>/%s" ((open, mode= R), factory= (root= %q)), rc=%d: %s`,
		CodeOpen, name, dir, int(number), reason(number))
}
