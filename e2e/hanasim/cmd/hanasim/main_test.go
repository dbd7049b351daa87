package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/e2e/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

func TestServeAndRecoverSystemDB(t *testing.T) {
	dir := t.TempDir()
	passwordFile := filepath.Join(dir, "pw")
	if err := os.WriteFile(passwordFile, []byte("Secret1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	serve, err := command()
	if err != nil {
		t.Fatal(err)
	}
	serve.SetArgs([]string{
		"serve", "--password-file", passwordFile, "--backup-dir", dir, "--profile", "dotname", "--set", "write-size=4KiB",
		"--database", "SYSTEMDB=1:100KiB", "--database", "HXE=2:1MiB,3/xsengine:1B", "--restricted-user", "B=CATALOG READ",
	})
	serve.SetOut(in)
	serve.SetErr(io.Discard)
	done := make(chan error, 1)
	go func() { done <- serve.ExecuteContext(ctx) }()

	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var ready struct {
		Databases map[string]string
		Control   string
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	dsn := url.URL{Scheme: "hdb", User: url.UserPassword("SYSTEM", "Secret1"), Host: ready.Databases["SYSTEMDB"]}
	db, err := sql.Open("hdb", dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, statement := range []string{"BACKUP DATA USING FILE ('S')", "SIM DESTROY 'SYSTEMDB'"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}

	path := filepath.Join(dir, "SYSTEMDB", "S")
	for _, what := range [][]string{{"--prefix", path}, {"--command", "RECOVER DATA USING FILE ('" + path + "') CLEAR LOG"}} {
		var said bytes.Buffer
		recoverSys, err := command()
		if err != nil {
			t.Fatal(err)
		}
		recoverSys.SetArgs(append([]string{"recover-sys", "--addr", ready.Control, "--password-file", passwordFile}, what...))
		recoverSys.SetOut(&said)
		if err := recoverSys.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said.String(), "recoverSys finished successfully") {
			t.Errorf("%s: said %q", what, said.String())
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestParseDatabase(t *testing.T) {
	got, err := parseDatabase("HXE=2:200MiB,3/xsengine:1KiB")
	if err != nil {
		t.Fatal(err)
	}
	want := hanasim.Database{Name: "HXE", Volumes: []hanasim.Volume{{ID: 2, Size: 200 << 20}, {ID: 3, Service: "xsengine", Size: 1024}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"HXE", "HXE=", "HXE=x:1", "HXE=2", "HXE=2:0", "HXE=2:1XiB", "HXE=2:9999999999TiB"} {
		if got, err := parseDatabase(wrong); err == nil {
			t.Errorf("%s: got %v", wrong, got)
		}
	}
}
