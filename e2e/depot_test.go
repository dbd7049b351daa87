package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/nulls3"
)

// content is what a file holds.
type content struct {
	Size   int64
	SHA256 string
}

// depot is a store as the test sees it from behind: a directory.
type depot struct {
	// settings are the section "store" of the daemon's configuration.
	settings map[string]any
	// server is the URL of the S3 server, if it is one.
	server string
	// base is a directory in which the store keeps everything, root the path
	// of the keys below it.
	base, root string
}

// openLocal makes a store that is a directory.
func openLocal(t *testing.T) *depot {
	t.Helper()
	base := directory(t)
	return &depot{settings: map[string]any{"type": "local", "root": filepath.Join(base, "objects")}, base: base, root: "objects"}
}

const (
	s3Access = "e2e-access"
	s3Secret = "e2e-secret-access-key"
	// The S3 server knows another key, with the same rights.
	s3SecondAccess = "e2e-second-access"
	s3SecondSecret = "e2e-second-secret-access-key"
)

// openS3 starts versitygw on a directory.
func openS3(t *testing.T) *depot {
	t.Helper()
	program := s3Program(t)
	base := directory(t)
	if err := os.Mkdir(filepath.Join(base, "bucket"), 0o750); err != nil {
		t.Fatal(err)
	}
	accounts := directory(t)
	users := fmt.Sprintf(`{"accessAccounts":{%q:{"access":%q,"secret":%q,"role":"admin"}}}`, s3SecondAccess, s3SecondAccess, s3SecondSecret)
	if err := os.WriteFile(filepath.Join(accounts, "users.json"), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	var log tail
	log.showOnFailure(t, "versitygw")
	env := []string{"ROOT_ACCESS_KEY=" + s3Access, "ROOT_SECRET_KEY=" + s3Secret}
	for range 5 {
		address := freeAddress(t)
		p := startProcess(t, "versitygw", &log, env, program, "--port", address, "--quiet", "--iam-dir", accounts, "posix", base)
		if p.awaitStart(func() bool { return accepts(address) }) {
			url := "http://" + address
			return &depot{settings: s3Settings(t, url), server: url, base: filepath.Join(base, "bucket"), root: "path/to"}
		}
	}
	t.Fatal("versitygw does not start")
	return nil
}

// s3Settings configure a store of the S3 server at url.
func s3Settings(t *testing.T, url string) map[string]any {
	t.Helper()
	secret := filepath.Join(directory(t), "secret")
	if err := os.WriteFile(secret, []byte(s3Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"type": "s3", "root": "bucket/path/to",
		"options": map[string]any{"provider": "Other", "endpoint": url, "access_key_id": s3Access},
		"secrets": map[string]any{"secret_access_key": secret},
	}
}

// openNull starts an S3 server that forgets.
func openNull(t *testing.T, options nulls3.Options) (*depot, *nulls3.Server) {
	t.Helper()
	server, err := nulls3.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &depot{settings: s3Settings(t, server.URL())}, server
}

// path is where the object of a key is.
func (d *depot) path(key string) string {
	return filepath.Join(d.base, d.root, filepath.FromSlash(key))
}

// objects gives every file that the store keeps, by its key. A file that is not
// below the root (what is left of a multipart upload, for example) is given
// with its path and a leading slash.
func (d *depot) objects(t *testing.T) map[string]content {
	t.Helper()
	found := make(map[string]content)
	err := filepath.WalkDir(d.base, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the server tidies up
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(d.base, path)
		if err != nil {
			return err
		}
		key, isKey := strings.CutPrefix(filepath.ToSlash(name), d.root+"/")
		if !isKey {
			key = "/" + name
		}
		sum, err := digest(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		found[key] = sum
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// digest reads the files, one after the other.
func digest(paths ...string) (content, error) {
	sum := sha256.New()
	var c content
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return c, err
		}
		n, err := io.Copy(sum, file)
		if errClose := file.Close(); err == nil {
			err = errClose
		}
		if err != nil {
			return c, err
		}
		c.Size += n
	}
	c.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return c, nil
}
