package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// warmUp is the size of the run before the measured ones, in bytes per stream.
const warmUp = 32 << 20

// bench is one call of this program.
type bench struct {
	out       io.Writer
	bin       string
	aws       string
	only      *regexp.Regexp
	variants  []variant
	runs      int
	gibibytes float64
	// document is a Markdown file into which the results go, empty for none; the
	// plot goes beside it.
	document string
	// profiles is a directory for CPU profiles of the data path, empty for none.
	profiles string
	// data is where a real store keeps its objects.
	data string

	// work holds everything else of this call, and is removed at its end.
	work        string
	programs    string
	certificate string
	trials      int
}

// addVariant reads one from the command line.
func (b *bench) addVariant(text string) error {
	name, what, found := strings.Cut(text, "=")
	v := variant{name: " " + name}
	switch {
	case !found || name == "":
		return errors.New(`expected name={"Field": value} or name=program`)
	case strings.HasPrefix(what, "{"):
		v.store = what
	default:
		var err error
		if v.program, err = exec.LookPath(what); err != nil {
			return err
		}
	}
	b.variants = append(b.variants, v)
	return nil
}

// program is the path of a program that `make tools` has built.
func (b *bench) program(name string) string { return filepath.Join(b.bin, name) }

// result is what one scenario gave.
type result struct {
	scenario scenario
	bytes    int64
	// load is that of the machine before the scenario, as in /proc/loadavg.
	load string
	rows []row
}

// measure runs the scenarios one after the other and prints each.
func (b *bench) measure(ctx context.Context, scenarios []scenario) (err error) {
	if b.work, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	var results []*result
	for _, s := range scenarios {
		load := firstWord("/proc/loadavg")
		r, err := b.scenario(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		r.load = load
		results = append(results, r)
		if _, err := io.WriteString(b.out, r.text(len(results) > 1 && results[len(results)-2].scenario.memory)); err != nil {
			return err
		}
	}
	if b.document == "" {
		return nil
	}
	return b.update(ctx, results)
}

// prepare builds what runs beside this program.
func (b *bench) prepare(ctx context.Context) (err error) {
	for _, name := range []string{"rclone", "versitygw"} {
		if _, err := os.Stat(b.program(name)); err != nil {
			return fmt.Errorf("%w (make tools)", err)
		}
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if b.data == "" {
		b.data = b.work
	}
	b.programs, b.certificate = b.work, filepath.Join(b.work, "certificate.pem")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.programs+"/",
		"github.com/pipestreamer/pipestreamer/e2e/bench/pump", "github.com/pipestreamer/pipestreamer/e2e/bench/subject")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make builds the daemon
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}
	if err := os.WriteFile(filepath.Join(b.work, "rclone.conf"), nil, 0o600); err != nil {
		return err
	}
	return writeCertificate(b.certificate)
}

// scenario measures all clients, each once in every round.
func (b *bench) scenario(ctx context.Context, s scenario) (_ *result, err error) {
	st, err := b.openStore(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	clients, runs, gibibytes := b.clients(s), b.runs, b.gibibytes
	if len(clients) == 0 {
		return nil, errors.New("-clients selects nobody")
	}
	if s.memory {
		runs, gibibytes = 1, s.gibibytes
	}
	size := int64(gibibytes*(1<<30)) / int64(s.streams)
	if size > warmUp {
		if _, err := b.rounds(ctx, s, st, clients, warmUp, 1); err != nil {
			return nil, err
		}
	}
	measured, err := b.rounds(ctx, s, st, clients, size, runs)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range clients {
		names = append(names, c.name)
	}
	bytes := size * int64(s.streams)
	return &result{scenario: s, bytes: bytes, rows: summarize(names, measured, baseline(s.direction), bytes)}, nil
}

// rounds lets every client carry streams of size bytes once in each round.
func (b *bench) rounds(ctx context.Context, s scenario, st *store, clients []client, size int64, rounds int) (_ map[string][]measurement, err error) {
	if st.seed, err = b.seed(ctx, s, st, size); err != nil {
		return nil, err
	}
	measured := make(map[string][]measurement)
	for round := range rounds {
		// Nobody is always the first.
		first := round % len(clients)
		for _, c := range slices.Concat(clients[first:], clients[:first]) {
			m, err := b.once(ctx, c, s, st, size)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			measured[c.name] = append(measured[c.name], m)
		}
	}
	return measured, nil
}

// once runs one trial and removes what it left.
func (b *bench) once(ctx context.Context, c client, s scenario, st *store, size int64) (measurement, error) {
	t, err := b.newTrial(s, st, size)
	if err != nil {
		return measurement{}, err
	}
	m, err := b.run(ctx, c, t)
	err = errors.Join(err, os.RemoveAll(t.directory))
	if s.direction == up {
		err = errors.Join(err, st.forget())
	}
	return m, err
}

// seed puts what is to be read into the store, and nothing where all is written.
func (b *bench) seed(ctx context.Context, s scenario, st *store, size int64) (*trial, error) {
	if s.direction == up {
		return nil, nil //nolint:nilnil // there is none
	}
	s.direction = up
	t, err := b.newTrial(s, st, size)
	if err != nil {
		return nil, err
	}
	if _, err := b.run(ctx, b.subject(variant{}, up), t); err != nil {
		return nil, fmt.Errorf("fill the store: %w", err)
	}
	return t, nil
}
