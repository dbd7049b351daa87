package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// trial is one run of one client.
type trial struct {
	scenario  scenario
	endpoint  string
	directory string
	prefix    string
	// keys is bucket and key of the streams; {} stands for their number.
	keys string
	// manifest is what the data path needs to know of the objects.
	manifest string
	pipes    []string
	// size is that of each stream in bytes.
	size int64
	// env is that of the client.
	env []string
}

// measurement is what a client took in one trial.
type measurement struct {
	// wall is from the moment that the pipes are opened on HANA's side until the
	// store, or HANA, has everything.
	wall time.Duration
	// cpu and peak are of the client's processes together.
	cpu  time.Duration
	peak int64
}

func (t *trial) key(stream int) string {
	return strings.ReplaceAll(t.keys, "{}", strconv.Itoa(stream))
}

// newTrial makes a directory for the pipes of a trial.
func (b *bench) newTrial(s scenario, st *store, size int64) (*trial, error) {
	b.trials++
	t := &trial{scenario: s, endpoint: st.endpoint, size: size, prefix: "BENCH" + strconv.Itoa(b.trials)}
	t.directory = filepath.Join(b.work, t.prefix)
	if err := os.Mkdir(t.directory, 0o700); err != nil {
		return nil, err
	}
	t.manifest = filepath.Join(t.directory, "manifest.json")
	t.keys = bucket + "/HXE/HXE/data/" + t.prefix + "/{}_1"
	if s.direction == down {
		t.keys, t.manifest = st.seed.keys, st.seed.manifest
	}
	for n := range s.streams {
		t.pipes = append(t.pipes, filepath.Join(t.directory, fmt.Sprintf("%s_databackup_%d_1", t.prefix, n+1)))
	}
	t.env = []string{
		"RCLONE_CONFIG=" + filepath.Join(b.work, "rclone.conf"), "RCLONE_CONFIG_BENCH_TYPE=s3", "RCLONE_CONFIG_BENCH_PROVIDER=Other",
		"RCLONE_CONFIG_BENCH_ENDPOINT=" + st.endpoint, "RCLONE_CONFIG_BENCH_NO_CHECK_BUCKET=true", "RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE=true",
		"RCLONE_CONFIG_BENCH_ACCESS_KEY_ID=" + accessKey, "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_CA_BUNDLE=" + b.certificate, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_REQUEST_CHECKSUM_CALCULATION=when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required",
		"SSL_CERT_FILE=" + b.certificate,
	}
	return t, nil
}

// run carries the streams of t once with c.
func (b *bench) run(ctx context.Context, c client, t *trial) (m measurement, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !c.ownPipes {
		for _, pipe := range t.pipes {
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				return m, fmt.Errorf("make pipe: %w", err)
			}
		}
	}
	verb := "write"
	if t.scenario.direction == down {
		verb = "read"
	}
	hana, err := start(ctx, b.pump(verb, t, "-payload", t.scenario.payload).cmd(), nil, true)
	if err != nil {
		return m, err
	}
	if _, err := hana.ready(); err != nil {
		return m, err
	}
	var clients []*process
	for _, command := range c.commands(t) {
		p, err := start(ctx, command.cmd(), t.env, c.armed)
		if err == nil && c.armed {
			_, err = p.ready()
		}
		if err != nil {
			cancel()
			return m, errors.Join(err, hana.wait())
		}
		clients = append(clients, p)
	}
	began := time.Now()
	m.wall, err = await(ctx, t, hana, clients, began)
	for _, p := range clients {
		cpu, peak := p.usage()
		m.cpu += cpu
		m.peak += peak
	}
	return m, err
}

// await tells HANA's side to begin and waits for all. The first that fails ends
// the others.
func await(ctx context.Context, t *trial, hana *process, clients []*process, began time.Time) (time.Duration, error) {
	if err := hana.input.Close(); err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		for _, p := range append(clients, hana) {
			_ = p.cmd.Cancel() // it may have ended
		}
	})
	defer stop()
	ends := make([]time.Time, len(clients)+1)
	for n, p := range append(clients, hana) {
		group.Go(func() error {
			err := p.drain()
			ends[n] = time.Now()
			return err
		})
	}
	err := group.Wait()
	if t.scenario.direction == down {
		return ends[len(clients)].Sub(began), err
	}
	last := began
	for _, end := range ends {
		if end.After(last) {
			last = end
		}
	}
	return last.Sub(began), err
}

// drain reads what the process still says and waits for its end.
func (p *process) drain() error {
	if p.output != nil {
		if _, err := io.Copy(io.Discard, p.output); err != nil {
			return errors.Join(err, p.wait())
		}
	}
	return p.wait()
}
