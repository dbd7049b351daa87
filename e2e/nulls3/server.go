package nulls3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// KeptSize is the size up to which the bytes of a part or an object are
	// kept, so that small objects can be read back.
	KeptSize = 1 << 20
	// maxParts is the limit of S3.
	maxParts = 10000
	// minPartSize is the least that S3 takes for a part that is not the last.
	minPartSize = 5 << 20
)

// Options shape a Server.
type Options struct {
	// MaxParts is the highest part number that is taken; 0 means 10000, as S3.
	MaxParts int
	// Delay is called with each request before anything is done, and may wait.
	Delay func(r *http.Request)
	// TLS makes it speak https, HTTP/1.1 as S3 does.
	TLS *tls.Config
	// Rate bounds each connection, in bytes per second in each direction; 0
	// means no bound.
	Rate int64
	// Content is what an object has whose bytes were thrown away, from its
	// offset 0 on. Without it such an object cannot be read.
	Content io.ReaderAt
}

// Object is what the server knows of one object.
type Object struct {
	// Key is "<bucket>/<key>".
	Key  string
	Size int64
	// Parts are the sizes of the parts in order; one for a single PUT.
	Parts []int64
}

// Counters tell what was asked of a server since it was started.
type Counters struct {
	// Requests of any kind; Refused are those answered with a status from 400.
	Requests, Refused int64
	// Parts and Bytes of UploadPart and PUT, thrown away or not.
	Parts, Bytes int64
	// Completed and Aborted are multipart uploads.
	Completed, Aborted int64
}

// Server is a running server. Its methods may be called at once.
type Server struct {
	options Options
	url     string
	http    *http.Server
	served  chan error

	requests, refused, parts, bytes, completed, aborted atomic.Int64

	mu      sync.Mutex
	objects map[string]stored
	uploads map[string]*upload
	next    int
}

// stored is an object that was completed.
type stored struct {
	sizes []int64
	// content is nil when the bytes were thrown away.
	content  []byte
	etag     string
	metadata http.Header
	time     time.Time
}

func (s stored) size() int64 {
	var sum int64
	for _, n := range s.sizes {
		sum += n
	}
	return sum
}

// upload is a multipart upload that was neither completed nor aborted.
type upload struct {
	key      string
	since    time.Time
	metadata http.Header
	parts    map[int]part
}

type part struct {
	size    int64
	content []byte
	sum     []byte
}

// Start runs a server on a free port of the loopback interface, until Close.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.MaxParts == 0 {
		options.MaxParts = maxParts
	}
	listener, err := Listen(ctx, options.TLS, options.Rate)
	if err != nil {
		return nil, fmt.Errorf("start nulls3: %w", err)
	}
	s := &Server{
		options: options, url: "http://" + listener.Addr().String(), served: make(chan error, 1),
		objects: make(map[string]stored), uploads: make(map[string]*upload),
	}
	if options.TLS != nil {
		s.url = "https://" + listener.Addr().String()
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// URL is the endpoint, for example "http://127.0.0.1:<port>".
func (s *Server) URL() string { return s.url }

// Close ends every connection and waits for the listener to end.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Objects lists what is visible, sorted by key.
func (s *Server) Objects() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Object, 0, len(s.objects))
	for key, o := range s.objects {
		list = append(list, Object{Key: key, Size: o.size(), Parts: o.sizes})
	}
	slices.SortFunc(list, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// Uploads counts the multipart uploads that are neither completed nor aborted.
func (s *Server) Uploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// Counters tell what was asked so far.
func (s *Server) Counters() Counters {
	return Counters{
		Requests: s.requests.Load(), Refused: s.refused.Load(), Parts: s.parts.Load(), Bytes: s.bytes.Load(),
		Completed: s.completed.Load(), Aborted: s.aborted.Load(),
	}
}
