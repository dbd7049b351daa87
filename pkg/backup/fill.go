package backup

import (
	"context"
	"io"
)

// Fill reads r until buffer is full or r returns an error. Unlike io.ReadFull it
// keeps the error of r as it is: an io.ErrUnexpectedEOF of r is not an end. When
// ctx ends between two reads it returns its cause.
func Fill(ctx context.Context, r io.Reader, buffer []byte) (int, error) {
	n, idle := 0, 0
	for n < len(buffer) {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		m, err := r.Read(buffer[n:])
		n += m
		if err != nil {
			return n, err
		}
		if idle++; m > 0 {
			idle = 0
		}
		if idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}
