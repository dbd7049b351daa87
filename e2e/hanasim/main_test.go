package hanasim

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver"
	"go.uber.org/zap/zaptest"

	"github.com/pipestreamer/pipestreamer/e2e/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

const password = "Manager1'$"

// startSystem starts SYSTEMDB (volume 1) and HXE (volumes 2 and 3).
func startSystem(t *testing.T, change func(*Config)) *System {
	t.Helper()
	config := Config{
		Databases: []Database{
			{Name: "SYSTEMDB", Volumes: []Volume{{ID: 1, Size: 100_000}}},
			{Name: "HXE", Volumes: []Volume{{ID: 2, Size: 3 << 20}, {ID: 3, Service: "xsengine", Size: 1}}},
		},
		Password: password, BackupDir: t.TempDir(), LogDir: t.TempDir(), Seed: 1, Profile: Dotname,
		Users: []User{{Name: "BACKUP", Password: password, Missing: []string{"DATABASE ADMIN", "DATABASE STOP"}}},
	}
	if change != nil {
		change(&config)
	}
	system, err := Start(config, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	})
	return system
}

// connect opens a database through SYSTEMDB's port, as users do.
func connect(t *testing.T, system *System, user, password, database string) *sql.DB {
	t.Helper()
	dsn := url.URL{Scheme: "hdb", User: url.UserPassword(user, password), Host: system.Addr("SYSTEMDB"), RawQuery: "timeout=0"}
	if database != "" {
		dsn.RawQuery += "&databaseName=" + url.QueryEscape(database)
	}
	db, err := sql.Open("hdb", dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// execOnce runs a statement on a connection of its own: it is never sent twice.
func execOnce(ctx context.Context, db *sql.DB, statement string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, statement)
	return errors.Join(err, conn.Close())
}

// wantError checks code and text of an error of HANA.
func wantError(t *testing.T, err error, code int, text string) {
	t.Helper()
	hana, ok := errors.AsType[driver.Error](err)
	if !ok {
		t.Fatalf("got %v, want HANA error %d", err, code)
	}
	if hana.Code() != code || !strings.Contains(hana.Text(), text) {
		t.Errorf("got %d %q, want %d with %q", hana.Code(), hana.Text(), code, text)
	}
}

// table gives the rows of a query, fields joined by |.
func table(t *testing.T, db *sql.DB, query string, arguments ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, arguments...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells what counts
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		fields := make([]string, len(values))
		for i, value := range values {
			if raw, ok := value.([]byte); ok {
				value = string(raw) // VARCHAR
			}
			fields[i] = fmt.Sprint(value)
		}
		lines = append(lines, strings.Join(fields, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// wait polls until condition holds.
func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func prefix(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "FULL")
}

func sum(data []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

func shut(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
