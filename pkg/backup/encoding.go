package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
)

// The steps of an encoding, as manifests and indexes name them.
const (
	// EncodingZstd is frames of zstd, one after the other (RFC 8878).
	EncodingZstd = "zstd"
	// EncodingAge is one file of age-encryption.org/v1.
	EncodingAge = "age"
)

// checkEncoding accepts what a stream can be encoded in: encrypted bytes do not
// shrink, so zstd comes first.
func checkEncoding(encoding []string) error {
	for _, known := range [][]string{{}, {EncodingZstd}, {EncodingAge}, {EncodingZstd, EncodingAge}} {
		if slices.Equal(encoding, known) {
			return nil
		}
	}
	return fmt.Errorf("encoding %q: expected none, zstd, age, or zstd and age", encoding)
}

// EncodingOf is how the objects of one stream are encoded, nil when they hold the
// stream as it is.
func EncodingOf(objects []Object) []string {
	if len(objects) == 0 {
		return nil
	}
	return objects[0].Encoding
}

// AsStored are the same objects for who wants the bytes that the store holds,
// whatever they mean.
func AsStored(objects []Object) []Object {
	plain := slices.Clone(objects)
	for i := range plain {
		plain[i].Encoding = nil
	}
	return plain
}

// Checked is r, which yields the stream that objects hold, with an ErrCorrupt in
// place of its last bytes unless it has exactly size bytes with that SHA-256, which
// is not compared when it is empty. Where there is none and objects are not encoded
// it is r itself: their parts were checked, and the stream is nothing but them.
func Checked(r io.ReadCloser, objects []Object, size int64, sum string) io.ReadCloser {
	if len(EncodingOf(objects)) == 0 && sum == "" {
		return r
	}
	return &checkedReader{ReadCloser: r, hash: sha256.New(), rest: size, sum: sum}
}

type checkedReader struct {
	io.ReadCloser

	hash hash.Hash
	rest int64
	sum  string
	err  error
}

// Read implements io.Reader. The last bytes are held back until the end of the
// stream was seen and the hash compared.
func (r *checkedReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.ReadCloser.Read(p)
	_, _ = r.hash.Write(p[:n]) // a hash never returns an error (package hash)
	r.rest -= int64(n)
	ended := err == io.EOF // plain: a wrapped one is a fault
	switch {
	case err != nil && !ended:
		r.err = err
		return n, err
	case r.rest > 0 && !ended:
		return n, nil
	}
	if r.err = r.end(ended); r.err != io.EOF { //nolint:errorlint // an error that wraps it is none of an end
		return 0, r.err
	}
	return n, nil
}

// end says io.EOF when the stream has ended where it should, as it should.
func (r *checkedReader) end(ended bool) error {
	for !ended && r.rest == 0 {
		n, err := r.ReadCloser.Read(make([]byte, 1))
		r.rest -= int64(n)
		switch {
		case err == io.EOF:
			ended = true
		case err != nil:
			return err
		}
	}
	switch sum := hex.EncodeToString(r.hash.Sum(nil)); {
	case r.rest > 0:
		return fmt.Errorf("%w: the stream ends %d bytes too early", ErrCorrupt, r.rest)
	case r.rest < 0:
		return fmt.Errorf("%w: the stream goes on after its end", ErrCorrupt)
	case r.sum != "" && sum != r.sum:
		return fmt.Errorf("%w: the stream has SHA-256 %s, expected %s", ErrCorrupt, sum, r.sum)
	}
	return io.EOF
}
