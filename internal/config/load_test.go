package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

const canary = "s3cr3t-canary-value"

// minimal is the smallest configuration; %s is a file with a secret.
const minimal = `
hana: {sid: HXE, port: 39013, user: PIPES, passwordFile: %[1]s}
backupDirectory: /backup
store: {type: s3, root: bucket/hana}
`

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load returns what Load refuses, or what is wrong with the files.
func load(t *testing.T, text string, environ ...string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, environ, config.Daemon)
	if err == nil {
		if problems := c.FileProblems(); len(problems) > 0 {
			err = &config.Error{Problems: problems}
		}
	}
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), path, "c.yaml"))
	}
	return c, err
}

func TestDefaults(t *testing.T) {
	file := secretFile(t, canary+"\n")
	got, err := load(t, fmt.Sprintf(minimal, file))
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		HANA:            config.HANA{SID: "HXE", Host: "localhost", Port: 39013, User: "PIPES", PasswordFile: file},
		BackupDirectory: "/backup",
		Door:            "auto",
		Spool:           config.Spool{Owner: -1},
		Logs:            config.Logs{Verify: "read"},
		StateDirectory:  "/var/lib/pipestreamer",
		HTTP: config.HTTP{
			Socket: "/var/lib/pipestreamer/pipestreamer.sock", Operators: []string{"token"}, RateLimit: 20,
			TokenReview: config.TokenReview{CAFile: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token"},
		},
		Metrics:       config.Metrics{Listen: "127.0.0.1:9095"},
		Store:         config.Store{Type: "s3", Root: "bucket/hana", Streams: 32, Concurrency: 16, MaxParts: 10000, Checksum: "sha256", OutageTolerance: 15 * time.Minute, StallTimeout: 5 * time.Minute, LeftoverAge: 72 * time.Hour, SecretValues: map[string]config.Secret{}},
		Compression:   "off",
		MemoryBudget:  512 << 20,
		Timeouts:      config.Timeouts{Open: 10 * time.Minute, Stall: 2 * time.Minute, Idle: time.Hour, Answer: 5 * time.Minute, End: 30 * time.Second, Commit: 10 * time.Minute, Clean: time.Minute},
		OnLost:        "keep",
		ShutdownGrace: 20 * time.Second,
		Log:           config.Log{Level: "info", Format: "json"},
		Notify:        config.Notify{On: []string{"job.failed", "job.lost", "job.recovered", "logs.trouble", "logs.recovered"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config.Secret{}), cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestEnvironmentWins(t *testing.T) {
	file := secretFile(t, canary)
	c, err := load(t, fmt.Sprintf(minimal, file)+"log: {level: warn}\n",
		"PIPESTREAMER_HANA_PORT=30013", "PIPESTREAMER_LOG_LEVEL=debug", "PIPESTREAMER_STORE_PART_SIZE=8MiB",
		"PIPESTREAMER_HANA_TLS_ENABLED=true", "PIPESTREAMER_STORE_OPTIONS_ENDPOINT=http://s3", "PIPESTREAMER_STORE_SECRETS_SECRET_ACCESS_KEY="+file,
		"PIPESTREAMER_CONFIG=/elsewhere", "HOME=/root",
		"PIPESTREAMER_SERVICE_HOST=10.0.0.1", "PIPESTREAMER_SERVICE_PORT=9095", "PIPESTREAMER_PORT=tcp://10.0.0.1:9095",
		"PIPESTREAMER_SERVICE_PORT_METRICS=9095", "PIPESTREAMER_PORT_9095_TCP_ADDR=10.0.0.1", "PIPESTREAMER_API_PORT_9095_TCP=tcp://10.0.0.1:9095")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.HANA.Port, c.Log.Level, c.Store.PartSize, c.HANA.TLS.Enabled, c.Store.Options["endpoint"], c.Store.SecretValues["secret_access_key"].Reveal()}
	want := []any{30013, "debug", config.Size(8 << 20), true, "http://s3", canary}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestLists(t *testing.T) {
	file := secretFile(t, canary)
	want := []string{"age1x", "age1y"}
	for name, text := range map[string]string{
		"a list": "encryption: {recipients: [age1x, age1y]}\n", "a text": "encryption: {recipients: 'age1x, age1y'}\n",
	} {
		c, err := load(t, fmt.Sprintf(minimal, file)+text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Encryption.Recipients); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	c, err := load(t, fmt.Sprintf(minimal, file)+"encryption: {recipients: [age1z]}\n", "PIPESTREAMER_ENCRYPTION_RECIPIENTS=age1x,age1y")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.Encryption.Recipients); diff != "" {
		t.Errorf("a variable (-want +got):\n%s", diff)
	}
}

// TestRefused shows each reason to refuse with its message, which is an
// interface to people.
func TestRefused(t *testing.T) {
	tests := []struct {
		name, yaml string
		env        []string
		want       string
	}{
		{name: "unknown key", yaml: "hanna: {}", want: "hanna (c.yaml line 5): unknown key; known here: hana, backupDirectory, door, spool, logs, stateDirectory, http, metrics, store, compression, encryption, memoryBudget, timeouts, onLost, shutdownGrace, log, notify, tracing"},
		{name: "unknown nested key", yaml: "log: {lvl: info}", want: "log.lvl (c.yaml line 5): unknown key; known here: level, format"},
		{name: "key in another case", yaml: "MemoryBudget: 1GiB", want: "MemoryBudget (c.yaml line 5): unknown key"},
		{name: "duplicate key", yaml: "memoryBudget: 1GiB\nmemoryBudget: 2GiB", want: "memoryBudget (c.yaml line 6): this key already stands in line 5"},
		{name: "not YAML, and no complaint of what is missing", yaml: "log: [", want: "configuration: 1 problem(s)\n  (c.yaml): yaml: "},
		{name: "second document", yaml: "---\nlog: {level: info}", want: "c.yaml): expected one YAML document"},
		{name: "section without keys", yaml: "log: info", want: "log (c.yaml line 5): expected keys with values"},
		{name: "list for a value", yaml: "memoryBudget: [1GiB]", want: "memoryBudget (c.yaml line 5): expected a single value"},
		{name: "a value in a list that is none", yaml: "encryption: {recipients: [age1x, {a: b}]}", want: "encryption.recipients (c.yaml line 5): expected a list of texts"},
		{name: "a recipient with a space", yaml: "encryption: {recipients: [age1x age1y]}", want: "encryption.recipients (c.yaml line 5): expected a list of texts"},
		{name: "not a recipient, not shown", yaml: "encryption: {recipients: [age1x, AGE-SECRET-KEY-1X]}", want: "encryption.recipients (c.yaml line 5): recipient 2: expected one of age (age1…)"},
		{name: "unknown compression", yaml: "compression: lz4", want: `compression (c.yaml line 5): "lz4": expected off, fastest, default, better or best`},
		{name: "identity where HANA reads", yaml: "encryption: {identityFile: /backup/key}", want: "encryption.identityFile (c.yaml line 5): /backup/key: expected a place outside backupDirectory"},
		{name: "relative file of recipients", yaml: "encryption: {recipientsFile: recipients}", want: `encryption.recipientsFile (c.yaml line 5): "recipients": expected an absolute path`},
		{name: "no value", yaml: "memoryBudget:", want: "memoryBudget (c.yaml line 5): expected a single value"},
		{name: "alias", yaml: "shutdownGrace: &a 5s\ntimeouts: {open: *a}", want: "timeouts.open (c.yaml line 6): aliases are not accepted"},
		{name: "size", yaml: "memoryBudget: lots", want: `memoryBudget (c.yaml line 5): "lots": expected a size such as 512MiB`},
		{name: "duration", yaml: "shutdownGrace: 5", want: `shutdownGrace (c.yaml line 5): "5": expected a duration such as 90s or 5m`},
		{name: "negative duration", yaml: "shutdownGrace: -5s", want: "shutdownGrace (c.yaml line 5): -5s: expected more than 0"},
		{name: "unknown variable", env: []string{"PIPESTREAMER_HANA_PROT=1"}, want: "(environment variable PIPESTREAMER_HANA_PROT): unknown variable"},
		{name: "misspelt port variable", env: []string{"PIPESTREAMER_HANNA_PORT=39013"}, want: "PIPESTREAMER_HANNA_PORT): unknown variable"},
		{name: "number", env: []string{"PIPESTREAMER_HANA_PORT=0x10"}, want: `hana.port (environment variable PIPESTREAMER_HANA_PORT): "0x10": expected a whole number`},
		{name: "port range", env: []string{"PIPESTREAMER_HANA_PORT=70000"}, want: "70000: expected a port from 1 to 65535"},
		{name: "bool", env: []string{"PIPESTREAMER_HANA_TLS_ENABLED=yes"}, want: `"yes": expected true or false`},
		{name: "emptied by the environment", env: []string{"PIPESTREAMER_HANA_USER="}, want: "hana.user (environment variable PIPESTREAMER_HANA_USER): is required"},
		{name: "sid", env: []string{"PIPESTREAMER_HANA_SID=hxe"}, want: `hana.sid (environment variable PIPESTREAMER_HANA_SID): sid "hxe": expected three characters`},
		{name: "host with port", env: []string{"PIPESTREAMER_HANA_HOST=db:39013"}, want: `"db:39013": expected a host name or address without a port`},
		{name: "relative directory", env: []string{"PIPESTREAMER_BACKUP_DIRECTORY=backup"}, want: "expected an absolute path"},
		{name: "directory with a quote", env: []string{"PIPESTREAMER_BACKUP_DIRECTORY=/b'); DROP"}, want: "backupDirectory (environment variable PIPESTREAMER_BACKUP_DIRECTORY)"},
		{name: "state where HANA writes", yaml: "stateDirectory: /backup/state", want: "stateDirectory (c.yaml line 5): /backup/state: expected a place outside backupDirectory (/backup)"},
		{name: "socket where HANA writes", yaml: "http: {socket: /backup/s.sock}", want: "http.socket (c.yaml line 5): /backup/s.sock: expected a place outside"},
		{name: "socket too long", yaml: "http: {socket: /" + strings.Repeat("x", 107) + "}", want: "of at most 107 bytes"},
		{name: "a secret for nobody", yaml: "notify: {secretFile: /secret}", want: "notify.secretFile (c.yaml line 5): has no effect without notify.urlFile"},
		{name: "a template for nobody", yaml: "notify: {template: /t}", want: "notify.template (c.yaml line 5): has no effect without notify.urlFile"},
		{name: "a webhook in a file that is not there", yaml: "notify: {urlFile: /nowhere/url}", want: "notify.urlFile (c.yaml line 5): open /nowhere/url"},
		{name: "a collector without a protocol", yaml: "tracing: {endpoint: 'otel:4318'}", want: "tracing.endpoint (c.yaml line 5): expected a URL such as"},
		{name: "a collector with a password", yaml: "tracing: {endpoint: 'http://u:" + canary + "@otel:4318'}", want: "tracing.endpoint (c.yaml line 5): expected a URL such as"},
		{name: "two listeners on one address", yaml: "http: {tokenFile: /token, listen: '127.0.0.1:9095'}", want: "expected another address than metrics.listen"},
		{name: "address without port", yaml: "metrics: {listen: localhost}", want: `metrics.listen (c.yaml line 5): "localhost": expected host:port`},
		{name: "TLS setting without TLS", yaml: "x: 1", env: []string{"PIPESTREAMER_HANA_TLS_CA_FILE=/ca"}, want: "hana.tls.caFile (environment variable PIPESTREAMER_HANA_TLS_CA_FILE): has no effect while hana.tls.enabled is false"},
		{name: "token where HANA writes", yaml: "http: {listen: '127.0.0.1:1', tokenFile: /backup/token}", want: "http.tokenFile (c.yaml line 5): /backup/token: expected a place outside backupDirectory"},
		{name: "secret among the logs", env: []string{"PIPESTREAMER_LOGS_DIRECTORY=/logs", "PIPESTREAMER_STORE_SECRETS_SECRET_ACCESS_KEY=/logs/DB_X/key"}, want: "store.secrets.secret_access_key (environment variable PIPESTREAMER_STORE_SECRETS_SECRET_ACCESS_KEY): /logs/DB_X/key: expected a place outside logs.directory"},
		{name: "socket among the logs", env: []string{"PIPESTREAMER_LOGS_DIRECTORY=/logs", "PIPESTREAMER_HTTP_SOCKET=/logs/s"}, want: "http.socket (environment variable PIPESTREAMER_HTTP_SOCKET): /logs/s: expected a place outside logs.directory"},
		{name: "passphrase in the open", env: []string{"PIPESTREAMER_STORE_OPTIONS_KEY_FILE_PASS=" + canary}, want: "store.options.key_file_pass (environment variable PIPESTREAMER_STORE_OPTIONS_KEY_FILE_PASS): is a secret"},
		{name: "password in a URL", env: []string{"PIPESTREAMER_STORE_OPTIONS_ENDPOINT=http://u:" + canary + "@s3:9000/"}, want: "store.options.endpoint (environment variable PIPESTREAMER_STORE_OPTIONS_ENDPOINT): expected a URL without a user in it"},
		{name: "password in what is no URL", env: []string{"PIPESTREAMER_STORE_OPTIONS_ENDPOINT=http://u:" + canary + "@s3:x"}, want: "store.options.endpoint (environment variable PIPESTREAMER_STORE_OPTIONS_ENDPOINT): expected a URL without a user in it"},
		{name: "secret in the open", env: []string{"PIPESTREAMER_STORE_OPTIONS_SECRET_ACCESS_KEY=" + canary}, want: "store.options.secret_access_key (environment variable PIPESTREAMER_STORE_OPTIONS_SECRET_ACCESS_KEY): is a secret: put it into a file and name the file in store.secrets.secret_access_key"},
		{name: "option twice", env: []string{"PIPESTREAMER_STORE_OPTIONS_USER=a", "PIPESTREAMER_STORE_SECRETS_USER=/x"}, want: "store.secrets.user (environment variable PIPESTREAMER_STORE_SECRETS_USER): also stands in store.options"},
		{name: "secret file missing", env: []string{"PIPESTREAMER_STORE_SECRETS_PASS=/does/not/exist"}, want: "store.secrets.pass (environment variable PIPESTREAMER_STORE_SECRETS_PASS): open /does/not/exist: no such file or directory"},
		{name: "salt without password", env: []string{"PIPESTREAMER_STORE_CRYPT_SALT_FILE=/x"}, want: "has no effect without store.crypt.passwordFile"},
		{name: "part too small", env: []string{"PIPESTREAMER_STORE_PART_SIZE=1MiB"}, want: "1MiB: expected 5MiB to 5GiB"},
		{name: "budget below a part", yaml: "memoryBudget: 16MiB", want: "memoryBudget (c.yaml line 5): 16MiB: expected at least 2 parts of 5MiB for each of 32 streams"},
		{name: "leftovers of running backups", env: []string{"PIPESTREAMER_STORE_LEFTOVER_AGE=1m"}, want: "1m0s: expected at least 1h"},
		{name: "bandwidth", env: []string{"PIPESTREAMER_STORE_BANDWIDTH=10M"}, want: `store.bandwidth (environment variable PIPESTREAMER_STORE_BANDWIDTH): "10M": expected off, or a rate such as 50MiB/s of at least 64KiB/s`},
		{name: "bandwidth below the budget", env: []string{"PIPESTREAMER_STORE_BANDWIDTH=08:00,500KiB 20:00,off"}, want: `store.bandwidth (environment variable PIPESTREAMER_STORE_BANDWIDTH): 500KiB/s: expected at least 583KiB/s: what memoryBudget holds has to pass within store.outageTolerance`},
		{name: "timetable", env: []string{"PIPESTREAMER_STORE_BANDWIDTH=08:00,10MiB 25:00,off"}, want: `store.bandwidth (environment variable PIPESTREAMER_STORE_BANDWIDTH): "08:00,10MiB 25:00,off": entry "25:00,off": "25:00": expected a time from 00:00 to 23:59`},
		{name: "concurrency", env: []string{"PIPESTREAMER_STORE_CONCURRENCY=0"}, want: "0: expected 1 to 64"},
		{name: "door", yaml: "door: window", want: `door (c.yaml line 5): "window": expected auto, fifo or spool`},
		{name: "owner", yaml: "spool: {owner: -2}", want: "spool.owner (c.yaml line 5): -2: expected a user id, or -1"},
		{name: "holes without follow", yaml: "spool: {punch: true}", want: "spool.punch (c.yaml line 5): has no effect while spool.follow is false"},
		{name: "logs in a relative place", yaml: "logs: {directory: log}", want: "logs.directory (c.yaml line 5): directory \"log\": expected an absolute path"},
		{name: "state among the logs", yaml: "stateDirectory: /logs/state\nlogs: {directory: /logs}", want: "logs.directory (c.yaml line 6): /logs: expected a place without stateDirectory"},
		{name: "verify", yaml: "logs: {verify: no}", want: `logs.verify (c.yaml line 5): "no": expected read or stat`},
		{name: "log level", yaml: "log: {level: verbose}", want: `log.level (c.yaml line 5): "verbose": expected debug, info, warn or error`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, fmt.Sprintf(minimal, secretFile(t, canary))+test.yaml, test.env...)
			if err == nil {
				t.Fatal("Load accepted it")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error\n%v\ndoes not contain\n%s", err, test.want)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("error shows a secret: %v", err)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := config.Load("", []string{"PIPESTREAMER_LOG_LEVEL=loud", "PIPESTREAMER_HANA_PORT=x"}, config.Daemon)
	var refused *config.Error
	if !errors.As(err, &refused) {
		t.Fatalf("Load: %v, expected *config.Error", err)
	}
	var keys []string
	for _, p := range refused.Problems {
		keys = append(keys, p.Key)
	}
	want := []string{"backupDirectory", "hana.passwordFile", "hana.port", "hana.sid", "hana.user", "log.level", "store.root", "store.type"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestStoreAccessNeedsNoHANA(t *testing.T) {
	environ := []string{"PIPESTREAMER_HANA_SID=HXE", "PIPESTREAMER_STORE_TYPE=s3", "PIPESTREAMER_STORE_ROOT=bucket"}
	if _, err := config.Load("", environ, config.StoreAccess); err != nil {
		t.Errorf("Load: %v", err)
	}
	if _, err := config.Load("", environ[:2], config.StoreAccess); err == nil {
		t.Error("Load accepted a store without a root")
	}
}

func TestSecretFiles(t *testing.T) {
	tests := []struct{ name, text, want, wantError string }{
		{name: "plain", text: "abc", want: "abc"},
		{name: "one line end", text: "abc\n", want: "abc"},
		{name: "Windows line end", text: "abc\r\n", want: "abc"},
		{name: "only one is dropped", text: " abc \n\n", want: " abc \n"},
		{name: "empty", text: "\n", wantError: "expected a secret in this file, and it is empty"},
		{name: "huge", text: strings.Repeat("x", 64<<10+1), wantError: "expected at most 64KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := load(t, fmt.Sprintf(minimal, secretFile(t, canary)), "PIPESTREAMER_STORE_SECRETS_PASS="+secretFile(t, test.text))
			if test.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantError) {
					t.Fatalf("Load: %v, expected %q", err, test.wantError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Store.SecretValues["pass"].Reveal(); got != test.want {
				t.Errorf("password %q, expected %q", got, test.want)
			}
		})
	}
}

// TestFilesDoNotEndTheStart: a daemon starts without any of its files, because HANA
// waits for it; who reads the store alone has nothing else to wait for.
func TestFilesDoNotEndTheStart(t *testing.T) {
	environ := []string{
		"PIPESTREAMER_HANA_SID=HXE", "PIPESTREAMER_HANA_PORT=39013", "PIPESTREAMER_HANA_USER=PIPES", "PIPESTREAMER_HANA_PASSWORD_FILE=/none/1",
		"PIPESTREAMER_BACKUP_DIRECTORY=/backup", "PIPESTREAMER_STORE_TYPE=s3", "PIPESTREAMER_STORE_ROOT=bucket", "PIPESTREAMER_STORE_SECRETS_PASS=/none/2",
		"PIPESTREAMER_STORE_CRYPT_PASSWORD_FILE=" + secretFile(t, "\n"), "PIPESTREAMER_HTTP_LISTEN=:1", "PIPESTREAMER_HTTP_TOKEN_FILE=" + secretFile(t, canary[:15]),
		"PIPESTREAMER_NOTIFY_URL_FILE=/none/3", "PIPESTREAMER_NOTIFY_SECRET_FILE=/none/4",
	}
	c, err := config.Load("", environ, config.Daemon)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	var keys []string
	for _, p := range c.FileProblems() {
		keys = append(keys, p.Key)
		if !strings.HasPrefix(p.Where, "environment variable PIPESTREAMER_") || strings.Contains(p.Message, canary[:15]) {
			t.Errorf("problem: %s", p)
		}
	}
	want := []string{"store.crypt.passwordFile", "store.secrets.pass", "hana.passwordFile", "http.tokenFile", "notify.urlFile", "notify.secretFile"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, err := config.Load("", environ, config.StoreAccess); err == nil || !strings.Contains(err.Error(), "2 problem(s)") {
		t.Errorf("without a daemon: %v, expected 2 problems", err)
	}
}

func TestToken(t *testing.T) {
	for token, accepted := range map[string]bool{
		"0123456789abcdef": true, "0123456789abcde": false, "0123456789 abcdef": false, "0123456789abcdé123": false,
	} {
		_, err := load(t, fmt.Sprintf(minimal, secretFile(t, canary)), "PIPESTREAMER_HTTP_LISTEN=0.0.0.0:8080", "PIPESTREAMER_HTTP_TOKEN_FILE="+secretFile(t, token))
		if (err == nil) != accepted {
			t.Errorf("token %q: %v", token, err)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("error shows the token: %v", err)
		}
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	c := struct{ Nested config.Crypt }{config.Crypt{Password: config.NewSecret(canary)}}
	asJSON, errJSON := json.Marshal(c)
	asYAML, errYAML := yaml.Marshal(c)
	if err := errors.Join(errJSON, errYAML); err != nil {
		t.Fatal(err)
	}
	shown := []string{string(asJSON), string(asYAML)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, c), fmt.Sprintf(verb, c.Nested.Password), fmt.Sprintf(verb, &c.Nested.Password))
	}
	for _, text := range shown {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "1": 1, "17B": 17, "64KiB": 64 << 10, "512 MiB": 512 << 20, "5GB": 5e9, "8191PiB": -1, "2TiB": 2 << 40,
		"": -1, "MiB": -1, "-1": -1, "+1": -1, "1.5GiB": -1, "1gib": -1, "9007199254740992KiB": -1, "5iB": -1, "5MiBMiB": -1,
	} {
		got, err := config.ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("ParseSize(%q) = %d, %v; expected %d", text, got, err, want)
		}
		if err == nil {
			if again, err := config.ParseSize(got.String()); err != nil || again != got {
				t.Errorf("ParseSize(%q) = %d, %v; expected %d", got.String(), again, err, got)
			}
		}
	}
}

func TestReferenceIsInStep(t *testing.T) {
	const path = "../../docs/configuration.md"
	var want bytes.Buffer
	if err := config.WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is old; run go generate ./internal/config (-want +got):\n%s", diff)
	}
}

// FuzzLoad looks for a panic, for a refusal without a reason, and for a file
// that is accepted although a secret stands in it.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(minimal, "/dev/null")))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("{}\n---\n{}"))
	f.Add([]byte("log: {level: info, level: info}"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("store: {secrets: {pass: /dev/null}, options: {'': 1}}"))
	path := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, nil, config.StoreAccess)
		var refused *config.Error
		if err != nil && (!errors.As(err, &refused) || len(refused.Problems) == 0) {
			t.Fatalf("Load: %v: expected *config.Error with problems", err)
		}
		if err == nil && (c.HANA.SID == "" || c.Store.Root == "") {
			t.Fatal("Load accepted a configuration without what is required")
		}
	})
}
