//go:build image

package image

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/pipestreamer/pipestreamer/deploy/manifests"
)

// insideVariable tells the test that it runs in a network of its own.
const insideVariable = "PIPESTREAMER_IMAGE_TEST_POD"

// TestPod plays the kubelet: what overlays/s3-on-premises says is run as it stands,
// from the image, with its users, files, environment and command lines, in a network
// namespace such as a pod has. The settings are those of the manifest to the letter.
// HANA is the simulator, the store a versitygw with TLS.
func TestPod(t *testing.T) {
	if os.Geteuid() != 0 {
		const reason = "needs root, to run as users 12000 and 65532 in a network namespace"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	if os.Getenv(insideVariable) == "" {
		command := exec.CommandContext(t.Context(), "/proc/self/exe", append(slices.Clone(os.Args[1:]), "-test.run=^TestPod$", "-test.v")...)
		command.Env = append(os.Environ(), insideVariable+"=1")
		command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
		text, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		t.Logf("%s", text)
		return
	}
	bringUp(t)
	// What is mounted here must not show outside.
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	p := newPod(t)
	p.start(t)
	p.backUpAndRestore(t)
	p.ask(t)
	p.stop(t)
}

// bringUp brings up the loopback interface.
func bringUp(t *testing.T) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatal(err)
	}
}

// pod is what a kubelet would have made of the manifests.
type pod struct {
	system  *manifests.System
	spec    *corev1.PodSpec
	sidecar *corev1.Container
	// root is that of the sidecar, and of HANA, which shares its volumes.
	root   string
	daemon *exec.Cmd
}

const (
	storeHost = "s3.replace-me.invalid"
	storeKey  = "secret-key-of-the-store"
	password  = "Only-4-Tests"
)

func newPod(t *testing.T) *pod {
	t.Helper()
	certificate, key := certificateFor(t, "pipestreamer", storeHost)
	files := map[string][]byte{
		"components/secrets/files/hana-password": []byte(password), "components/secrets/files/trigger-token": []byte("token-of-the-trigger"),
		"components/secrets/files/operator-token": []byte("token-of-an-operator"), "components/secrets/files/tls.crt": certificate,
		"components/secrets/files/tls.key": key, "components/secrets/files/ca.crt": certificate,
		"components/store-key/files/secret-access-key": []byte(storeKey), "overlays/s3-on-premises/ca.crt": certificate,
		"components/hana-express/files/hana-master-password.json": []byte("{}"),
	}
	p := &pod{system: systemOf(t, files)}
	p.spec = &p.system.StatefulSet.Spec.Template.Spec
	p.sidecar = named(p.spec.InitContainers, "pipestreamer")
	p.root = p.container(t, p.spec, p.sidecar)
	for _, volume := range []string{"/backup/data", "/backup/log", "/var/lib/pipestreamer"} {
		directory := filepath.Join(p.root, volume)
		// as fsGroup and an emptyDir make it
		if err := errors.Join(os.MkdirAll(directory, 0o755), os.Chown(directory, 0, 79), os.Chmod(directory, 0o777|os.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
	}
	p.startStore(t, certificate, key)
	p.startHANA(t)
	return p
}

func systemOf(t *testing.T, files map[string][]byte) *manifests.System {
	t.Helper()
	var text []byte
	for _, directory := range []string{"overlays/s3-on-premises", "restore"} {
		built, err := manifests.Build(os.DirFS("../k8s"), directory, files)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, built...), "\n---\n"...)
	}
	objects, err := manifests.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return manifests.NewSystem(objects)
}

func named(containers []corev1.Container, name string) *corev1.Container {
	i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
	return &containers[i]
}

// container makes the root of a container: the image, its volumes' files and /proc.
func (p *pod) container(t *testing.T, spec *corev1.PodSpec, c *corev1.Container) string {
	t.Helper()
	root := world(t)
	for name, text := range p.system.Files(spec, c) {
		file := filepath.Join(root, name)
		// as a projected volume with defaultMode 0440 and an fsGroup has it
		group := int(*spec.SecurityContext.FSGroup)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, 0o440), os.Chown(file, 0, group)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "hosts"), []byte("127.0.0.1 localhost pipestreamer "+storeHost+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	proc := filepath.Join(root, "proc")
	if err := errors.Join(os.Mkdir(proc, 0o755), unix.Mount("/proc", proc, "", unix.MS_BIND|unix.MS_REC, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(proc, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return root
}

// run prepares a command line of a container.
func (p *pod) run(t *testing.T, root string, user, group int64, variables []corev1.EnvVar, args ...string) *exec.Cmd {
	t.Helper()
	command := inside(t, root, args...)
	command.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(user), Gid: uint32(group), Groups: []uint32{uint32(group)}}
	for _, variable := range variables {
		if variable.ValueFrom == nil {
			command.Env = append(command.Env, variable.Name+"="+variable.Value)
		}
	}
	return command
}

// exec is "kubectl exec -c pipestreamer".
func (p *pod) exec(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	context := p.sidecar.SecurityContext
	return p.run(t, p.root, *context.RunAsUser, *context.RunAsGroup, p.sidecar.Env, args...).CombinedOutput()
}

// startStore serves a directory over S3 and TLS, with a bucket as the settings name it.
func (p *pod) startStore(t *testing.T, certificate, key []byte) {
	t.Helper()
	directory := t.TempDir()
	for name, text := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(directory, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(directory, "s3", "replace-me"), 0o755); err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.Abs("../../bin/versitygw")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "--port", "127.0.0.1:9000", "--cert", filepath.Join(directory, "tls.crt"), "--key", filepath.Join(directory, "tls.key"),
		"--quiet", "posix", filepath.Join(directory, "s3"))
	command.Env = []string{"ROOT_ACCESS_KEY=replace-me", "ROOT_SECRET_KEY=" + storeKey}
	background(t, command)
	await(t, func() error { return dial(t, "127.0.0.1:9000") })
}

// startHANA runs the simulator as hxeadm, where the sidecar's volumes are.
func (p *pod) startHANA(t *testing.T) {
	t.Helper()
	for from, to := range map[string]string{"../../bin/hanasim": "/hanasim"} {
		text, err := os.ReadFile(from)
		if err := errors.Join(err, os.WriteFile(filepath.Join(p.root, to), text, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	command := p.run(t, p.root, 12000, 79, nil, "serve", "--port=39013", "--profile=dotname", "--user=PIPESTREAMER",
		"--password-file=/run/secrets/pipestreamer/hana-password", "--log-dir=/backup/log", "--set=log-backups=1s", "--set=delay-write=150ms",
		"--database=SYSTEMDB=1:16MiB", "--database=HXE=2:24MiB")
	command.Path = "/hanasim"
	background(t, command)
	await(t, func() error { return dial(t, "127.0.0.1:39013") })
}

// start runs the sidecar until its startup probe succeeds.
func (p *pod) start(t *testing.T) {
	t.Helper()
	context := p.sidecar.SecurityContext
	p.daemon = p.run(t, p.root, *context.RunAsUser, *context.RunAsGroup, p.sidecar.Env, p.sidecar.Args...)
	background(t, p.daemon)
	probe := p.sidecar.StartupProbe.HTTPGet
	await(t, func() error { return get(t, "http://127.0.0.1:9095"+probe.Path) })
	await(t, func() error { return get(t, "http://127.0.0.1:9095/readyz") })
}

// job runs the pod of a Job and returns its output.
func (p *pod) job(t *testing.T, spec *corev1.PodSpec, uid string) (string, error) {
	t.Helper()
	text, err := p.jobCommand(t, spec, uid).Output()
	if failed, is := errors.AsType[*exec.ExitError](err); is {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	return string(text), err
}

func (p *pod) jobCommand(t *testing.T, spec *corev1.PodSpec, uid string) *exec.Cmd {
	t.Helper()
	c := &spec.Containers[0]
	args := slices.Clone(c.Args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$(JOB_UID)", uid)
	}
	context := spec.SecurityContext
	return p.run(t, p.container(t, spec, c), *context.RunAsUser, *context.RunAsGroup, nil, append(args, "-o=json")...)
}

// evict ends the pod of a Job while its backup runs and returns what it said.
func (p *pod) evict(t *testing.T, spec *corev1.PodSpec, uid string) string {
	t.Helper()
	command := p.jobCommand(t, spec, uid)
	output := new(strings.Builder)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, func() error { // by then the client has long heard of its job
		text, err := p.exec(t, "list", "--jobs", "-o=json")
		var records []struct{ State, Stage string }
		if err := errors.Join(err, json.Unmarshal(text, &records)); err != nil {
			return err
		}
		if len(records) == 0 || records[0].State != "running" || records[0].Stage != "stream" {
			return errors.New("HANA writes no backup")
		}
		return nil
	})
	err := errors.Join(command.Process.Signal(syscall.SIGTERM), command.Wait())
	if failed, is := errors.AsType[*exec.ExitError](err); !is || failed.ExitCode() != 130 {
		t.Errorf("the evicted pod ended with %v, expected exit status 130:\n%s", err, output)
	}
	return output.String()
}

// cancel ends a pod that was not told to leave its backup running: a trigger may
// cancel what it has asked for itself.
func (p *pod) cancel(t *testing.T, spec *corev1.PodSpec) {
	t.Helper()
	spec = spec.DeepCopy()
	c := &spec.Containers[0]
	c.Args = slices.DeleteFunc(c.Args, func(argument string) bool { return argument == "--keep-running" })
	text := p.evict(t, spec, "uid-of-one-that-is-cancelled")
	if !strings.Contains(text, `"state": "canceled"`) || !strings.Contains(text, `"requested_by": "token:trigger"`) {
		t.Errorf("a pod that does not leave its backup running said:\n%s", text)
	}
}

// backUpAndRestore runs the CronJobs, whose first pod is evicted, and then the Job
// that restores.
func (p *pod) backUpAndRestore(t *testing.T) {
	t.Helper()
	for _, cronJob := range p.system.CronJobs {
		if said := p.evict(t, &cronJob.Spec.JobTemplate.Spec.Template.Spec, "uid-of-"+cronJob.Name); !strings.Contains(said, "the job goes on") {
			t.Errorf("CronJob %s: its evicted pod did not say that the backup goes on:\n%s", cronJob.Name, said)
		}
		text, err := p.job(t, &cronJob.Spec.JobTemplate.Spec.Template.Spec, "uid-of-"+cronJob.Name)
		if err != nil {
			t.Fatalf("CronJob %s: %v", cronJob.Name, err)
		}
		if err := ended(text); err != nil {
			t.Errorf("CronJob %s: %v: %s", cronJob.Name, err, text)
		}
	}
	p.cancel(t, &p.system.CronJobs[0].Spec.JobTemplate.Spec.Template.Spec)
	text, err := p.exec(t, "list", "-o=json")
	if n := strings.Count(string(text), `"backup_id"`); err != nil || n != 2 {
		t.Errorf("%v, %d backups: expected that each second pod followed the backup of the first\n%s", err, n, text)
	}
	// Whoever only may trigger must not restore: the restore with the token of the trigger.
	trigger := p.system.Jobs[0].Spec.Template.Spec.DeepCopy()
	trigger.Volumes[0].Projected.Sources[0].Secret.Name = "pipestreamer-trigger"
	if text, err := p.job(t, trigger, "uid-of-an-intruder"); err == nil || !strings.Contains(err.Error(), "forbidden") && !strings.Contains(err.Error(), "may not") {
		t.Errorf("a restore by the trigger: %v: %s", err, text)
	}
	restored, err := p.job(t, &p.system.Jobs[0].Spec.Template.Spec, "uid-of-a-restore")
	if err := errors.Join(err, ended(restored)); err != nil {
		t.Errorf("restore: %v: %s", err, restored)
	}
}

// ended expects the record of a job that has succeeded.
func ended(text string) error {
	var record struct {
		State string `json:"state"`
	}
	err := json.Unmarshal([]byte(text), &record)
	if err == nil && record.State != "succeeded" {
		err = fmt.Errorf("state %q", record.State)
	}
	return err
}

// ask tries what the README says to type, and what HANA's preStop relies on.
func (p *pod) ask(t *testing.T) {
	t.Helper()
	text, err := p.exec(t, "doctor", "--config=/etc/pipestreamer/pipestreamer.yaml", "--database=SYSTEMDB", "--database=HXE")
	if err != nil || strings.Contains(string(text), "spool-owner                      the directory belongs to root") {
		t.Errorf("doctor: %v\n%s", err, text)
	}
	text, err = p.exec(t, "restore", "--database=HXE", "--until=latest", "--dry-run")
	if err != nil {
		t.Errorf("restore --dry-run: %v\n%s", err, text)
	}
	metrics := body(t, "http://127.0.0.1:9095/metrics")
	if want := `pipestreamer_job_running{action="backup"} 0`; !strings.Contains(metrics, want) {
		t.Errorf("no %s in /metrics, which HANA's preStop waits for", want)
	}
}

// stop does what a kubelet does when the pod is deleted: the preStop, then SIGTERM.
func (p *pod) stop(t *testing.T) {
	t.Helper()
	command := p.sidecar.Lifecycle.PreStop.Exec.Command
	if text, err := p.exec(t, command[1:]...); err != nil {
		t.Errorf("preStop: %v: %s", err, text)
	}
	if err := p.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	await(t, func() error {
		if dial(t, "127.0.0.1:9095") == nil {
			return errors.New("the daemon still listens")
		}
		return nil
	})
}

// background runs a command until the test ends and shows what it said if it failed.
func background(t *testing.T, command *exec.Cmd) {
	t.Helper()
	output := new(strings.Builder)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // or it has ended
		_ = command.Wait()
		if t.Failed() {
			text := output.String()
			t.Logf("%s:\n%s", command.Path, text[max(0, len(text)-6000):])
		}
	})
}

func await(t *testing.T, condition func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func dial(t *testing.T, address string) error {
	t.Helper()
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

func get(t *testing.T, url string) error {
	t.Helper()
	_, err := fetch(t, url)
	return err
}

func body(t *testing.T, url string) string {
	t.Helper()
	text, err := fetch(t, url)
	if err != nil {
		t.Error(err)
	}
	return text
}

func fetch(t *testing.T, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", url, response.Status))
	}
	return string(text), errors.Join(err, response.Body.Close())
}

func certificateFor(t *testing.T, names ...string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}
