package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// tries is how often the store is asked for the same thing.
	tries = 3
	// pause is between the first two tries, and twice as long before the third.
	pause = time.Second
)

// persist calls try until it works, three times at most. That something does
// not exist is an answer and is not asked again.
func persist(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		switch {
		case err == nil || errors.Is(err, backup.ErrNotFound):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case n == tries:
			return fmt.Errorf("%w (tried %d times)", err, tries)
		}
		select {
		case <-time.After(time.Duration(n) * pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// fetch writes length bytes of an object from offset to w.
func fetch(ctx context.Context, store backup.Store, key string, offset, length int64, w io.Writer) error {
	reader, err := store.Open(ctx, key, offset, length)
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, reader, length)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, reader.Close())
}

// sums are the hashes of the current part, object and stream.
type sums struct {
	part           []checksum
	object, stream hash.Hash
}

// checksum is a hash and what it should come to.
type checksum struct {
	hash.Hash

	want string
}

// checksums are all that the manifest has of a part.
func checksums(p backup.Part) []checksum {
	var all []checksum
	if p.SHA256 != "" {
		all = append(all, checksum{sha256.New(), p.SHA256})
	}
	if p.CRC64NVME != "" {
		all = append(all, checksum{crc64nvme.New(), p.CRC64NVME})
	}
	return all
}

func newSums() *sums {
	return &sums{object: sha256.New(), stream: sha256.New()}
}

// Write implements io.Writer.
func (s *sums) Write(p []byte) (int, error) {
	for _, sum := range s.part {
		_, _ = sum.Write(p) // a hash never returns an error (package hash)
	}
	return io.MultiWriter(s.object, s.stream).Write(p)
}

// clone is a copy to return to after a read that failed in the middle.
func (s *sums) clone() (sums, error) {
	object, err := cloneHash(s.object)
	if err != nil {
		return sums{}, err
	}
	stream, err := cloneHash(s.stream)
	return sums{part: s.part, object: object, stream: stream}, err
}

func cloneHash(h hash.Hash) (hash.Hash, error) {
	cloner, can := h.(hash.Cloner)
	if !can {
		return nil, fmt.Errorf("copy hash: %w", errors.ErrUnsupported)
	}
	return cloner.Clone()
}

// matches compares h with sum. A backup may have been made without.
func matches(h hash.Hash, sum string) bool {
	return sum == "" || hex.EncodeToString(h.Sum(nil)) == sum
}
