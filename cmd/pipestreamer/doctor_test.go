package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	hdb "github.com/SAP/go-hdb/driver"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/doctor"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/uploader"
)

// patient is a machine whose HANA is the simulator, which has shown what
// happens here; a real HANA has not.
type patient struct {
	*machine

	system *hanasim.System
}

func newPatient(t *testing.T, missing ...string) patient {
	t.Helper()
	m := newMachine(t)
	system, err := hanasim.Start(hanasim.Config{
		Password: "secret", Users: []hanasim.User{{Name: "U", Password: passwordCanary, Missing: missing}}, LogDir: filepath.Join(m.dir, "logs"),
		Databases: []hanasim.Database{{Name: "SYSTEMDB", Volumes: []hanasim.Volume{{ID: 1, Size: 4096}}}, {Name: "HXE", Volumes: []hanasim.Volume{{ID: 3, Size: 4096}}}},
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	})
	p := patient{machine: m, system: system}
	p.configure(t, "")
	return p
}

// configure writes the configuration, with more lines.
func (p patient) configure(t *testing.T, more string) {
	t.Helper()
	_, port, err := net.SplitHostPort(p.system.Addr("SYSTEMDB"))
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "c.yaml", fmt.Sprintf(`
hana: {sid: HXE, host: 127.0.0.1, port: %[2]s, user: U, passwordFile: %[1]s/pw}
backupDirectory: %[1]s/backup
stateDirectory: %[1]s/state
store: {type: local, root: %[1]s/store}
`, p.dir, port)+more)
}

// sql changes something as an administrator does.
func (p patient) sql(t *testing.T, statement string) {
	t.Helper()
	connector := hdb.NewBasicAuthConnector(p.system.Addr("SYSTEMDB"), "SYSTEM", "secret")
	db := sql.OpenDB(connector)
	_, err := db.ExecContext(t.Context(), statement)
	if errClose := db.Close(); err != nil || errClose != nil {
		t.Fatal(err, errClose)
	}
}

// diagnose runs the doctor and gives its findings that are not ok, each as
// "<severity> <check>[ <database>]".
func (p patient) diagnose(t *testing.T, args ...string) (status int, d diagnosis, ill []string) {
	t.Helper()
	status, stdout, stderr := execute(t.Context(), append([]string{"doctor", "--config", p.config, "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatalf("exit status %d, %v: %s", status, err, stderr)
	}
	if strings.Contains(stdout+stderr, passwordCanary) {
		t.Error("it shows the password")
	}
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Severity != doctor.OK {
			ill = append(ill, strings.TrimSpace(string(f.Severity)+" "+f.Check+" "+f.Database))
		}
	}
	slices.Sort(ill)
	return status, d, ill
}

// machineOnly leaves out what this machine may have or not.
func machineOnly(name string) bool {
	return slices.ContainsFunc([]string{doctor.CheckMemory, doctor.CheckSpace, doctor.CheckFileSystem, doctor.CheckOwner, doctor.CheckPipeLimits, doctor.CheckMode}, func(check string) bool {
		return strings.HasSuffix(name, " "+check)
	})
}

// TestDoctor looks at one HANA after the other, each with a fault more.
func TestDoctor(t *testing.T) {
	p := newPatient(t)
	expect := func(what string, wantStatus int, args []string, want ...string) diagnosis {
		t.Helper()
		status, d, ill := p.diagnose(t, args...)
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.DeleteFunc(ill, machineOnly)); diff != "" {
			t.Errorf("%s: findings (-want +got):\n%s", what, diff)
		}
		if status != wantStatus {
			t.Errorf("%s: exit status %d, expected %d", what, status, wantStatus)
		}
		return d
	}
	both := []string{"--database", "systemdb", "--database", "HXE"}
	fresh := []string{"warning complete-backup SYSTEMDB", "warning log-backup-path SYSTEMDB", "warning catalog-backup-path SYSTEMDB", "warning state-directory", "warning door"}
	expect("a new system", 0, nil, fresh...)

	if err := os.Mkdir(p.dir+"/logs", 0o700); err != nil {
		t.Fatal(err)
	}
	p.configure(t, "logs: {directory: "+p.dir+"/logs}\nonLost: delete-catalog-entry\ndoor: fifo\n")
	p.write(t, "state/doors.json", `{"`+hanasim.Version+`": {"refused": true, "job_id": "j", "at": "2026-01-02T03:04:05Z"}}`)
	expect("logs are shipped, and pipes are known to be refused", 3, both, "warning log-directory", "warning complete-backup SYSTEMDB", "warning complete-backup HXE", "error door")

	if err := os.Mkdir(p.dir+"/logs/SYSTEMDB", 0o700); err != nil {
		t.Fatal(err)
	}
	p.sql(t, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'DATABASE', 'HXE') SET ('persistence', 'log_mode') = 'overwrite' WITH RECONFIGURE")
	p.sql(t, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'DATABASE', 'HXE') SET ('backup', 'data_backup_max_chunk_size') = '1048576' WITH RECONFIGURE")
	p.sql(t, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM') SET ('persistence', 'log_backup_timeout_s') = '0' WITH RECONFIGURE")
	p.sql(t, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM') SET ('persistence', 'basepath_logbackup') = '/elsewhere' WITH RECONFIGURE")
	ill := []string{
		"warning complete-backup SYSTEMDB", "warning complete-backup HXE", "error door", "error log-mode HXE", "warning history HXE", "error chunk-size HXE",
		"warning log-backup-timeout SYSTEMDB", "warning log-backup-timeout HXE", "error log-backup-path SYSTEMDB", "error log-backup-path HXE",
	}
	expect("misconfigured", 3, both, ill...)

	for _, privilege := range []string{"CATALOG READ", "DATABASE BACKUP OPERATOR", "DATABASE BACKUP ADMIN", "DATABASE ADMIN", "DATABASE START", "BACKUP ADMIN"} {
		if err := p.system.Set("revoke", "U:"+privilege); err != nil {
			t.Fatal(err)
		}
	}
	d := expect("without privileges", 3, []string{"--database", "HXE"}, "error privileges-backup", "warning privileges-restore", "warning privileges-catalog-delete",
		"error database-online HXE", "error door", "warning complete-backup HXE", "warning data-backup-running HXE", "warning history HXE", "warning log-backup HXE",
		"warning log-mode HXE", "warning system-replication HXE")
	for check, grant := range map[string]string{
		doctor.CheckBackupPrivileges: `GRANT CATALOG READ, DATABASE BACKUP OPERATOR TO "U";`, doctor.CheckRestorePrivileges: `GRANT DATABASE START TO "U";`,
	} {
		if !slices.ContainsFunc(d.Findings, func(f doctor.Finding) bool { return f.Check == check && strings.HasSuffix(f.Hint, grant) }) {
			t.Errorf("no hint %s of %s", grant, check)
		}
	}
	if diff := cmp.Diff([]string{"state/doors.json"}, p.files(t, "backup", "state", "store")); diff != "" {
		t.Errorf("files that are there (-want +got):\n%s", diff)
	}
}

// files lists what is in some directories of the machine, pipes included.
func (p patient) files(t *testing.T, dirs ...string) (found []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(p.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = append(found, strings.TrimPrefix(path, p.dir+"/"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// skewed is a store whose clock is ahead of ours, or that gives no times.
type skewed struct {
	backup.Store

	ahead   time.Duration
	noTimes bool
}

func (s skewed) Stat(ctx context.Context, key string) (backup.Object, error) {
	o, err := s.Store.Stat(ctx, key)
	if o.ModTime = o.ModTime.Add(s.ahead); s.noTimes {
		o.ModTime = time.Time{}
	}
	return o, err
}

func TestStoreClock(t *testing.T) {
	store, err := uploader.New(t.Context(), uploader.Config{Type: "local", Root: t.TempDir()}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, want := range []time.Duration{0, time.Hour, -time.Hour} {
		ahead, within, err := storeClock(t.Context(), skewed{Store: store, ahead: want}, "HXE/doctor/x")
		if off := (ahead - want).Abs(); err != nil || off > within+time.Second || within <= 0 {
			t.Errorf("%s ahead: %s within %s, %v", want, ahead, within, err)
		}
	}
	if _, _, err := storeClock(t.Context(), skewed{Store: store, noTimes: true}, "HXE/doctor/x"); err == nil {
		t.Error("a store without times has a clock")
	}
	if left, err := store.List(t.Context(), "HXE/"); err != nil || len(left) > 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

// The doctor needs nobody to be well.
func TestDoctorWithoutHANAAndStore(t *testing.T) {
	m := newMachine(t)
	m.write(t, "store-file", "")
	text, err := os.ReadFile(m.config)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "c.yaml", strings.ReplaceAll(string(text), "/store}", "/store-file/below}"))
	if err := os.Remove(filepath.Join(m.dir, "backup")); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := execute(t.Context(), "doctor", "--config", m.config)
	for _, want := range []string{"error    hana ", "Nothing listens at SYSTEMDB's SQL port", "error    store ", "error    directory ", "→ Mount the volume at the same path", "\n3 errors, "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if status != 3 || stderr != "pipestreamer: 3 errors found\n" {
		t.Errorf("exit status %d, %q", status, stderr)
	}
}

func TestDoctorOfABadConfiguration(t *testing.T) {
	m := newMachine(t)
	m.write(t, "c.yaml", "hana: {prot: 1}\n")
	status, stdout, stderr := execute(t.Context(), "doctor", "--config", m.config)
	if status != 3 || !strings.Contains(stdout, "error  configuration    hana.prot (") || !strings.Contains(stdout, "docs/configuration.md") {
		t.Errorf("exit status %d, %s\n%s", status, stderr, stdout)
	}
	if status, _, stderr := execute(t.Context(), "doctor", "--database", "a'b"); status != 2 || !strings.Contains(stderr, "--database") {
		t.Errorf("exit status %d, %s", status, stderr)
	}
}
