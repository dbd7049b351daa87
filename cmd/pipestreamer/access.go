package main

import (
	"crypto/tls"
	"errors"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/config"
)

// porter lets callers in; tls is nil where http.listen speaks none.
type porter struct {
	guard *access.Guard
	tls   *tls.Config
}

// newPorter reads what callers and the listener prove themselves with. Whoever
// depends on a file that cannot be used is refused until it can: problems tells of
// it, from the same files.
func (d *daemon) newPorter() porter {
	h := &d.cfg.HTTP
	guard := access.Config{
		Tokens: tokensOf(h), Roles: access.NewRoles(h.Operators, h.Triggers, h.Readers), RateLimit: h.RateLimit,
	}
	var p porter
	if h.TLS.CertFile != "" {
		server, _ := access.NewTLS(access.TLSFiles{Cert: h.TLS.CertFile, Key: h.TLS.KeyFile, ClientCA: h.TLS.ClientCAFile}, d.log, d.registry)
		p.tls = server.Config()
		if h.TLS.ClientCAFile != "" {
			guard.ClientCAs = server.ClientCAs
		}
	}
	if review := h.TokenReview; review.Audience != "" {
		guard.Reviewer, _ = access.NewReviewer(access.ReviewConfig{
			URL: review.URL, CAFile: review.CAFile, Token: tokenIn(review.TokenFile), Audience: review.Audience,
		}, d.log)
	}
	p.guard = access.NewGuard(guard, d.log)
	if h.Exposed() {
		d.log.Warn("http.listen is open to the network without TLS: whoever can listen there learns the tokens; set http.tls.certFile and http.tls.keyFile",
			zap.String("address", h.Listen))
	}
	return p
}

// tokensOf are the tokens in files, by the identity that they prove.
func tokensOf(h *config.HTTP) map[string]access.Token {
	tokens := make(map[string]access.Token, len(h.Tokens)+1)
	if h.TokenFile != "" {
		tokens["token"] = tokenIn(h.TokenFile)
	}
	for name, file := range h.Tokens {
		tokens["token:"+name] = tokenIn(file)
	}
	return tokens
}

// tokenIn reads the token in a file each time that it is asked for.
func tokenIn(file string) access.Token {
	return func() (string, error) {
		secret, err := config.ReadSecret(file)
		if err == nil && secret.Empty() {
			err = errors.New(file + " is empty")
		}
		return secret.Reveal(), err
	}
}
