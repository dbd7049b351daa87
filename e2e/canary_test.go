package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rclone/rclone/fs/config/obscure"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/access/accesstest"
	"github.com/pipestreamer/pipestreamer/internal/config"
)

// secretKeys are the settings that name files, by what the configuration itself
// says: a new one has to be given a canary, or be called public, before this test
// passes.
func secretKeys(t *testing.T) []string {
	t.Helper()
	public := []string{
		"hana.tls.caFile", "encryption.recipientsFile", "http.tls.certFile", "http.tls.clientCAFile", "http.tokenReview.caFile", "notify.caFile",
	}
	var keys []string
	var walk func(section reflect.Type, prefix string)
	walk = func(section reflect.Type, prefix string) {
		for field := range section.Fields() {
			key, tagged := field.Tag.Lookup("key")
			switch {
			case !tagged:
			case field.Type.Kind() == reflect.Struct:
				walk(field.Type, prefix+key+".")
			case key == "secrets" || key == "tokens" || strings.HasSuffix(key, "File") && !slices.Contains(public, prefix+key):
				keys = append(keys, prefix+key)
			}
		}
	}
	walk(reflect.TypeFor[config.Config](), "")
	if len(keys) < 6 {
		t.Fatalf("the configuration has only these secrets: %v", keys)
	}
	return keys
}

// canaries are secrets that must not be seen anywhere, by where they stand.
type canaries struct {
	t      *testing.T
	forms  map[string][]byte // in one of the forms below
	places int
	bytes  int64
}

// add takes in a secret in the forms in which it may be seen.
func (c *canaries) add(name, secret string) {
	reversed := []rune(secret)
	slices.Reverse(reversed)
	for form, text := range map[string]string{
		"": secret, " reversed": string(reversed), " in hex": hex.EncodeToString([]byte(secret)), " in a URL": url.QueryEscape(secret),
	} {
		c.forms[name+form] = []byte(text)
	}
	// In base64 the text depends on where in the whole it begins; its ends depend on
	// what is beside it.
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		c.forms[fmt.Sprintf("%s in base64, from byte %d", name, shift)] = []byte(text[4*((shift+2)/3) : len(text)-4])
	}
}

// obscured are texts as rclone hides passwords in: whoever knows rclone reads them.
var obscured = regexp.MustCompile(`[A-Za-z0-9_-]{30,}`)

// look fails the test when a secret is seen in text.
func (c *canaries) look(place string, text []byte) {
	c.t.Helper()
	c.places++
	c.bytes += int64(len(text))
	for form, secret := range c.forms {
		if at := bytes.Index(text, secret); at >= 0 {
			c.t.Errorf("%s shows %s: …%q…", place, form, text[max(0, at-60):min(len(text), at+len(secret)+20)])
		}
	}
}

// lookHidden looks into what is hidden as rclone hides passwords, too.
func (c *canaries) lookHidden(place string, text []byte) {
	c.t.Helper()
	c.look(place, text)
	for _, token := range obscured.FindAll(text, -1) {
		revealed, err := obscure.Reveal(string(token))
		if err != nil {
			continue
		}
		for form, secret := range c.forms {
			if strings.Contains(revealed, string(secret)) {
				c.t.Errorf("%s shows %s, obscured: %s", place, form, token)
			}
		}
	}
}

// lookBelow looks into every file of a directory, but for the given ones.
func (c *canaries) lookBelow(dir string, but ...string) {
	c.t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || slices.Contains(but, path) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.look(path, append([]byte(path+"\n"), text...))
		return nil
	})
	if err != nil {
		c.t.Error(err)
	}
}

// caged is a world in which every secret is a canary.
type caged struct {
	*world
	*canaries

	files         map[string]string // by setting
	listen, token string
	authority     *accesstest.Authority
	said          *bytes.Buffer // all that the daemon logs
}

const wrongSecret = "Wrong-Canary-9cc1d4"

func newCaged(t *testing.T) *caged {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c := &caged{canaries: &canaries{t: t, forms: map[string][]byte{}}, files: map[string]string{}, token: "Token-Canary-5f0e7a", said: new(bytes.Buffer), listen: freeAddress(t)}
	dir := directory(t)
	d := openS3(t)
	c.authority = accesstest.NewAuthority(t)
	certificate := c.authority.Issue(t, "pipestreamer", nil)
	key, err := os.ReadFile(certificate.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	kubernetes := accesstest.NewKubernetes(t, c.authority)
	kubernetes.OwnToken = "Review-Canary-44c07b"
	hook := httptest.NewServer(http.NotFoundHandler()) // tried again and again
	t.Cleanup(hook.Close)
	const path = "Hook-Canary-77aa10"
	signature := base64.StdEncoding.EncodeToString([]byte("Webhook-Canary-of-32-bytes-9c7d1"))
	// What has to stay secret of what a file holds, where that is not all of it.
	parts := map[string]string{"http.tls.keyFile": strings.Split(string(key), "\n")[1], "notify.urlFile": path, "notify.secretFile": signature}
	values := map[string]string{
		"hana.passwordFile": hanaPassword, "http.tokenFile": c.token, "http.tokens": "Tokens-Canary-1b9e33", "http.tls.keyFile": string(key),
		"http.tokenReview.tokenFile": kubernetes.OwnToken, "notify.urlFile": hook.URL + "/" + path, "notify.secretFile": "whsec_" + signature,
		"store.secrets": s3Secret, "store.crypt.passwordFile": "Crypt-Canary-81b3f0", "store.crypt.saltFile": "Salt-Canary-2d94ec",
		"encryption.identityFile": identity.String(),
	}
	for _, key := range secretKeys(t) {
		value, known := values[key]
		if !known {
			t.Fatalf("%s is a secret, or public (see secretKeys): this test has no canary for it", key)
		}
		part, partly := parts[key]
		if !partly {
			part = value
		}
		c.add("the secret of "+key, part)
		c.files[key] = filepath.Join(dir, key)
		c.put(key, value)
	}
	c.add("a wrong secret", wrongSecret)
	c.world = newWorld(t, hanasim.Config{Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(mebibyte)}}, Profile: hanasim.Dotname}, d, nil)
	c.stopDaemon()
	c.log.copy = c.said
	c.configure(map[string]any{
		"log": map[string]any{"level": "debug"}, "logs": map[string]any{"directory": c.hana.logs},
		"hana": map[string]any{"passwordFile": c.files["hana.passwordFile"]},
		"http": map[string]any{
			"listen": c.listen, "tokenFile": c.files["http.tokenFile"], "tokens": map[string]any{"night": c.files["http.tokens"]}, "triggers": []string{"token:night"},
			"tls":         map[string]any{"certFile": certificate.CertFile, "keyFile": c.files["http.tls.keyFile"], "clientCAFile": c.authority.File},
			"tokenReview": map[string]any{"audience": "pipestreamer", "url": kubernetes.URL, "caFile": c.authority.File, "tokenFile": c.files["http.tokenReview.tokenFile"]},
		},
		"notify": map[string]any{
			"urlFile": c.files["notify.urlFile"], "secretFile": c.files["notify.secretFile"], "on": []string{"job.succeeded", "job.failed", "job.lost", "job.canceled"},
		},
		"store": map[string]any{
			"secrets": map[string]any{"secret_access_key": c.files["store.secrets"]},
			"crypt":   map[string]any{"passwordFile": c.files["store.crypt.passwordFile"], "saltFile": c.files["store.crypt.saltFile"]},
		},
		"encryption": map[string]any{"recipients": []string{identity.Recipient().String()}, "identityFile": c.files["encryption.identityFile"]},
		"timeouts":   map[string]any{"answer": "2s", "clean": "5s"},
	})
	c.startDaemon()
	return c
}

// runWith runs the program with further variables.
func runWith(t *testing.T, variables []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), daemonProgram(t), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(plainEnvironment(), variables...), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// put writes a secret into its file.
func (c *caged) put(key, value string) {
	c.canaries.t.Helper()
	if err := os.WriteFile(c.files[key], []byte(value+"\n"), 0o600); err != nil {
		c.canaries.t.Fatal(err)
	}
}

// say runs a verb for people and for programs, and looks at what it tells.
func (c *caged) say(verb string, args ...string) result {
	c.world.t.Helper()
	var last result
	for _, form := range []string{"text", "json"} {
		last = c.run(verb, append(args, "--output", form)...)
		c.lookHidden(fmt.Sprintf("%s %v", verb, args), []byte(last.stdout+last.stderr))
	}
	return last
}

// ask gets a path of one of the listeners.
func (c *caged) ask(client *http.Client, address string, header http.Header) {
	t := c.world.t
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	head := new(bytes.Buffer)
	if err := response.Header.Write(head); err != nil {
		t.Error(err)
	}
	c.lookHidden(address, append(head.Bytes(), text...))
}

// lookAround looks at everything that the daemon shows while it runs.
func (c *caged) lookAround() {
	t := c.world.t
	t.Helper()
	socket := &http.Client{Transport: unixTransport(c.socket)}
	for _, path := range []string{
		"/v1/jobs", "/v1/backups", "/v1/logs", "/v1/bandwidth", "/v1/recovery?database=HXE", "/v1/backups/latest?database=HXE", "/v1/backups/1?database=HXE",
		"/debug/config", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/heap",
	} {
		c.ask(socket, "http://pipestreamer"+path, nil)
	}
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/metrics", "/startupz", "/readyz"} {
		c.ask(plain, "http://"+c.metrics+path, nil)
	}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.daemon.cmd.Process.Pid, file))
		if err != nil {
			t.Fatal(err)
		}
		c.look("/proc/"+file, text)
	}
	c.lookBelow(filepath.Dir(c.config), filepath.Join(filepath.Dir(c.config), "password")) // which configure writes
	c.lookBelow(c.backups)
	c.lookBelow(c.depot.base)
}

// TestCanaries: no secret is seen in what the daemon logs, answers, keeps and
// writes, nor in what the command line says, whether it works or fails.
func TestCanaries(t *testing.T) {
	t.Parallel()
	c := newCaged(t)
	ok := c.backUp("HXE")
	c.awaitShipped()
	c.say("verify", "--database", "HXE", "--backup", "latest")
	c.say("show", ok.ID)
	c.say("list")
	c.say("list", "--jobs")
	c.say("doctor", "--config", c.config, "--database", "HXE")
	c.say("restore", "--database", "HXE", "--backup", "latest", "--to-path", filepath.Join(directory(t), "out"), "--config", c.config)
	c.lookAround()

	address := "https://" + c.listen
	for _, known := range []string{"http.tokenFile", "http.tokens"} {
		if got := c.say("list", "--url", address, "--ca-file", c.authority.File, "--token-file", c.files[known]); got.status != 0 {
			t.Errorf("with the token of %s: status %d", known, got.status)
		}
	}
	c.put("http.tokenFile", wrongSecret)
	right := filepath.Join(directory(t), "token")
	if err := os.WriteFile(right, []byte(c.token), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.say("list", "--url", address, "--ca-file", c.authority.File, "--token-file", right); got.status != 1 {
		t.Errorf("with a token that has been changed: status %d", got.status)
	}
	c.put("http.tokenFile", c.token)
	for _, audience := range []string{"pipestreamer", "vault"} { // without a role, and refused
		if err := os.WriteFile(right, []byte(accesstest.ServiceAccountToken("hana", "nobody", audience, time.Hour)), 0o600); err != nil {
			t.Fatal(err)
		}
		c.say("list", "--url", address, "--ca-file", c.authority.File, "--token-file", right)
	}
	c.say("list", "--url", "http://u:"+wrongSecret+"@127.0.0.1:1")
	c.say("list", "--url", "ftp://u:"+wrongSecret+"@127.0.0.1:1")

	for _, fault := range []struct {
		name, key, wrong string
	}{
		{"HANA refuses the password", "hana.passwordFile", wrongSecret},
		{"the store refuses the key", "store.secrets", wrongSecret},
		{"another password of crypt", "store.crypt.passwordFile", wrongSecret},
		{"an identity that is none", "encryption.identityFile", wrongSecret},
		{"no password", "hana.passwordFile", ""},
		{"a key of TLS that is none", "http.tls.keyFile", wrongSecret},
		{"Kubernetes refuses our own token", "http.tokenReview.tokenFile", wrongSecret},
		{"a webhook that is none", "notify.urlFile", wrongSecret},
		{"a signature that is none", "notify.secretFile", wrongSecret},
	} {
		kept, err := os.ReadFile(c.files[fault.key])
		if err != nil {
			t.Fatal(err)
		}
		c.put(fault.key, fault.wrong)
		c.restart()
		for _, verb := range [][]string{
			{"backup", "--database", "HXE"},
			{"verify", "--database", "HXE", "--backup", "latest"},
			{"restore", "--database", "HXE", "--backup", "latest"},
			{"doctor", "--config", c.config},
			{"list"},
			{"serve", "--config", c.config}, // a second daemon
		} {
			c.say(verb[0], verb[1:]...)
		}
		if c.daemon.hasEnded() {
			t.Errorf("%s: the daemon does not start, and HANA waits for it", fault.name)
		} else {
			c.lookAround()
		}
		c.put(fault.key, strings.TrimSpace(string(kept)))
	}
	c.stopDaemon()
	c.startDaemon() // every secret is right again
	c.backUp("HXE")
	c.refusedSettings()
	c.stopDaemon()
	log := c.said.Bytes()
	c.lookHidden("the daemon's log", log)
	if !bytes.Contains(log, []byte(`"level":"debug"`)) || !bytes.Contains(log, []byte("SignatureDoesNotMatch")) || !bytes.Contains(log, []byte("the webhook")) {
		t.Error("the log has nothing of what it should have")
	}
	t.Logf("%d places, %d bytes, %d forms of secrets", c.places, c.bytes, len(c.forms))
}

// restart starts a daemon anew that need not get ready.
func (c *caged) restart() {
	c.world.t.Helper()
	c.daemon.signal(syscall.SIGTERM)
	c.daemon.wait()
	earlier := len(listening.FindAllString(c.log.String(), -1))
	env := []string{"PIPESTREAMER_METRICS_LISTEN=127.0.0.1:0"}
	c.daemon = startProcess(c.world.t, "the daemon", &c.log, env, daemonProgram(c.world.t), "serve", "--config", c.config)
	eventually(c.world.t, "the daemon answers", func() bool {
		said := listening.FindAllStringSubmatch(c.log.String(), -1)
		if len(said) == earlier || c.daemon.hasEnded() {
			return c.daemon.hasEnded()
		}
		c.metrics = said[len(said)-1][1]
		return !strings.Contains(c.run("list", "--jobs").stderr, "reach the daemon")
	})
}

// refusedSettings starts daemons, and doctors, with secrets where none belong.
func (c *caged) refusedSettings() {
	t := c.world.t
	t.Helper()
	text, err := os.ReadFile(c.config)
	if err != nil {
		t.Fatal(err)
	}
	for name, variable := range map[string]string{
		"an option that is secret":      "PIPESTREAMER_STORE_OPTIONS_SECRET_ACCESS_KEY=" + wrongSecret,
		"an option that does not exist": "PIPESTREAMER_STORE_OPTIONS_NO_SUCH_OPTION=" + wrongSecret,
		"a user in a URL":               "PIPESTREAMER_STORE_OPTIONS_ENDPOINT=http://user:" + wrongSecret + "@127.0.0.1:1",
		"a URL that is none":            "PIPESTREAMER_STORE_OPTIONS_ENDPOINT=http://user:" + wrongSecret + "@127.0.0.1:x",
		"an identity as a recipient":    "PIPESTREAMER_ENCRYPTION_RECIPIENTS=" + wrongSecret,
		"an unknown variable":           "PIPESTREAMER_HANA_PASSWORD=" + wrongSecret,
		"a passphrase of a key":         "PIPESTREAMER_STORE_OPTIONS_KEY_FILE_PASS=" + wrongSecret,
	} {
		config := filepath.Join(directory(t), "c.yaml")
		if err := os.WriteFile(config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"doctor", "restore", "serve"} {
			args := []string{verb, "--config", config}
			if verb == "restore" {
				args = append(args, "--database", "HXE", "--backup", "latest", "--to-path", directory(t))
			}
			stdout, stderr, status := runWith(t, []string{variable}, args...)
			c.lookHidden(name+": "+verb, []byte(stdout+stderr))
			if status == 0 {
				t.Errorf("%s: %s ended with 0\n%s%s", name, verb, stdout, stderr)
			}
		}
	}
}
