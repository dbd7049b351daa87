package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/config"
	"github.com/pipestreamer/pipestreamer/pkg/codec"
)

const (
	// problemsPause is the time between two looks at the files that settings name, and
	// problemsAgain that between two lines of the log about one that stays unusable.
	problemsPause = 15 * time.Second
	problemsAgain = time.Hour
)

// fileProblems says which files that the settings name cannot be used now.
func fileProblems(cfg *config.Config) []config.Problem {
	problems := cfg.FileProblems()
	add := func(key string, err error) {
		known := slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Key == key })
		if err != nil && !known { // the first one explains those that follow from it
			problems = append(problems, cfg.ProblemOf(key, err.Error()))
		}
	}
	h := &cfg.HTTP
	if h.TLS.CertFile != "" {
		_, err := tls.LoadX509KeyPair(h.TLS.CertFile, h.TLS.KeyFile)
		add("http.tls.certFile", wrapped(err, h.TLS.CertFile+", "+h.TLS.KeyFile))
	}
	add("http.tls.clientCAFile", checkAuthorities(h.TLS.ClientCAFile))
	if h.TokenReview.Audience != "" {
		add("http.tokenReview.caFile", checkAuthorities(h.TokenReview.CAFile))
	}
	add("hana.tls.caFile", checkAuthorities(cfg.HANA.TLS.CAFile))
	if cfg.Encryption.RecipientsFile != "" {
		if _, err := codec.New(nil, codecConfig(cfg)); err != nil {
			add("encryption.recipientsFile", errors.New(strings.TrimPrefix(err.Error(), "encryption.recipientsFile: ")))
		}
	}
	if cfg.Notify.URLFile != "" {
		for _, p := range notifyConfig(cfg).Problems() {
			add(p.Key, p.Err)
		}
	}
	return problems
}

func wrapped(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// checkAuthorities reads a file with authorities; there is nothing wrong with none.
func checkAuthorities(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		err = errors.New(file + ": expected PEM with at least one certificate")
	}
	return err
}

// problems tells of the files that cannot be used. They do not keep the daemon from
// starting: HANA waits for it.
type problems struct {
	cfg   *config.Config
	log   *zap.Logger
	gauge *prometheus.GaugeVec
	told  map[string]toldProblem // by key
}

type toldProblem struct {
	text string
	at   time.Time
}

func newProblems(cfg *config.Config, log *zap.Logger, registry prometheus.Registerer) *problems {
	p := &problems{cfg: cfg, log: log, told: make(map[string]toldProblem), gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "pipestreamer", Name: "config_problem", Help: "1 for a setting whose file cannot be used, 0 for the others that name one; the log says why.",
	}, []string{"key"})}
	registry.MustRegister(p.gauge)
	for _, key := range cfg.NamedFiles() {
		p.gauge.WithLabelValues(key).Set(0)
	}
	return p
}

// watch looks until ctx ends.
func (p *problems) watch(ctx context.Context) {
	ticker := time.NewTicker(problemsPause)
	defer ticker.Stop()
	for {
		p.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look tells what is new, or was last told an hour ago, and what is mended.
func (p *problems) look(now time.Time) {
	there := make(map[string]bool)
	for _, problem := range fileProblems(p.cfg) {
		there[problem.Key] = true
		p.gauge.WithLabelValues(problem.Key).Set(1)
		if told := p.told[problem.Key]; told.text == problem.Message && now.Sub(told.at) < problemsAgain {
			continue
		}
		p.told[problem.Key] = toldProblem{problem.Message, now}
		p.log.Error("a file that a setting names cannot be used; the daemon goes on without it, and looks again",
			zap.String("setting", problem.Key), zap.String("given", problem.Where), zap.String("cause", problem.Message))
	}
	for key := range p.told {
		if !there[key] {
			delete(p.told, key)
			p.gauge.WithLabelValues(key).Set(0)
			p.log.Info("the file of the setting can be used again", zap.String("setting", key))
		}
	}
}
