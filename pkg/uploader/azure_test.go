package uploader

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The account that azurite, Microsoft's own test server, is documented to have.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// TestConformAzure runs against azurite, which is on npm.
func TestConformAzure(t *testing.T) {
	program := testServer(t, "e2e/node/node_modules/.bin/azurite-blob")
	address := startAzurite(t, program)
	cfg := Config{Type: "azureblob", Root: "container", Options: map[string]string{
		"account": azuriteAccount, "key": azuriteKey, "endpoint": "http://" + address + "/" + azuriteAccount,
		"no_check_container": "false",
	}}
	conform(t, cfg, 1<<20)
}

func startAzurite(t *testing.T, program string) string {
	t.Helper()
	// azurite prints the port that it was given for port 0.
	out, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--blobHost", "127.0.0.1", "--blobPort", "0",
		"--inMemoryPersistence", "--skipApiVersionCheck")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), "listens on http://")
		address, _, complete := strings.Cut(rest, "\n")
		if found && complete {
			if _, _, err := net.SplitHostPort(address); err == nil {
				return address
			}
		}
	}
	t.Fatal("azurite did not say where it listens")
	return ""
}
