package access

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// maxPEM bounds a file with certificates or a key.
const maxPEM = 1 << 20

// reloaded is a value made of files. It is made anew when what is in them has
// changed: contents are compared, because a file can be replaced within the
// resolution of its time, and Kubernetes replaces a directory by turning a
// symbolic link. Files that cannot be used leave the value as it was.
type reloaded[T any] struct {
	what  string
	files []string
	parse func(contents [][]byte) (T, error)
	log   *zap.Logger

	mu      sync.Mutex
	value   T
	sum     [sha256.Size]byte // of the contents of value
	trouble string            // as last logged
}

// newReloaded reads the files. An error says why they cannot be used yet; the value
// is none until they can.
func newReloaded[T any](what string, files []string, none T, parse func(contents [][]byte) (T, error), log *zap.Logger) (*reloaded[T], error) {
	r := &reloaded[T]{what: what, files: files, parse: parse, log: log, value: none}
	contents, sum, err := r.read()
	var value T
	if err == nil {
		value, err = parse(contents)
	}
	if err != nil {
		r.trouble = err.Error()
		return r, fmt.Errorf("%s: %w", r.place(), err)
	}
	r.value, r.sum = value, sum
	return r, nil
}

// get returns the value that the files give now, or gave last.
func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	contents, sum, err := r.read()
	if err == nil && sum == r.sum {
		r.trouble = ""
		return r.value
	}
	var value T
	if err == nil {
		value, err = r.parse(contents)
	}
	if err != nil {
		if text := err.Error(); text != r.trouble {
			r.trouble = text
			r.log.Error("what is in these files now cannot be used; the earlier "+r.what+" stays in use, if there was one", zap.String("files", r.place()), zap.Error(err))
		}
		return r.value
	}
	r.value, r.sum, r.trouble = value, sum, ""
	r.log.Info("reloaded: "+r.what, zap.String("files", r.place()))
	return r.value
}

func (r *reloaded[T]) place() string { return strings.Join(r.files, ", ") }

func (r *reloaded[T]) read() (contents [][]byte, sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	for _, name := range r.files {
		text, err := readFile(name)
		if err != nil {
			return nil, sum, err
		}
		contents = append(contents, text)
		part := sha256.Sum256(text)
		hash.Write(part[:])
	}
	return contents, [sha256.Size]byte(hash.Sum(nil)), nil
}

// readFile reads a file of at most maxPEM bytes.
func readFile(name string) (text []byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err = io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s: expected at most %d bytes", name, maxPEM)
	}
	return bytes.TrimSpace(text), err
}
