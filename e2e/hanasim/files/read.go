package files

import (
	"bytes"
	"context"
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
// its header says that it holds. It fails with a *ReadError, with an error of
// open, or with the cause of ctx.
func (r Reader) Verify(ctx context.Context, path string) (Header, error) {
	file, err := r.open(ctx, path)
	if err != nil {
		return Header{}, err
	}
	defer func() { file.release(); _ = file.Close() }() // only read from
	got, want := aligned(readSize), make([]byte, readSize)
	header, err := readHeader(ctx, file, path, got[:HeaderSize])
	if err != nil {
		return Header{}, err
	}
	image, err := NewImage(header)
	if err != nil {
		return Header{}, err
	}
	if _, err := image.Read(want[:HeaderSize]); err != nil {
		return Header{}, fmt.Errorf("reproduce %s: %w", path, err)
	}
	return header, compare(ctx, file, path, image, header.FileSize(), got, want)
}

func compare(ctx context.Context, file io.Reader, path string, image *Image, size int64, got, want []byte) error {
	for offset := int64(HeaderSize); ; {
		n, err := file.Read(got)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		expected := want[:min(int64(n), size-offset)]
		if _, err := io.ReadFull(image, expected); err != nil && len(expected) > 0 {
			return fmt.Errorf("reproduce %s: %w", path, err)
		}
		if at, same := firstDifference(got[:len(expected)], expected); !same {
			return &ReadError{path, offset + int64(at), "wrong checksum, the content is not that of the backup"}
		}
		if n > len(expected) {
			return &ReadError{path, size, "the file is longer than the backup"}
		}
		offset += int64(n)
		switch {
		case errors.Is(err, io.EOF) && offset < size:
			return &ReadError{path, offset, fmt.Sprintf("unexpected end of file, expected %d but read %d", size, offset)}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &ReadError{path, offset, err.Error()}
		}
	}
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
