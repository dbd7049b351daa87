//go:build image

package image

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// account is the image's own user.
const account = 65532

// inside prepares the program of the image to run in it: with its root as the only
// file system, as its user, with its environment.
func inside(t *testing.T, root string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, "/bin/pipestreamer", args...)
	command.Dir, command.Env = "/", open(t, *first).config.Config.Env
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if os.Geteuid() == 0 {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: account, Gid: account}
		return command
	}
	// Whoever is not root is the user of the image in a namespace, and may chroot there.
	command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: account, HostID: os.Geteuid(), Size: 1}}
	command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: account, HostID: os.Getegid(), Size: 1}}
	return command
}

// world makes the root of the image, and directories of its user where volumes
// are mounted.
func world(t *testing.T, volumes ...string) string {
	t.Helper()
	root := unpacked(t)
	for ancestor := root; ancestor != os.TempDir(); ancestor = filepath.Dir(ancestor) {
		if err := os.Chmod(ancestor, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, volume := range volumes {
		directory := filepath.Join(root, volume)
		if err := os.MkdirAll(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(directory, account, account); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func TestVersion(t *testing.T) {
	text, err := inside(t, world(t), "version").CombinedOutput()
	want := "pipestreamer " + open(t, *first).config.Config.Labels["org.opencontainers.image.version"] + " go"
	if err != nil || !strings.HasPrefix(string(text), want) {
		t.Errorf("%v: %q, expected %q", err, text, want)
	}
}

func TestRefusesSettings(t *testing.T) {
	root := world(t)
	if err := os.WriteFile(filepath.Join(root, "bad.yaml"), []byte("backupDirectory: backup\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command := inside(t, root, "serve", "--config=/bad.yaml")
	text, err := command.CombinedOutput()
	if err == nil || command.ProcessState.ExitCode() != 2 || !strings.Contains(string(text), "hana.sid") {
		t.Errorf("%v: %s", err, text)
	}
}

// The daemon starts, answers and ends in order, with volumes at its own paths only.
func TestServes(t *testing.T) {
	root := world(t, "/var/lib/pipestreamer", "/backup", "/store")
	settings := `hana: {sid: HXE, port: 39013, user: PIPESTREAMER, passwordFile: /etc/hana-password}
backupDirectory: /backup
store: {type: local, root: /store, bandwidth: 'Mon-07:00,50MiB/s Sun-20:00,off'}
metrics: {listen: '127.0.0.1:0'}
`
	for name, text := range map[string]string{"settings.yaml": settings, "hana-password": "Only-4-Tests"} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	daemon := inside(t, root, "serve", "--config=/etc/settings.yaml")
	daemon.Env = append(daemon.Env, "TZ=Asia/Kolkata")
	output, err := daemon.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	said := new(bytes.Buffer)
	lines := bufio.NewScanner(io.TeeReader(output, said))
	for lines.Scan() && !strings.Contains(lines.Text(), `"serving"`) {
		continue
	}
	text, err := inside(t, root, "list", "--jobs").CombinedOutput()
	if err != nil {
		t.Errorf("list: %v: %s", err, text)
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
		continue
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("the daemon: %v\n%s", err, said)
	}
	if !strings.Contains(said.String(), "+0530") {
		t.Errorf("TZ=Asia/Kolkata does not show in the log:\n%s", said)
	}
}
