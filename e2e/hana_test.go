package e2e

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/SAP/go-hdb/driver"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	hanaUser     = "SYSTEM"
	hanaPassword = "Test-Password-1"
)

// hana is a simulated HANA and a connection to its SYSTEMDB.
type hana struct {
	*hanasim.System

	t      *testing.T
	system *sql.DB
	// logs is where log and catalog backups are written.
	logs string
	// log is what it says, every statement among it.
	log *tail
}

// volumes makes volumes with ids from 2 on, as HANA numbers those of a tenant.
// The sizes are of the content; a backup file is 4096 bytes larger.
func volumes(sizes ...int64) []hanasim.Volume {
	var list []hanasim.Volume
	for i, size := range sizes {
		service := "indexserver"
		if i == 1 {
			service = "xsengine"
		}
		list = append(list, hanasim.Volume{ID: i + 2, Service: service, Size: size})
	}
	return list
}

// systemDB is a SYSTEMDB of a size that does not delay tests.
func systemDB() hanasim.Database {
	return hanasim.Database{Name: backup.SystemDB, Volumes: []hanasim.Volume{{ID: 1, Service: "nameserver", Size: 3 << 20}}}
}

func startHANA(t *testing.T, config hanasim.Config) *hana {
	t.Helper()
	config.Password = hanaPassword
	config.LogDir = directory(t)
	log := new(tail)
	log.showOnFailure(t, "the HANA simulator")
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	system, err := hanasim.Start(config, zap.New(zapcore.NewCore(encoder, log, zap.InfoLevel)))
	if err != nil {
		t.Fatalf("start the HANA simulator: %v", err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Errorf("close the HANA simulator: %v", err)
		}
	})
	db := sql.OpenDB(driver.NewBasicAuthConnector(system.Addr(backup.SystemDB), hanaUser, hanaPassword))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the connection to HANA: %v", err)
		}
	})
	return &hana{System: system, t: t, system: db, logs: config.LogDir, log: log}
}

// set changes a setting of the simulator.
func (h *hana) set(key, value string) {
	h.t.Helper()
	if err := h.Set(key, value); err != nil {
		h.t.Fatal(err)
	}
}

// query runs a SELECT on SYSTEMDB and calls row for each row.
func (h *hana) query(text string, row func(scan func(...any) error) error, arguments ...any) {
	h.t.Helper()
	rows, err := h.system.QueryContext(h.t.Context(), text, arguments...)
	if err != nil {
		h.t.Fatalf("%s: %v", text, err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			h.t.Error(err)
		}
	}()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			h.t.Fatalf("%s: %v", text, err)
		}
	}
	if err := rows.Err(); err != nil {
		h.t.Fatalf("%s: %v", text, err)
	}
}

// catalogRow is what M_BACKUP_CATALOG has of one backup.
type catalogRow struct {
	BackupID             int64
	State, Type, Comment string
	Files                []backup.CatalogFile
}

// catalog reads the catalog of a database, oldest first. It asks in its own
// words and not in those of the daemon.
func (h *hana) catalog(database string) []catalogRow {
	h.t.Helper()
	var list []catalogRow
	h.query(`SELECT BACKUP_ID, STATE_NAME, ENTRY_TYPE_NAME, "COMMENT" FROM SYS_DATABASES.M_BACKUP_CATALOG WHERE DATABASE_NAME = ? ORDER BY UTC_START_TIME, BACKUP_ID`,
		func(scan func(...any) error) error {
			var row catalogRow
			list = append(list, row)
			last := &list[len(list)-1]
			return scan(&last.BackupID, &last.State, &last.Type, &last.Comment)
		}, database)
	for i := range list {
		h.query(`SELECT SOURCE_ID, SOURCE_TYPE_NAME, SERVICE_TYPE_NAME, HOST, BACKUP_SIZE, DESTINATION_TYPE_NAME, DESTINATION_PATH`+
			` FROM SYS_DATABASES.M_BACKUP_CATALOG_FILES WHERE DATABASE_NAME = ? AND BACKUP_ID = ?`,
			func(scan func(...any) error) error {
				var f backup.CatalogFile
				if err := scan(&f.VolumeID, &f.SourceType, &f.Service, &f.Host, &f.Size, &f.DestinationType, &f.Path); err != nil {
					return err
				}
				list[i].Files = append(list[i].Files, f)
				return nil
			}, database, list[i].BackupID)
	}
	return list
}

// written is what the simulator says that it wrote, by path: size and SHA-256.
func (h *hana) written(backupID int64) map[string]content {
	h.t.Helper()
	files := make(map[string]content)
	h.query(`SELECT PATH, SIZE, SHA256 FROM SIM.FILES WHERE BACKUP_ID = ? AND PATH NOT LIKE '%/log_backup_%'`,
		func(scan func(...any) error) error {
			var path string
			var c content
			if err := scan(&path, &c.Size, &c.SHA256); err != nil {
				return err
			}
			files[path] = c
			return nil
		}, backupID)
	return files
}

// statement runs what returns no rows.
func (h *hana) statement(format string, args ...any) {
	h.t.Helper()
	text := fmt.Sprintf(format, args...)
	if _, err := h.system.ExecContext(h.t.Context(), text); err != nil {
		h.t.Fatalf("%s: %v", text, err)
	}
}

// logSums gives what HANA has written of the log, by file name, without the
// backups of the catalog.
func (h *hana) logSums(database string) map[string]string {
	h.t.Helper()
	sums := make(map[string]string)
	h.query(`SELECT PATH, SHA256 FROM SIM.FILES WHERE DATABASE_NAME = ? AND VOLUME_ID > 0 AND PATH LIKE '%/log_backup_%'`,
		func(scan func(...any) error) error {
			var path, sum string
			if err := scan(&path, &sum); err != nil {
				return err
			}
			sums[filepath.Base(path)] = sum
			return nil
		}, database)
	return sums
}
