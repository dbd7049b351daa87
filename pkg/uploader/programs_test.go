package uploader

import (
	"os"
	"path/filepath"
	"testing"
)

// testServer returns the absolute path of a server that `make tools` or
// `make node` has put at path below the root of the repository. Where it is
// missing the test is skipped; in CI it fails.
func testServer(tb testing.TB, path string) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", filepath.FromSlash(path)))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatalf("a server that this test needs is not installed (make tools node): %v", err)
	}
	if err != nil {
		tb.Skipf("a server that this test needs is not installed (make tools node): %v", err)
	}
	return path
}
