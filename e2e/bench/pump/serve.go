package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/bench/payload"
	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
)

// serveSettings are those of a store.
type serveSettings struct {
	certificate string
	delay       time.Duration
	rate        int64
	forward     string
}

// runServer serves until a signal comes.
func (s *settings) runServer() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var encryption *tls.Config
	if s.serve.certificate != "" {
		pair, err := tls.LoadX509KeyPair(s.serve.certificate, s.serve.certificate)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		encryption = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	wait := func(*http.Request) { time.Sleep(s.serve.delay) }
	if s.serve.forward != "" {
		return s.stand(ctx, encryption, wait)
	}
	p, err := payload.New(s.payload)
	if err != nil {
		return err
	}
	server, err := nulls3.Start(ctx, nulls3.Options{TLS: encryption, Delay: wait, Rate: s.serve.rate, Content: p})
	if err != nil {
		return err
	}
	if err := ready(" " + server.URL()); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// stand stands before a real store and is as far away as it is told.
func (s *settings) stand(ctx context.Context, encryption *tls.Config, wait func(*http.Request)) error {
	target, err := url.Parse(s.serve.forward)
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	listener, err := nulls3.Listen(ctx, encryption, s.serve.rate)
	if err != nil {
		return err
	}
	// The host is part of what the client has signed, and so it stays.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait(r)
		proxy.ServeHTTP(w, r)
	})}
	scheme := " http://"
	if encryption != nil {
		scheme = " https://"
	}
	if err := ready(scheme + listener.Addr().String()); err != nil {
		return errors.Join(err, listener.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	<-ctx.Done()
	err = server.Close()
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
