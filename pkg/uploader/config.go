package uploader

import (
	"errors"
	"fmt"
	"time"
)

const (
	mebibyte = 1 << 20
	// smallestPart is the least that S3 takes for a part that is not the last.
	smallestPart = 5 * mebibyte
	// usualPart is the least that is used for streams of 64 MiB and more.
	usualPart = 16 * mebibyte
	// shortStream is the estimate below which smallestPart is enough.
	shortStream = 64 * mebibyte
)

// Config says where the objects are and how much may be spent on the way. The
// zero value of a field means its default.
type Config struct {
	// Type is rclone's name of the backend, for example "s3".
	Type string
	// Options are rclone's options of that backend, by the names of its
	// documentation, without the backend's prefix. Passwords are given in the
	// clear, not as rclone obscures them.
	Options map[string]string
	// Root is where the keys begin, for example "bucket/path".
	Root string
	// Crypt, when not empty, lays rclone's crypt over the backend. It holds
	// crypt's options without "remote": password, password2, ….
	Crypt map[string]string

	// MemoryBudget in bytes bounds all part buffers of the Store (512 MiB).
	MemoryBudget int64
	// Streams is how many uploads must be able to run at once (32). It bounds
	// the part size, see the package comment.
	Streams int
	// Concurrency is how many parts of one stream are in flight at most (16): where
	// a connection is slow, their number is what makes the stream fast.
	Concurrency int
	// MaxParts is how many parts an object has at most (10000, the limit of
	// S3). A longer stream continues in a further segment.
	MaxParts int
	// PartSize in bytes fixes the part size; 0 chooses it from the estimate.
	PartSize int64
	// OutageTolerance is how long a part, or a step of Commit, is tried again
	// while the store cannot be reached (15 minutes). There are always two
	// attempts, and the last may begin a pause of up to 22 s after it.
	OutageTolerance time.Duration
	// StallTimeout is how long a connection may be silent, or a part without
	// progress (5 minutes). It also bounds the store's answer to the completion
	// of an upload.
	StallTimeout time.Duration
	// Bandwidth limits what streams take, both directions together; nil means no
	// limit. Uploads that are AtHand, objects that are opened to their end, and
	// what Commit reads to find out whether an object is ours are not limited:
	// they are small or rare, and somebody waits for them with a time limit.
	Bandwidth Bandwidth

	// Refresh, when set, returns the options that are secret as they are now.
	// It is called after a store of type s3 has refused the credentials in use,
	// never twice at once. When access_key_id, secret_access_key or
	// session_token are others than before, the store goes on with them.
	Refresh func() (map[string]string, error)

	// openTimeout bounds an attempt to open the store.
	openTimeout time.Duration
}

func (c Config) withDefaults() Config {
	setDefault(&c.MemoryBudget, 512*mebibyte)
	setDefault(&c.Streams, 32)
	setDefault(&c.Concurrency, 16)
	setDefault(&c.MaxParts, 10000)
	setDefault(&c.OutageTolerance, 15*time.Minute)
	setDefault(&c.StallTimeout, 5*time.Minute)
	setDefault(&c.openTimeout, openTimeout)
	return c
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// check reports every fault of the numbers in c, which has its defaults.
func (c Config) check() error {
	var faults []error
	positive := func(name string, value int64) {
		if value < 0 {
			faults = append(faults, fmt.Errorf("%s: %d is negative", name, value))
		}
	}
	positive("memory_budget", c.MemoryBudget)
	positive("streams", int64(c.Streams))
	positive("concurrency", int64(c.Concurrency))
	positive("max_parts", int64(c.MaxParts))
	positive("part_size", c.PartSize)
	positive("outage_tolerance", int64(c.OutageTolerance))
	positive("stall_timeout", int64(c.StallTimeout))
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if c.MaxParts > 10000 {
		faults = append(faults, fmt.Errorf("max_parts: %d is more than the 10000 of S3", c.MaxParts))
	}
	least := max(c.PartSize, smallestPart)
	if c.PartSize != 0 {
		least = c.PartSize
	}
	if need := 2 * int64(c.Streams) * least; c.MemoryBudget < need {
		faults = append(faults, fmt.Errorf(
			"memory_budget: %d bytes are too few for %d streams with 2 parts of %d bytes each: expected at least %d",
			c.MemoryBudget, c.Streams, least, need))
	}
	return errors.Join(faults...)
}

// largestPart is what one of two parts of every stream may take.
func (c Config) largestPart() int64 {
	if c.PartSize != 0 {
		return c.PartSize
	}
	share := c.MemoryBudget / (2 * int64(c.Streams))
	return max(share/mebibyte*mebibyte, smallestPart)
}

// partSize is the size of the parts of a stream of about estimate bytes, 0 for
// unknown: twice the estimate fits into nine tenths of MaxParts. All parts of a
// stream but the last are equal, which some stores demand (Cloudflare R2).
func (c Config) partSize(estimate int64) int64 {
	if c.PartSize != 0 {
		return c.PartSize
	}
	size := int64(usualPart)
	if estimate > 0 && estimate < shortStream {
		size = smallestPart
	}
	parts := max(int64(c.MaxParts)*9/10, 1)
	// Half of the divisor, so that twice the estimate cannot overflow.
	needed := estimate/parts*2 + 2
	size = max(size, (needed+mebibyte-1)/mebibyte*mebibyte)
	return min(size, c.largestPart())
}
