package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// names are those of the large stream in the backup directory.
func (c *faultCase) names() (final, hidden string) {
	c.t.Helper()
	record, err := c.client.Job(c.t.Context(), c.job)
	if err != nil {
		c.t.Fatal(err)
	}
	plan := backup.Plan{Directory: c.backups, Prefix: record.Prefix}
	id := backup.StreamID{VolumeID: largeVolume, PartID: 1}
	return filepath.Join(c.backups, plan.FileName(id)), filepath.Join(c.backups, plan.TemporaryName(id))
}

// somebody does something to a name of the large stream.
func somebody(hidden bool, act func(path string) error) func(*faultCase) {
	return func(c *faultCase) {
		path, other := c.names()
		if hidden {
			path = other
		}
		if err := act(path); err != nil {
			c.t.Fatal(err)
		}
	}
}

// noticed is somebody, and HANA goes on when the daemon has seen it.
func noticed(hidden bool, act func(path string) error) func(*faultCase) {
	return func(c *faultCase) {
		somebody(hidden, act)(c)
		eventually(c.t, "the daemon notices", func() bool { return strings.Contains(c.log.String(), "something happened to the pipes") })
	}
}

func overwriteWith(put func(path string) error) func(path string) error {
	return func(path string) error {
		aside := filepath.Join(filepath.Dir(path), "aside")
		return errors.Join(put(aside), os.Rename(aside, path))
	}
}

// removeStrangers takes away pipes that somebody has made.
func removeStrangers(c *faultCase) {
	for _, name := range c.pipes() {
		must(c, os.Remove(filepath.Join(c.backups, name)))
	}
}

func makeFile(path string) error { return os.WriteFile(path, []byte("somebody's"), 0o600) }

func makePipe(path string) error { return unix.Mkfifo(path, 0o600) }

// pipesOnly forbids files: what HANA writes past a pipe fails the backup then.
func pipesOnly() map[string]any { return map[string]any{"door": "fifo"} }

// touchedPipes are what other programs, or people, do in the backup directory.
func touchedPipes() []faultRow {
	bypassed := func(words string, files ...string) outcome {
		return outcome{state: job.StateFailed, code: job.CodeIntrusion, words: words, files: files}
	}
	// HANA may make a file at the free name before the daemon takes it again, and
	// keep it.
	gone := bypassed("was removed before HANA used it", "_2_1")
	return []faultRow{
		{
			fault: "the pipe at the hidden name is removed (`door: fifo`)", where: onDisk, config: pipesOnly(),
			inject:   noticed(true, os.Remove),
			outcomes: everyPhase(gone, beforeOpen),
		},
		{
			fault: "the pipe at the final name is removed (`door: fifo`)", where: onDisk, config: pipesOnly(),
			inject:   noticed(false, os.Remove),
			outcomes: everyPhase(gone, beforeOpen),
		},
		{
			fault: "the pipe at the hidden name is removed", where: onDisk,
			inject:   somebody(true, os.Remove),
			outcomes: everyPhase(absorbed(), beforeOpen),
		},
		{
			fault: "the pipe at the final name is removed while HANA writes at the hidden one", where: onDisk,
			inject:   somebody(false, os.Remove),
			outcomes: everyPhase(absorbed(), firstBytes, middle),
		},
		{
			fault: "a file is renamed over the pipe at the final name (`door: fifo`)", where: onDisk, config: pipesOnly(),
			inject:   noticed(false, overwriteWith(makeFile)),
			outcomes: everyPhase(bypassed("regular file", "_2_1"), beforeOpen, firstBytes, middle),
		},
		{
			fault: "the pipe at the hidden name becomes a file (`door: fifo`)", where: onDisk, config: pipesOnly(),
			inject:   noticed(true, overwriteWith(makeFile)),
			outcomes: everyPhase(bypassed("regular file", "_2_1"), beforeOpen, firstBytes, middle),
		},
		{
			fault: "another pipe is renamed over the one at the hidden name", where: onDisk,
			inject: noticed(true, overwriteWith(makePipe)), lift: removeStrangers,
			outcomes: everyPhase(bypassed("a named pipe that is not ours"), beforeOpen, firstBytes, middle),
		},
		{
			fault: "a file appears at the final name after HANA has renamed", where: onDisk,
			inject:   somebody(false, overwriteWith(makeFile)),
			outcomes: everyPhase(outcome{state: job.StateLost, code: job.CodeIntrusion, words: "regular file", files: []string{"_2_1"}}, afterEOF),
		},
		{
			fault: "somebody else writes to the pipe at the final name", where: onDisk,
			inject: somebody(false, func(path string) error {
				fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK, 0)
				if err != nil {
					return err
				}
				_, err = unix.Write(fd, []byte("not of HANA"))
				return errors.Join(err, unix.Close(fd))
			}),
			outcomes: with(everyPhase(bypassed("second writer"), firstBytes, middle), afterEOF, lost(job.CodeIntrusion, "second writer")),
		},
		{
			fault: "a second part of a file appears (`door: fifo`)", where: onDisk, config: pipesOnly(),
			inject: noticed(false, func(path string) error {
				return makeFile(strings.TrimSuffix(path, "_1") + "_2")
			}),
			outcomes: everyPhase(bypassed("_databackup_2_2", "_2_2"), beforeOpen, firstBytes, middle),
		},
		{
			fault: "another file appears in the directory", where: onDisk,
			inject:   func(c *faultCase) { must(c, makeFile(filepath.Join(c.backups, "log_backup_2_0_1_2.1234"))) },
			lift:     func(c *faultCase) { must(c, os.Remove(filepath.Join(c.backups, "log_backup_2_0_1_2.1234"))) },
			outcomes: everyPhase(absorbed(), beforeOpen, middle, duringCommit),
		},
		{
			fault: "the directory is moved away and back", where: onDisk,
			inject: func(c *faultCase) {
				must(c, os.Rename(c.backups, c.backups+"-away"))
				must(c, os.Rename(c.backups+"-away", c.backups))
			},
			outcomes: everyPhase(bypassed("the directory was removed, moved or unmounted"), beforeOpen, firstBytes, middle),
		},
	}
}

func must(c *faultCase, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// cancellations are asked for by DELETE /v1/jobs/{id}.
func cancellations() []faultRow {
	cancel := func(c *faultCase) { must(c, c.client.Cancel(c.t.Context(), c.job)) }
	canceled := outcome{state: job.StateCanceled, code: job.CodeCanceled, words: "cancelled on request"}
	drained := outcome{state: job.StateCanceled, code: job.CodeCanceled, words: "the daemon is shutting down"}
	return []faultRow{
		{
			fault: "the job is cancelled", where: inDaemon,
			inject:   cancel,
			outcomes: everyPhase(canceled, beforeOpen, firstBytes, middle),
		},
		{
			fault: "the job is cancelled, and HANA refuses to cancel", where: inDaemon,
			arrange: setting("cancel", "refuse"), inject: cancel, lift: setting("cancel", "accept"),
			outcomes: everyPhase(canceled, beforeOpen, firstBytes, middle),
		},
		{
			fault: "the job is cancelled, and HANA goes on", where: inDaemon,
			arrange: setting("cancel", "ignore"), inject: cancel, lift: setting("cancel", "accept"),
			outcomes: everyPhase(canceled, beforeOpen, firstBytes, middle),
		},
		{
			fault: "the job is cancelled when HANA has ended", where: inDaemon,
			inject:   cancel,
			outcomes: with(everyPhase(absorbed(), duringCommit), afterEOF, lost(job.CodeCanceled, "cancelled on request")),
		},
		{
			fault: "`SIGTERM`, and the backup takes longer than `shutdownGrace`", where: inDaemon,
			inject: func(c *faultCase) {
				c.daemon.signal(syscall.SIGTERM)
				eventually(c.t, "the job has ended", func() bool { return c.daemon.hasEnded() })
			},
			lift:     func(c *faultCase) { c.startDaemon() },
			outcomes: everyPhase(drained, beforeOpen, firstBytes, middle),
		},
		{
			fault: "`SIGTERM`, and the backup ends within `shutdownGrace`", where: inDaemon,
			config: map[string]any{"shutdownGrace": "30s"},
			inject: func(c *faultCase) {
				c.daemon.signal(syscall.SIGTERM)
				eventually(c.t, "the daemon refuses new jobs", c.drains)
			},
			lift:     func(c *faultCase) { c.daemon.wait(); c.startDaemon() },
			outcomes: everyPhase(absorbed(), beforeOpen, firstBytes, middle, afterEOF, duringCommit),
		},
		{
			fault: "the job is cancelled, and HANA ignores that and every broken pipe", where: inDaemon,
			arrange: func(c *faultCase) {
				c.hana.set("cancel", "ignore")
				fault("ignore-epipe:0", "ignore-epipe:2", "ignore-epipe:3")(c)
			},
			inject: cancel, lift: setting("cancel", "accept"),
			outcomes: everyPhase(lost(job.CodeCanceled, "cancelled on request"), firstBytes, middle),
		},
	}
}
