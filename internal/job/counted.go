package job

import (
	"errors"
	"io"
)

// countedReader counts what is read; it starts anew with each opening.
type countedReader struct {
	io.ReadCloser

	counter *counter
	fail    func(error)
}

func (r *countedReader) Read(p []byte) (int, error) {
	r.counter.clock.turn(SideStore)
	n, err := r.ReadCloser.Read(p)
	r.counter.clock.turn(SideHANA)
	r.count(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		r.counter.done.Store(true)
	default:
		r.fail(err)
	}
	return n, err
}

func (r *countedReader) count(n int) {
	r.counter.bytes.Add(int64(n))
	r.counter.read.Add(int64(n))
	r.counter.stored.Store(max(r.counter.stored.Load(), r.counter.bytes.Load()))
}

// copyBuffer is for readers that have no bytes of their own to write.
const copyBuffer = 256 << 10

// WriteTo implements io.WriterTo for a reader that has its bytes in memory.
func (r *countedReader) WriteTo(w io.Writer) (int64, error) {
	memory, has := r.ReadCloser.(io.WriterTo)
	if !has {
		return io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, copyBuffer))
	}
	counted := &countedWriter{Writer: w, reader: r}
	r.counter.clock.turn(SideStore)
	n, err := memory.WriteTo(counted)
	r.counter.clock.turn(SideHANA)
	switch {
	case err == nil:
		r.counter.done.Store(true)
	case counted.err == nil:
		r.fail(err)
	}
	return n, err
}

// countedWriter counts what a reader writes. While it writes, HANA is waited for.
type countedWriter struct {
	io.Writer

	reader *countedReader
	err    error
}

func (w *countedWriter) Write(p []byte) (int, error) {
	w.reader.counter.clock.turn(SideHANA)
	n, err := w.Writer.Write(p)
	w.reader.counter.clock.turn(SideStore)
	w.reader.count(n)
	w.err = err
	return n, err
}

// Close implements io.Closer.
func (r *countedReader) Close() error {
	r.counter.clock.turn("")
	return r.ReadCloser.Close()
}
