package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/httpapi"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// world is a HANA, a store and a daemon between them.
type world struct {
	t     *testing.T
	hana  *hana
	depot *depot
	// backups is the directory that HANA and the daemon share.
	backups string
	// config is the daemon's configuration file.
	config string
	socket string
	// metrics is the address of the daemon's metrics and probes.
	metrics string
	daemon  *process
	log     tail
}

// newWorld starts all three. changes are laid over the configuration of the
// daemon, section by section; with a store they change its settings.
func newWorld(t *testing.T, simulated hanasim.Config, d *depot, changes map[string]any) *world {
	t.Helper()
	w := &world{t: t, depot: d, backups: directory(t), hana: startHANA(t, simulated)}
	w.log.showOnFailure(t, "the daemon")
	w.configure(changes)
	w.startDaemon()
	return w
}

// configure writes the daemon's configuration.
func (w *world) configure(changes map[string]any) {
	w.t.Helper()
	dir := directory(w.t)
	host, port, err := net.SplitHostPort(w.hana.Addr(backup.SystemDB))
	if err != nil {
		w.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		w.t.Fatal(err)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(hanaPassword+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	settings := map[string]any{
		"hana": map[string]any{
			"sid": "HXE", "host": host, "port": number, "user": hanaUser, "passwordFile": password,
		},
		"backupDirectory": w.backups,
		"stateDirectory":  filepath.Join(dir, "state"),
		"store":           w.depot.settings,
	}
	w.config = filepath.Join(dir, "pipestreamer.yaml")
	w.socket = filepath.Join(dir, "state", "pipestreamer.sock")
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		w.t.Fatal(err)
	}
	text, err := yaml.Marshal(overlay(settings, changes))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.config, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// overlay returns settings with changes in them, level by level.
func overlay(settings, changes map[string]any) map[string]any {
	result := maps.Clone(settings)
	for key, value := range changes {
		below, isMap := value.(map[string]any)
		old, wasMap := result[key].(map[string]any)
		if isMap && wasMap {
			value = overlay(old, below)
		}
		result[key] = value
	}
	return result
}

// startDaemon starts the daemon and waits until it says that it is ready. It
// tells the port of its metrics and probes in its log.
func (w *world) startDaemon() {
	w.t.Helper()
	env := []string{"PIPESTREAMER_METRICS_LISTEN=127.0.0.1:0"}
	earlier := len(listening.FindAllString(w.log.String(), -1))
	w.daemon = startProcess(w.t, "the daemon", &w.log, env, daemonProgram(w.t), "serve", "--config", w.config)
	started := w.daemon.awaitStart(func() bool {
		said := listening.FindAllStringSubmatch(w.log.String(), -1)
		if len(said) == earlier {
			return false
		}
		w.metrics = said[len(said)-1][1]
		status, _, err := w.get("/readyz")
		return err == nil && status == http.StatusOK
	})
	if !started {
		w.t.Fatal("the daemon does not start")
	}
}

// listening is what the daemon logs once its metrics and probes are served.
var listening = regexp.MustCompile(`"msg":"metrics and probes","address":"([^"]+)"`)

// get asks the listener for metrics and probes.
func (w *world) get(path string) (status int, body string, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get("http://" + w.metrics + path)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), errors.Join(err, response.Body.Close())
}

// stopDaemon ends the daemon as Kubernetes does and expects exit status 0.
func (w *world) stopDaemon() {
	w.t.Helper()
	w.daemon.signal(syscall.SIGTERM)
	if status := w.daemon.wait(); status != 0 {
		w.t.Errorf("after SIGTERM the daemon ended with %d, expected 0", status)
	}
}

// client speaks to the daemon without the command line.
func (w *world) client() *httpapi.Client {
	w.t.Helper()
	client, err := httpapi.NewClient(httpapi.ClientOptions{Socket: w.socket})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}

// result is how a command line ended.
type result struct {
	status         int
	stdout, stderr string
}

// run runs a verb of the compiled program with -o json.
func (w *world) run(verb string, args ...string) result {
	w.t.Helper()
	return w.begin(verb, args...)()
}

// begin starts a verb; the function that it returns waits for its end.
func (w *world) begin(verb string, args ...string) func() result {
	w.t.Helper()
	return w.beginProcess(verb, args...).finish
}

// verb is a command line that runs.
type verb struct {
	*process

	stdout, stderr *bytes.Buffer
	cancel         context.CancelFunc
}

func (w *world) beginProcess(name string, args ...string) *verb {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Minute)
	w.t.Cleanup(cancel)
	args = append([]string{name, "--output", "json", "--socket", w.socket}, args...)
	v := &verb{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), cancel: cancel}
	cmd := exec.CommandContext(ctx, daemonProgram(w.t), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = plainEnvironment(), v.stdout, v.stderr
	v.process = &process{t: w.t, name: "pipestreamer " + name, cmd: cmd, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		w.t.Fatalf("start %s: %v", v.name, err)
	}
	go func() {
		// How it ended is in cmd.ProcessState.
		_ = cmd.Wait()
		close(v.ended)
	}()
	w.t.Cleanup(func() { <-v.ended })
	return v
}

// finish waits for the end of the verb.
func (v *verb) finish() result {
	<-v.ended
	v.cancel()
	return result{v.cmd.ProcessState.ExitCode(), v.stdout.String(), v.stderr.String()}
}

// record decodes the job that a verb printed.
func (r result) record(t *testing.T) job.Record {
	t.Helper()
	var record job.Record
	if err := json.Unmarshal([]byte(r.stdout), &record); err != nil {
		t.Fatalf("exit status %d, no job record: %v\n%s%s", r.status, err, r.stdout, r.stderr)
	}
	return record
}

// expect checks the exit status.
func (r result) expect(t *testing.T, status int) result {
	t.Helper()
	if r.status != status {
		t.Fatalf("exit status %d, expected %d\n%s%s", r.status, status, r.stdout, r.stderr)
	}
	return r
}

// backUp makes a backup that has to succeed.
func (w *world) backUp(database string) job.Record {
	w.t.Helper()
	record := w.run("backup", "--database", database).expect(w.t, 0).record(w.t)
	if record.State != job.StateSucceeded || record.Error != nil {
		w.t.Fatalf("the backup ended %s: %v", record.State, record.Error)
	}
	return record
}

// manifest asks for the manifest of a backup.
func (w *world) manifest(database string, backupID int64) *backup.Manifest {
	w.t.Helper()
	text := w.run("show", "--database", database, "--backup", strconv.FormatInt(backupID, 10)).expect(w.t, 0).stdout
	manifest, err := backup.DecodeManifest([]byte(text))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, text)
	}
	return manifest
}

// streaming waits until a job has moved at least n bytes of its streams.
func (w *world) streaming(client *httpapi.Client, id string, n int64) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("job %s moves %d bytes", id, n), func() bool {
		record, err := client.Job(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if record.State.Terminal() {
			w.t.Fatalf("job %s ended %s: %v", id, record.State, record.Error)
		}
		var sum int64
		for i := range record.Streams {
			sum += record.Streams[i].Bytes
		}
		return sum >= n
	})
}

// ended waits until a job has ended.
func (w *world) ended(client *httpapi.Client, id string) job.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	record, err := client.Follow(ctx, id, func(job.Record) {})
	if err != nil {
		w.t.Fatalf("job %s does not end: %v", id, err)
	}
	return record
}

// pipes lists what is in the backup directory.
func (w *world) pipes() []string {
	w.t.Helper()
	entries, err := os.ReadDir(w.backups)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// expectNoPipes fails the test when anything is left in the backup directory.
func (w *world) expectNoPipes() {
	w.t.Helper()
	if left := w.pipes(); len(left) > 0 {
		w.t.Errorf("left in the backup directory: %v", left)
	}
}

// decode reads JSON.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return value
}
