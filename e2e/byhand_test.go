package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// The tests of this file run the commands of docs/restore-by-hand.md as they
// stand there, with a store in a directory, and read the pipes as HANA does.

func TestRestoreByHand(t *testing.T) {
	t.Parallel()
	store, dir := t.TempDir(), t.TempDir()
	storeBackup(t, store, 1700000000000)
	manifest, content := storeBackup(t, store, 1800000000000)

	status, out, got := restoreByHand(t, store, "", manifest.Plan("", dir))
	if status != 0 || !strings.Contains(out, "every byte matched") {
		t.Errorf("exit status %d, expected 0 and %q in the output:\n%s", status, "every byte matched", out)
	}
	for id, want := range content {
		if !bytes.Equal(got[id], want) {
			t.Errorf("stream %s: the %d bytes that came are not the %d of the newest backup", id, len(got[id]), len(want))
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the directory: %v (%v)", left, err)
	}
}

func TestRestoreByHandNoticesDamage(t *testing.T) {
	t.Parallel()
	store, dir := t.TempDir(), t.TempDir()
	manifest, _ := storeBackup(t, store, 1800000000000)
	damaged := filepath.Join(store, manifest.Streams[1].Objects[1].Key)
	object, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	object[len(object)/2] ^= 1
	if err := os.WriteFile(damaged, object, 0o600); err != nil {
		t.Fatal(err)
	}

	status, out, _ := restoreByHand(t, store, "", manifest.Plan("", dir))
	want := "volume " + manifest.Streams[1].String() + ": the bytes differ"
	if status != 1 || !strings.Contains(out, want) {
		t.Errorf("exit status %d, expected 1 and %q in the output:\n%s", status, want, out)
	}
}

// restoreByHand runs the commands of the document and reads every stream of
// plan once; identity is a file, if it needs one. It returns exit status, output and what was read.
func restoreByHand(t *testing.T, store, identity string, plan backup.Plan) (int, string, map[backup.StreamID][]byte) {
	t.Helper()
	requireProgram(t, "bash")
	requireProgram(t, "jq")
	rclone := requireTool(t, "rclone")
	if identity != "" {
		requireProgram(t, "zstd")
		requireTool(t, "age")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	temporary := t.TempDir()
	shell := exec.CommandContext(ctx, "bash", "-c", byHandCommands(t))
	shell.Env = append(os.Environ(), "RCLONE_CONFIG=/dev/null", "TMPDIR="+temporary,
		"PATH="+filepath.Dir(rclone)+":"+os.Getenv("PATH"), "identity="+identity,
		"remote="+store, "sid="+plan.SID, "database="+plan.Database, "dir="+plan.Directory)
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	got, errRead := readStreams(ctx, plan)
	err := shell.Wait()
	if errRead != nil || ctx.Err() != nil {
		t.Fatalf("read the pipes: %v; the commands: %v\n%s", errRead, err, out.String())
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left in the directory for temporary files: %v (%v)", left, err)
	}
	return shell.ProcessState.ExitCode(), out.String(), got
}

// byHandCommands returns the first shell block of the document.
func byHandCommands(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "restore-by-hand.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, opened := strings.Cut(string(text), "```sh\n")
	commands, _, closed := strings.Cut(rest, "```\n")
	if !opened || !closed {
		t.Fatal("docs/restore-by-hand.md has no ```sh block")
	}
	return commands
}

// readStreams waits for the pipe of each stream and reads it to its end.
func readStreams(ctx context.Context, plan backup.Plan) (map[backup.StreamID][]byte, error) {
	content := make([][]byte, len(plan.Streams))
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range plan.Streams {
		group.Go(func() error {
			path := filepath.Join(plan.Directory, plan.FileName(s.StreamID))
			if err := awaitPipe(ctx, path); err != nil {
				return err
			}
			var err error
			content[i], err = os.ReadFile(path)
			return err
		})
	}
	err := group.Wait()
	got := make(map[backup.StreamID][]byte, len(content))
	for i, s := range plan.Streams {
		got[s.StreamID] = content[i]
	}
	return got, err
}

// awaitPipe polls until there is a pipe at path.
func awaitPipe(ctx context.Context, path string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// storeBackup puts a backup of three streams, one of them in two segments,
// into the directory store.
func storeBackup(t *testing.T, store string, backupID int64) (*backup.Manifest, map[backup.StreamID][]byte) {
	t.Helper()
	prefix := "HXE_" + time.UnixMilli(backupID).UTC().Format("20060102T150405Z")
	manifest := &backup.Manifest{
		Version: backup.ManifestVersion, Tool: "test", JobID: "1", SID: "HXE", Database: "HXE", Kind: backup.KindComplete,
		BackupID: backupID, Directory: "/backup", Prefix: prefix, HANAVersion: "2.00.088",
		StartedAt: time.UnixMilli(backupID), FinishedAt: time.UnixMilli(backupID + 1000),
	}
	content := map[backup.StreamID][]byte{}
	random := rand.NewChaCha8(sha256.Sum256([]byte(prefix)))
	for _, stream := range []struct {
		id       backup.StreamID
		segments []int
	}{
		{backup.StreamID{VolumeID: 0, PartID: 1}, []int{152 << 10}},
		{backup.StreamID{VolumeID: 2, PartID: 1}, []int{1 << 20, 4097}},
		{backup.StreamID{VolumeID: 3, PartID: 1}, []int{1}},
	} {
		entry := backup.ManifestStream{StreamID: stream.id, Service: "indexserver", Host: "hana", Path: "/backup/" + prefix + "_databackup_" + stream.id.String()}
		var all []byte
		for i, size := range stream.segments {
			piece := make([]byte, size)
			if _, err := random.Read(piece); err != nil {
				t.Fatal(err)
			}
			key := backup.SegmentKey(backup.StreamKey("HXE", "HXE", prefix, stream.id), i+1)
			putObject(t, store, key, piece)
			sum := hexSum(piece)
			entry.Objects = append(entry.Objects, backup.Object{
				Key: key, Size: int64(size), SHA256: sum, Parts: []backup.Part{{Size: int64(size), SHA256: sum}},
			})
			all = append(all, piece...)
		}
		entry.Size, entry.SHA256 = int64(len(all)), hexSum(all)
		manifest.Streams = append(manifest.Streams, entry)
		content[stream.id] = all
	}
	text, err := manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	putObject(t, store, backup.ManifestKey("HXE", "HXE", backupID), text)
	return manifest, content
}

func putObject(t *testing.T, store, key string, content []byte) {
	t.Helper()
	path := filepath.Join(store, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
