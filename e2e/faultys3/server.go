package faultys3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Server is a running proxy. Its methods may be called at once.
type Server struct {
	address   string
	http      *http.Server
	served    chan error
	forward   *httputil.ReverseProxy
	transport *http.Transport
	requests  sync.WaitGroup

	mu    sync.Mutex
	rules []*Rule
}

// Start runs a proxy in front of target, "http://<host>:<port>", on a free port
// of the loopback interface.
func Start(ctx context.Context, target string) (*Server, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("start faultys3: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start faultys3: %w", err)
	}
	s := &Server{
		address: listener.Addr().String(), served: make(chan error, 1),
		// A client's Accept-Encoding is passed on, or none.
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
	}
	quiet := log.New(io.Discard, "", 0) // what goes wrong here was ordered
	s.forward = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Host = p.In.Host // it is signed
		},
		Transport: s.transport,
		ErrorLog:  quiet,
		// Who cannot reach the server gets no answer.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: quiet}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Address is "127.0.0.1:<port>".
func (s *Server) Address() string { return s.address }

// Close ends every request and connection and waits for them.
func (s *Server) Close() error {
	s.Clear()
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.requests.Wait()
	s.transport.CloseIdleConnections()
	return err
}

// Add makes requests that match get answer instead of the server's. Of several
// rules the first that is to be applied answers.
func (s *Server) Add(match Match, answer Answer) *Rule {
	return s.add(&Rule{match: match, does: answers, answer: answer})
}

// Hold keeps requests that match until the rule is removed. Then the rules that
// there are at that moment decide what becomes of them.
func (s *Server) Hold(match Match) *Rule {
	return s.add(&Rule{match: match, does: holds, gate: make(chan struct{})})
}

// Notice counts requests that match once the server has answered them with a
// status below 300. It changes nothing.
func (s *Server) Notice(match Match) *Rule { return s.add(&Rule{match: match, does: notices}) }

func (s *Server) add(rule *Rule) *Rule {
	rule.server, rule.done = s, make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, rule)
	return rule
}

// Clear ends every rule.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		rule.open()
	}
	s.rules = nil
}

func (s *Server) remove(rule *Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rule.open()
	s.rules = slices.DeleteFunc(s.rules, func(r *Rule) bool { return r == rule })
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	defer s.requests.Done()
	if rule := s.choose(holds, r); rule != nil {
		select {
		case <-rule.gate:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if rule := s.choose(answers, r); rule != nil {
		rule.answer(w, r, s.forward)
		return
	}
	watched := &watchedWriter{ResponseWriter: w}
	s.forward.ServeHTTP(watched, r)
	if watched.status < http.StatusMultipleChoices {
		s.notice(r)
	}
}

// choose gives the first rule of this effect that is to be applied.
func (s *Server) choose(does effect, r *http.Request) *Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if rule.take(does, r) {
			return rule
		}
	}
	return nil
}

func (s *Server) notice(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		rule.take(notices, r)
	}
}

// watchedWriter notes the status.
type watchedWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *watchedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
