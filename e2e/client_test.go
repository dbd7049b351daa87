package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
)

// clientStep is one step of testdata/clientscript.json, which says what it
// means.
type clientStep struct {
	Step      string   `json:"step"`
	Connect   string   `json:"connect"`
	Database  string   `json:"database"`
	Password  string   `json:"password"`
	Close     string   `json:"close"`
	On        string   `json:"on"`
	Exec      string   `json:"exec"`
	Query     string   `json:"query"`
	Arguments []any    `json:"arguments"`
	Columns   []string `json:"columns"`
	Rows      [][]any  `json:"rows"`
	Count     int      `json:"count"`
	Error     int      `json:"error"`
}

func readClientScript(t *testing.T) []clientStep {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "clientscript.json"))
	if err != nil {
		t.Fatal(err)
	}
	var script struct {
		About string       `json:"about"`
		Steps []clientStep `json:"steps"`
	}
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatalf("clientscript.json: %v", err)
	}
	if len(script.Steps) == 0 {
		t.Fatal("clientscript.json: no steps")
	}
	return script.Steps
}

// TestClientsAgree runs one script with two clients that share no code against
// simulators started alike. What both see is what the protocol says.
func TestClientsAgree(t *testing.T) {
	t.Parallel()
	t.Run("go-hdb", func(t *testing.T) {
		t.Parallel()
		sim := startClientSim(t)
		client := scriptClient{sim: sim, open: map[string]*sql.DB{}}
		defer client.close()
		for _, step := range readClientScript(t) {
			if err := client.check(t.Context(), step); err != nil {
				t.Fatalf("%s: %v", step.Step, err)
			}
		}
	})
	t.Run("node hdb", func(t *testing.T) {
		t.Parallel()
		requireNode(t)
		sim := startClientSim(t)
		passwordFile := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(passwordFile, []byte(sim.password), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		node := exec.CommandContext(ctx, "node", filepath.Join("node", "script.mjs"),
			"--addr", sim.addr, "--user", sim.user, "--password-file", passwordFile,
			"--dir", sim.dir, "--script", filepath.Join("testdata", "clientscript.json"))
		out, err := node.CombinedOutput()
		if err != nil {
			t.Fatalf("node script.mjs: %v\n%s", err, out)
		}
		if got, want := strings.Count(string(out), "ok: "), len(readClientScript(t)); got != want {
			t.Errorf("node script.mjs: %d steps passed, the script has %d\n%s", got, want, out)
		}
	})
}

// requireNode skips without Node and its module; in CI it fails.
func requireNode(t *testing.T) {
	t.Helper()
	requireProgram(t, "node")
	if _, err := os.Stat(filepath.Join("node", "node_modules", "hdb")); err != nil {
		missing(t, "the Node client is not installed (make node)")
	}
}

// clientSim is a simulator for one run of the script.
type clientSim struct{ addr, user, password, dir string }

func startClientSim(t *testing.T) clientSim {
	t.Helper()
	sim := clientSim{user: "SYSTEM", password: "Pässword-\"1\"", dir: t.TempDir()}
	system, err := hanasim.Start(hanasim.Config{
		User: sim.user, Password: sim.password, Seed: 1,
		Databases: []hanasim.Database{
			{Name: "SYSTEMDB", Volumes: []hanasim.Volume{{ID: 1, Size: 1 << 20}}},
			{Name: "HXE", Volumes: []hanasim.Volume{{ID: 2, Size: 3<<20 + 1}, {ID: 3, Service: "xsengine", Size: 1}}},
		},
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	})
	sim.addr = system.Addr("SYSTEMDB")
	return sim
}

// scriptClient runs script steps with go-hdb.
type scriptClient struct {
	sim  clientSim
	open map[string]*sql.DB
}

func (c *scriptClient) close() {
	for _, db := range c.open {
		_ = db.Close() // the script closes what matters; this is for a failed one
	}
}

func (c *scriptClient) check(ctx context.Context, step clientStep) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := c.run(ctx, step)
	if step.Error == 0 {
		return err
	}
	var hana driver.Error
	if !errors.As(err, &hana) || hana.Code() != step.Error {
		return fmt.Errorf("got %w, expected error %d", err, step.Error)
	}
	return nil
}

func (c *scriptClient) run(ctx context.Context, step clientStep) error {
	switch {
	case step.Connect != "":
		return c.connect(ctx, step)
	case step.Close != "":
		db := c.open[step.Close]
		delete(c.open, step.Close)
		return db.Close()
	case step.Exec != "":
		_, err := c.open[step.On].ExecContext(ctx, c.fill(step.Exec))
		return err
	default:
		return c.query(ctx, step)
	}
}

func (c *scriptClient) connect(ctx context.Context, step clientStep) error {
	password := c.sim.password
	if step.Password != "" {
		password = step.Password
	}
	connector := driver.NewBasicAuthConnector(c.sim.addr, c.sim.user, password).WithDatabase(step.Database)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return errors.Join(err, db.Close())
	}
	c.open[step.Connect] = db
	return nil
}

func (c *scriptClient) query(ctx context.Context, step clientStep) (err error) {
	rows, err := c.open[step.On].QueryContext(ctx, step.Query, step.Arguments...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	if diff := cmp.Diff(step.Columns, columns); diff != "" {
		return fmt.Errorf("columns (-want +got):\n%s", diff)
	}
	got := [][]any{}
	for rows.Next() {
		row := make([]any, len(columns))
		targets := make([]any, len(columns))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i := range row {
			row[i] = scriptCell(row[i])
		}
		got = append(got, row)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return c.compare(step, got)
}

func (c *scriptClient) compare(step clientStep, got [][]any) error {
	if count := max(step.Count, len(step.Rows)); len(got) != count {
		return fmt.Errorf("%d rows, expected %d: %v", len(got), count, got[:min(len(got), 10)])
	}
	for i, want := range step.Rows {
		for j := range want {
			if !c.matches(got[i][j], want[j]) {
				return fmt.Errorf("row %d, column %d: %v, expected %v", i, j, got[i][j], want[j])
			}
		}
	}
	return nil
}

func (c *scriptClient) matches(got, want any) bool {
	switch want := want.(type) {
	case nil:
		return got == nil
	case string:
		return got == c.fill(want)
	case map[string]any:
		pattern, isText := want["like"].(string)
		text, isCell := got.(string)
		same, err := regexp.MatchString("^(?:"+pattern+")$", text)
		return isText && isCell && err == nil && same
	default:
		return false
	}
}

func (c *scriptClient) fill(text string) string {
	return strings.ReplaceAll(text, "${dir}", c.sim.dir)
}

// scriptCell gives a value the form that the script is written in.
func scriptCell(value any) any {
	switch v := value.(type) {
	case nil:
		return nil
	case []byte:
		return string(v)
	case time.Time:
		return v.Format("2006-01-02T15:04:05.0000000")
	case *big.Rat:
		return v.RatString()
	default:
		return fmt.Sprint(v)
	}
}
