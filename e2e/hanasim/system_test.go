package hanasim

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/files"
)

func TestBackupAndRecoverTenant(t *testing.T) {
	for _, profile := range []Profile{Plain, Dotname, Replace, DirectFallback} {
		t.Run(string(profile), func(t *testing.T) {
			system := startSystem(t, func(c *Config) { c.Profile = profile; c.HeaderPass = profile == Plain })
			db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
			path := prefix(t)
			before := system.Content("HXE")
			exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"') COMMENT 'job-1'")

			if diff := cmp.Diff([]string{"complete data backup|successful|<ok>|job-1|true"}, table(t, db,
				`SELECT ENTRY_TYPE_NAME, STATE_NAME, MESSAGE, "COMMENT", CASE WHEN UTC_END_TIME >= UTC_START_TIME THEN 'true' ELSE 'false' END
				 FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE DATABASE_NAME = ?`, "HXE")); diff != "" {
				t.Error(diff)
			}
			logDir := system.config.LogDir
			id := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG")[0]
			want := []string{
				"0|topology|indexserver|155648|" + path + "_databackup_0_1",
				"0|catalog|indexserver|12288|" + logDir + "/DB_HXE/log_backup_0_0_0_0." + id,
				"2|volume|indexserver|3149824|" + path + "_databackup_2_1",
				"3|volume|xsengine|4097|" + path + "_databackup_3_1",
			}
			got := table(t, db, "SELECT SOURCE_ID, SOURCE_TYPE_NAME, SERVICE_TYPE_NAME, BACKUP_SIZE, DESTINATION_PATH FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES ORDER BY 1, 2 DESC")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for _, line := range want {
				fields := strings.Split(line, "|")
				if info, err := os.Stat(fields[4]); err != nil || info.Mode().Perm() != 0o640 {
					t.Errorf("%s: %v, %v", fields[4], info, err)
				}
			}

			exec(t, db, "SIM DESTROY 'HXE'")
			if cmp.Equal(before, system.Content("HXE")) {
				t.Fatal("nothing was destroyed")
			}
			exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
			exec(t, db, "RECOVER DATA FOR HXE USING FILE ('"+path+"') CLEAR LOG")
			if diff := cmp.Diff(before, system.Content("HXE")); diff != "" {
				t.Errorf("recovered content (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"SYSTEMDB|YES", "HXE|YES"}, table(t, db, "SELECT DATABASE_NAME, ACTIVE_STATUS FROM M_DATABASES")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDigests(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "HXE")
	exec(t, db, "BACKUP DATA USING FILE ('FULL')")
	path := filepath.Join(system.config.BackupDir, "DB_HXE", "FULL_databackup_2_1")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{sum(data)}, table(t, db, "SELECT SHA256 FROM SIM.FILES WHERE PATH = ?", path)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{sum(data[files.HeaderSize:])}, table(t, db, "SELECT SHA256 FROM SIM.CONTENT WHERE VOLUME_ID = 2")); diff != "" {
		t.Error(diff)
	}
}

func TestStoppedTenantRefusesConnections(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	tenant := connect(t, system, "SYSTEM", password, "HXE")
	if diff := cmp.Diff([]string{"HXE|HXE|SYSTEM"}, table(t, tenant, "SELECT SYSTEM_ID, DATABASE_NAME, CURRENT_USER FROM M_DATABASE, DUMMY")); diff != "" {
		t.Error(diff)
	}
	addr := system.Addr("HXE")
	exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
	if err := tenant.PingContext(t.Context()); err == nil {
		t.Error("the stopped tenant answers")
	}
	var refused *net.OpError
	if conn, err := net.Dial("tcp", addr); !errors.As(err, &refused) {
		t.Errorf("got %v, %v", conn, err)
	}
	if err := execOnce(t.Context(), db, "BACKUP DATA FOR HXE USING FILE ('F')"); err == nil {
		t.Error("a stopped tenant was backed up")
	} else {
		wantError(t, err, 447, "Database cannot be backed up while it is stopped")
	}
	exec(t, db, "ALTER SYSTEM START DATABASE HXE")
	if system.Addr("HXE") != addr {
		t.Error("the tenant has another port")
	}
	if err := tenant.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRecoverSystemDB(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	path := prefix(t)
	before := system.Content("SYSTEMDB")
	exec(t, db, "BACKUP DATA USING FILE ('"+path+"')")
	exec(t, db, "SIM DESTROY 'SYSTEMDB'")
	wantError(t, execOnce(t.Context(), db, "RECOVER DATA USING FILE ('"+path+"') CLEAR LOG"), 7, "SYSTEMDB cannot be")
	wantError(t, execOnce(t.Context(), db, "SIM RECOVER SYSTEMDB '"+path+"'"), 7, "which it would stop")

	order := func(password, statement string) error {
		return Send(t.Context(), system.Control(), Order{User: "SYSTEM", Password: password, Statement: statement})
	}
	for _, test := range []struct{ password, statement, want string }{
		{"wrong", "SIM RECOVER SYSTEMDB '" + path + "'", "authentication failed"},
		{password, "BACKUP DATA USING FILE ('x')", "expected a SIM statement"},
		{password, "SIM RECOVER SYSTEMDB '" + path + "NOT'", "rc=2: No such file or directory"},
	} {
		if err := order(test.password, test.statement); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.statement, err, test.want)
		}
	}
	if _, err := net.Dial("tcp", system.Addr("SYSTEMDB")); err == nil {
		t.Error("SYSTEMDB is up after a failed recovery")
	}
	if err := order(password, "SIM RECOVER SYSTEMDB '"+path+"'"); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "ALTER SYSTEM START DATABASE HXE")
	if diff := cmp.Diff(before, system.Content("SYSTEMDB")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"SYSTEMDB|YES", "HXE|YES"}, table(t, db, "SELECT DATABASE_NAME, ACTIVE_STATUS FROM M_DATABASES")); diff != "" {
		t.Error(diff)
	}
}

// Every view of the facts has its columns, in SYS and in SYS_DATABASES.
func TestViews(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM SET 'replication' 'primary'")
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('F')")
	tests := []struct {
		query string
		want  []string
	}{
		{"SELECT VOLUME_ID, PORT, SERVICE_NAME, SUBPATH FROM SYS_DATABASES.M_VOLUMES WHERE DATABASE_NAME = 'HXE'", []string{"2|39040|indexserver|mnt00001/hdb00002", "3|39043|xsengine|mnt00001/hdb00003"}},
		{"SELECT DATABASE_NAME, PORT, SERVICE_NAME, COORDINATOR_TYPE FROM SYS_DATABASES.M_SERVICES WHERE SQL_PORT > 0", []string{"SYSTEMDB|39001|nameserver|MASTER", "HXE|39040|indexserver|MASTER"}},
		{"SELECT SERVICE_NAME, ENTRY_TYPE_NAME, ESTIMATED_SIZE FROM SYS.M_BACKUP_SIZE_ESTIMATIONS", []string{"nameserver|complete data backup|100000"}},
		{"SELECT SERVICE_NAME, STATE_NAME, BACKUP_SIZE, TRANSFERRED_SIZE FROM SYS_DATABASES.M_BACKUP_PROGRESS", []string{"indexserver|successful|3305472|3305472", "xsengine|successful|4097|4097"}},
		{"SELECT VERSION FROM SYS.M_DATABASE", []string{"2.00.088.00.1762790000"}},
		{"SELECT VALUE FROM M_SYSTEM_OVERVIEW WHERE NAME='Instance ID'", []string{"HXE"}},
		{"SELECT REPLICATION_MODE, REPLICATION_STATUS FROM M_SERVICE_REPLICATION", []string{"SYNC|ACTIVE"}},
		{"SELECT TIER, OPERATION_MODE FROM M_SYSTEM_REPLICATION", []string{"1|logreplay"}},
		{"SELECT VALUE FROM M_INIFILE_CONTENTS WHERE KEY = 'actual_mode' AND LAYER_NAME='SYSTEM'", []string{"primary"}},
		{"SELECT COUNT(*) FROM M_BACKUP_HISTORY_BROKEN", []string{"0"}},
		{"SELECT STATE FROM M_LOG_SEGMENTS", []string{"Writing"}},
		{"SELECT HOST_STATUS FROM M_LANDSCAPE_HOST_CONFIGURATION", []string{"OK"}},
		{"SELECT VALUE FROM M_HOST_INFORMATION WHERE KEY='sid'", []string{"HXE"}},
		{"SELECT CONNECTION_STATUS FROM M_CONNECTIONS WHERE CONNECTION_ID = CURRENT_CONNECTION", []string{"RUNNING"}},
		{"SELECT DISTINCT PRIVILEGE FROM SYS.EFFECTIVE_PRIVILEGES WHERE USER_NAME=CURRENT_USER AND OBJECT_TYPE='SYSTEMPRIVILEGE' AND IS_VALID='TRUE' AND PRIVILEGE LIKE 'BACKUP%'", []string{"BACKUP ADMIN", "BACKUP OPERATOR"}},
		{"SELECT DATABASE_NAME, VOLUME_ID, SIZE FROM SIM.CONTENT WHERE SIZE < 10", []string{"HXE|3|1"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, table(t, db, test.query)); diff != "" {
			t.Errorf("%s\n%s", test.query, diff)
		}
	}
}

func TestParametersAreStored(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'SYSTEM') SET ('backup', 'log_backup_using_backint') = 'true' WITH RECONFIGURE")
	exec(t, db, "ALTER SYSTEM ALTER CONFIGURATION ('global.ini', 'DATABASE', 'HXE') SET ('backup', 'x') = 'y' WITH RECONFIGURE")
	const query = "SELECT LAYER_NAME, TENANT_NAME, KEY, VALUE FROM M_INIFILE_CONTENTS WHERE SECTION = 'backup' AND VALUE IN ('true', 'y')"
	if diff := cmp.Diff([]string{"DATABASE|HXE|x|y", "SYSTEM||log_backup_using_backint|true"}, table(t, db, query)); diff != "" {
		t.Error(diff)
	}
}

func TestPartsOfAVolume(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "SIM SET 'chunk-size' '1MiB'")
	exec(t, db, "SIM SET 'compressible' 'true'")
	exec(t, db, "SIM RESIZE 'HXE' 2 5000000")
	before, path := system.Content("HXE"), prefix(t)
	exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')")
	sizes := table(t, db, "SELECT BACKUP_SIZE FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES WHERE SOURCE_ID = 2 ORDER BY DESTINATION_PATH")
	if diff := cmp.Diff([]string{"1048576", "1048576", "1048576", "1048576", "826176"}, sizes); diff != "" {
		t.Error(diff)
	}
	exec(t, db, "SIM DESTROY 'HXE'")
	exec(t, db, "ALTER SYSTEM STOP DATABASE HXE")
	exec(t, db, "RECOVER DATA FOR HXE USING FILE ('"+path+"') CLEAR LOG")
	if diff := cmp.Diff(before, system.Content("HXE")); diff != "" {
		t.Error(diff)
	}
}

func TestCatalogDelete(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	paths := []string{prefix(t), prefix(t), prefix(t)}
	for _, path := range paths {
		exec(t, db, "BACKUP DATA FOR HXE USING FILE ('"+path+"')")
	}
	ids := table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG ORDER BY 1")
	exec(t, db, "BACKUP CATALOG DELETE FOR HXE BACKUP_ID "+ids[2]+" COMPLETE")
	exec(t, db, "BACKUP CATALOG DELETE FOR HXE ALL BEFORE BACKUP_ID "+ids[1])
	wantError(t, execOnce(t.Context(), db, "BACKUP CATALOG DELETE FOR HXE BACKUP_ID 1"), 2, "not in the backup catalog")
	if diff := cmp.Diff(ids[1:2], table(t, db, "SELECT BACKUP_ID FROM SYS_DATABASES.M_BACKUP_CATALOG")); diff != "" {
		t.Error(diff)
	}
	for i, there := range []bool{true, true, false} {
		if _, err := os.Stat(paths[i] + "_databackup_2_1"); (err == nil) != there {
			t.Errorf("files of backup %d: %v", i, err)
		}
	}
}

func TestBackupIDIsTheTimeInMilliseconds(t *testing.T) {
	system := startSystem(t, nil)
	db := connect(t, system, "SYSTEM", password, "SYSTEMDB")
	exec(t, db, "BACKUP DATA USING FILE ('A')")
	id := table(t, db, "SELECT BACKUP_ID FROM M_BACKUP_CATALOG")[0]
	if !regexp.MustCompile(`^[12]\d{12}$`).MatchString(id) {
		t.Errorf("backup id %s", id)
	}
}
