package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	all, err := b.arm(ctx, c, t)
	defer func() {
		cancel()
		for _, p := range all {
			_ = p.wait() // it has ended, or was told to after a failure
		}
	}()
	if err != nil {
		return m, err
	}
	if m.wall, err = await(ctx, t.scenario.direction, all); err != nil {
		return m, err
	}
	for _, p := range all[1:] {
		cpu, peak := p.usage()
		m.cpu += cpu
		m.peak += peak
	}
	return m, nil
}

// arm starts HANA's side and after it the processes of the client, and returns
// them when all are ready. After an error it returns those that it has started.
func (b *bench) arm(ctx context.Context, c client, t *trial) (all []*process, err error) {
	if !c.ownPipes {
		for _, pipe := range t.pipes {
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				return nil, fmt.Errorf("make pipe: %w", err)
			}
		}
	}
	verb := "write"
	if t.scenario.direction == down {
		verb = "read"
	}
	commands := append([]command{b.pump(verb, t, "-payload", t.scenario.payload)}, c.commands(t)...)
	for n, command := range commands {
		says := n == 0 || c.armed
		p, err := start(ctx, command.cmd(), t.env, says)
		if err != nil {
			return all, err
		}
		all = append(all, p)
		if !says {
			continue
		}
		if _, err := p.ready(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// await tells HANA's side, the first of all, to begin, and waits for all. The
// first that fails ends the others. It returns how long it took, or the errors of
// all, HANA's last: a broken pipe is a consequence.
func await(ctx context.Context, direction string, all []*process) (time.Duration, error) {
	began := time.Now()
	if err := all[0].input.Close(); err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		for _, p := range all {
			_ = p.cmd.Cancel() // it may have ended
		}
	})
	defer stop()
	took, errs := make([]time.Duration, len(all)), make([]error, len(all))
	for n, p := range all {
		group.Go(func() error {
			errs[n] = p.drain()
			took[n] = time.Since(began)
			return errs[n]
		})
	}
	if group.Wait() != nil {
		return 0, errors.Join(append(errs[1:], errs[0])...)
	}
	if direction == down {
		return took[0], nil
	}
	return slices.Max(took), nil
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
