package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	sid      = "HXE"
	tenant   = "HXE"
	user     = "SYSTEM"
	password = "Demo-Password-1"
	bucket   = "hana-backups"
	access   = "demo"
	secret   = "demo-secret-access-key"
	token    = "demo-token-of-an-operator"
)

// The programs of a scene.
const (
	daemonProgram = "pipestreamer"
	storeProgram  = "versitygw"
)

// scene is a temporary directory with everything that the demo runs in it.
type scene struct {
	bin, dir string
	// page is the address of the job interface over TCP; empty for the socket
	// only, and then HANA makes no log backups, either.
	page      string
	system    *hanasim.System
	hana      *hana
	s3        string // endpoint
	metrics   string // address
	processes []*process
}

func (s *scene) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *scene) program(name string) string { return filepath.Join(s.bin, name) }

// build starts simulator, S3 server and daemon; page may be empty.
func build(ctx context.Context, bin, page string) (*scene, error) {
	dir, err := os.MkdirTemp("", "pipestreamer-demo-")
	if err != nil {
		return nil, err
	}
	s := &scene{bin: bin, dir: dir, page: page}
	for _, step := range []func(context.Context) error{s.startHANA, s.startS3, s.startDaemon} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.strike())
		}
	}
	return s, nil
}

// strike ends everything, last started first, and removes the directory.
func (s *scene) strike() error {
	var errs []error
	if s.hana != nil {
		errs = append(errs, s.hana.close())
	}
	for _, p := range slices.Backward(s.processes) {
		errs = append(errs, p.stop())
	}
	if s.system != nil {
		errs = append(errs, s.system.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

func (s *scene) start(ctx context.Context, program string, env []string, args ...string) (*process, error) {
	p, err := start(ctx, s.dir, s.program(program), env, args...)
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// startHANA starts a system that writes as a real HANA was seen to: under a
// hidden name, which is renamed at the end.
func (s *scene) startHANA(context.Context) error {
	logs := ""
	directories := []string{s.path("backup")}
	if s.page != "" {
		logs = s.path("log")
		directories = append(directories, logs)
	}
	for _, directory := range directories {
		// As doctor wants it, whatever the umask says.
		if err := errors.Join(os.Mkdir(directory, 0o770), os.Chmod(directory, 0o770|os.ModeSetgid)); err != nil {
			return err
		}
	}
	const mib = 1 << 20
	system, err := hanasim.Start(hanasim.Config{ //nolint:contextcheck // it lives until strike, whatever becomes of the context
		SID: sid, User: user, Password: password, Profile: hanasim.Dotname, LogDir: logs, Seed: 1,
		Databases: []hanasim.Database{
			{Name: backup.SystemDB, Volumes: []hanasim.Volume{{ID: 1, Service: "nameserver", Size: 16 * mib}}},
			{Name: tenant, Volumes: []hanasim.Volume{
				{ID: 2, Service: "indexserver", Size: 200*mib + 1},
				{ID: 3, Service: "xsengine", Size: 70 * mib},
				{ID: 4, Service: "scriptserver", Size: 30 * mib},
			}},
		},
	}, zap.NewNop())
	if err != nil {
		return err
	}
	s.system = system
	s.hana = connect(system.Addr(backup.SystemDB), user, password)
	if logs == "" {
		return nil
	}
	return system.Set("log-backups", "10s")
}

func (s *scene) startS3(ctx context.Context) error {
	// versitygw serves a directory: each directory in it is a bucket.
	if err := os.MkdirAll(s.path("s3", bucket), 0o750); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	s.s3 = "http://" + address
	return s.serveS3(ctx)
}

// serveS3 starts the S3 server, or starts it again.
func (s *scene) serveS3(ctx context.Context) error {
	address := strings.TrimPrefix(s.s3, "http://")
	env := []string{"ROOT_ACCESS_KEY=" + access, "ROOT_SECRET_KEY=" + secret}
	p, err := s.start(ctx, storeProgram, env, "--port", address, "--quiet", "posix", s.path("s3"))
	if err != nil {
		return err
	}
	return p.await(ctx, func() bool { return listens(ctx, "tcp", address) })
}

func (s *scene) startDaemon(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.system.Addr(backup.SystemDB))
	if err != nil {
		return err
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	config := daemonConfig
	if s.page != "" {
		config += tryConfig
	}
	config = strings.NewReplacer("@DIR", s.dir, "@PORT", port, "@S3", s.s3, "@METRICS", metrics, "@PAGE", s.page).Replace(config)
	if err := errors.Join(
		os.WriteFile(s.path("pipestreamer.yaml"), []byte(config), 0o600),
		os.WriteFile(s.path("hana-password"), []byte(password+"\n"), 0o600),
		os.WriteFile(s.path("s3-secret"), []byte(secret+"\n"), 0o600),
		os.WriteFile(s.path("token"), []byte(token+"\n"), 0o600),
		os.MkdirAll(s.path("state"), 0o700),
	); err != nil {
		return err
	}
	s.metrics = metrics
	return s.serve(ctx)
}

// serve starts the daemon, or starts it again.
func (s *scene) serve(ctx context.Context) error {
	p, err := s.start(ctx, daemonProgram, nil, "serve", "--config", s.path("pipestreamer.yaml"))
	if err != nil {
		return err
	}
	return p.await(ctx, func() bool { return isReady(ctx, s.metrics) })
}

// end stops a program that runs, in order that it can be started again.
func (s *scene) end(program string) error {
	for i, p := range s.processes {
		if p.name == program {
			s.processes = slices.Delete(s.processes, i, i+1)
			return p.stop()
		}
	}
	return nil // it ended by itself, and that was told
}

// ended are the programs that have ended by themselves. They are forgotten.
func (s *scene) ended() []*process {
	var all []*process
	s.processes = slices.DeleteFunc(s.processes, func(p *process) bool {
		select {
		case <-p.ended:
			all = append(all, p)
			return true
		default:
			return false
		}
	})
	return all
}

const daemonConfig = `
hana:
  sid: ` + sid + `
  host: 127.0.0.1
  port: @PORT
  user: ` + user + `
  passwordFile: @DIR/hana-password
backupDirectory: @DIR/backup
stateDirectory: @DIR/state
metrics:
  listen: @METRICS
store:
  type: s3
  root: ` + bucket + `/demo
  options:
    provider: Other
    endpoint: @S3
    access_key_id: ` + access + `
  secrets:
    secret_access_key: @DIR/s3-secret
`

// tryConfig is what somebody has beside it who tries things.
const tryConfig = `
logs:
  directory: @DIR/log
http:
  listen: @PAGE
  tokenFile: @DIR/token
`

// freeAddress finds a port of the loopback interface that is free now.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// isReady asks the daemon whether it takes jobs.
func isReady(ctx context.Context, metrics string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

func listens(ctx context.Context, network, address string) bool {
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

func mebibytes(n int64) string { return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB" }
