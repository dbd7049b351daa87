package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// run builds the scene, plays the story and clears up, whatever happened.
func run(ctx context.Context, out io.Writer, bin string) error {
	begun := time.Now()
	st := &story{out: out}
	st.say("A HANA simulator, an S3 server (versitygw) and the daemon start")
	scene, err := build(ctx, bin, "")
	if err != nil {
		return err
	}
	st.scene = scene
	if err := errors.Join(st.play(ctx), scene.strike()); err != nil {
		return err
	}
	st.say("Everything that came back is what was there. %.1f s, nothing is left behind", time.Since(begun).Seconds())
	return nil
}

// story is what the demo tells.
type story struct {
	*scene
	out      io.Writer
	before   []volume
	manifest *backup.Manifest
}

func (s *story) play(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		s.begin, s.backUp, s.showManifest, s.compareWritten, s.listBucket, s.destroy, s.restore, s.verify, s.checkDirectory,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) begin(ctx context.Context) error {
	before, err := s.showContent(ctx)
	s.before = before
	return err
}

func (s *story) backUp(ctx context.Context) error {
	return s.client(ctx, "backup", "--database", tenant)
}

// showManifest shows what the client shows of the backup, and keeps the
// manifest.
func (s *story) showManifest(ctx context.Context) error {
	if err := s.client(ctx, "list", "--database", tenant); err != nil {
		return err
	}
	show := []string{"show", "--database", tenant, "--backup", "latest"}
	if err := s.client(ctx, show...); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := s.quietly(ctx, &text, append(show, "-o", "json")...); err != nil {
		return err
	}
	manifest, err := backup.DecodeManifest(text.Bytes())
	s.manifest = manifest
	return err
}

func (s *story) destroy(ctx context.Context) error {
	s.say("The data of %s is destroyed", tenant)
	if err := s.hana.destroy(ctx); err != nil {
		return err
	}
	now, err := s.showContent(ctx)
	if err == nil && slices.Equal(s.before, now) {
		err = errors.New("nothing was destroyed: the comparison would prove nothing")
	}
	return err
}

func (s *story) restore(ctx context.Context) error {
	if err := s.client(ctx, "restore", "--database", tenant, "--backup", "latest"); err != nil {
		return err
	}
	after, err := s.showContent(ctx)
	if err != nil {
		return err
	}
	s.say("Before the destruction and after the restore")
	if !s.compare(s.before, after) {
		return errors.New("what came back is not what was there")
	}
	return nil
}

// compare shows volume by volume whether two lists agree.
func (s *story) compare(want, got []volume) bool {
	for i, v := range want {
		verdict := "same"
		if i >= len(got) || got[i] != v {
			verdict = "DIFFERENT"
		}
		s.print("volume %d: %s\n", v.ID, verdict)
	}
	return slices.Equal(want, got)
}

func (s *story) verify(ctx context.Context) error {
	return s.client(ctx, "verify", "--database", tenant, "--backup", "latest")
}

// compareWritten compares the manifest with what the simulator knows that it
// wrote.
func (s *story) compareWritten(ctx context.Context) error {
	written, err := s.hana.written(ctx, s.manifest.BackupID, s.manifest.Plan("", s.manifest.Directory).Path())
	if err != nil {
		return err
	}
	stored := make([]volume, 0, len(s.manifest.Streams))
	for i := range s.manifest.Streams {
		stream := &s.manifest.Streams[i]
		stored = append(stored, volume{stream.VolumeID, stream.Size, stream.SHA256})
	}
	s.say("The files that HANA wrote and the manifest. A file begins with a header of HANA, so its hash is not the one of the volume's content")
	if !s.compare(written, stored) {
		return fmt.Errorf("HANA wrote %v, the manifest says %v", written, stored)
	}
	return nil
}

// listBucket lists the objects with a program that has nothing to do with ours.
func (s *story) listBucket(ctx context.Context) error {
	s.say("The bucket, listed by rclone")
	list := exec.CommandContext(ctx, s.program("rclone"), "lsf", "-R", "--files-only", "--format", "sp", "--separator", "\t", "demo:"+bucket)
	list.Env = append(os.Environ(), "RCLONE_CONFIG=/dev/null", "RCLONE_CONFIG_DEMO_TYPE=s3", "RCLONE_CONFIG_DEMO_PROVIDER=Other",
		"RCLONE_CONFIG_DEMO_ENDPOINT="+s.s3, "RCLONE_CONFIG_DEMO_ACCESS_KEY_ID="+access, "RCLONE_CONFIG_DEMO_SECRET_ACCESS_KEY="+secret)
	list.Stdout, list.Stderr = s.out, s.out
	if err := list.Run(); err != nil {
		return fmt.Errorf("list the bucket: %w", err)
	}
	return nil
}

// checkDirectory makes sure that no pipe is left where HANA writes.
func (s *story) checkDirectory(context.Context) error {
	left, err := os.ReadDir(s.path("backup"))
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("left in the backup directory: %v", left)
	}
	return nil
}

// client shows a client verb and what it says.
func (s *story) client(ctx context.Context, args ...string) error {
	s.say("pipestreamer %s", strings.Join(args, " "))
	return s.quietly(ctx, s.out, args...)
}

// quietly runs a client verb. Its progress and errors go to standard error.
func (s *story) quietly(ctx context.Context, out io.Writer, args ...string) error {
	args = append(args, "--socket", s.path("state", "pipestreamer.sock"))
	verb := exec.CommandContext(ctx, s.program("pipestreamer"), args...)
	verb.Stdout, verb.Stderr = out, os.Stderr
	// Interrupted, it cancels its job; one signal only, a second would end it.
	verb.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	verb.Cancel = func() error { return verb.Process.Signal(os.Interrupt) }
	verb.WaitDelay = patience
	if err := verb.Run(); err != nil {
		return fmt.Errorf("pipestreamer %s: %w", args[0], err)
	}
	return nil
}

// showContent shows what the tenant holds.
func (s *story) showContent(ctx context.Context) ([]volume, error) {
	volumes, err := s.hana.content(ctx)
	if err != nil {
		return nil, err
	}
	s.say("Tenant %s holds", tenant)
	for _, v := range volumes {
		s.print("volume %d  %10s  %s\n", v.ID, mebibytes(v.Size), v.SHA256)
	}
	return volumes, nil
}

func (s *story) say(format string, args ...any) { s.print("\n== "+format+"\n", args...) }

// print tells the audience; without one the demo still shows by its exit status.
func (s *story) print(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }
