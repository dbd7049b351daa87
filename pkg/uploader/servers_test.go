package uploader

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/ncw/swift/v2/swifttest"
	"github.com/pkg/sftp"
	"github.com/rclone/rclone/fs/fshttp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/webdav"
)

// rclone streams to the vendors fastmail, owncloud and rclone; any other is
// refused by New (backend/webdav/webdav.go, setQuirks).
func TestConformWebDAV(t *testing.T) {
	server := httptest.NewServer(&webdav.Handler{FileSystem: webdav.Dir(t.TempDir()), LockSystem: webdav.NewMemLS()})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	conform(t, Config{Type: "webdav", Options: map[string]string{"url": server.URL, "vendor": "rclone", "pacer_min_sleep": "1ms"}}, 64<<10)
}

func TestConformSFTP(t *testing.T) {
	address := startSFTP(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	conform(t, Config{Type: "sftp", Root: t.TempDir(), Options: map[string]string{
		"host": host, "port": port, "user": "user", "pass": "password",
		"shell_type": "none", "disable_hashcheck": "true",
	}}, 64<<10)
}

// startSFTP serves the file system over ssh.
func startSFTP(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PasswordCallback: func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if meta.User() == "user" && string(password) == "password" {
			return nil, nil
		}
		return nil, errors.New("wrong password")
	}}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serveSFTP(conn, config) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func serveSFTP(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		_ = conn.Close()
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { ssh.DiscardRequests(requests) })
	for channel := range channels {
		stream, requests, err := channel.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			for request := range requests {
				_ = request.Reply(request.Type == "subsystem", nil)
			}
		})
		running.Go(func() {
			server, err := sftp.NewServer(stream)
			if err == nil {
				_ = server.Serve() // ends with the connection
			}
			_ = stream.Close()
		})
	}
}

func TestConformSwift(t *testing.T) {
	server, err := swifttest.NewSwiftServer("localhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		// The server keeps its connections; rclone's swift uses the transport
		// that its remotes share.
		fshttp.NewTransport(t.Context()).CloseIdleConnections()
	})
	conform(t, Config{Type: "swift", Root: "container", Options: map[string]string{
		"auth": server.AuthURL, "user": swifttest.TEST_ACCOUNT, "key": swifttest.TEST_ACCOUNT,
		"storage_policy": "Policy-0",
	}}, 64<<10)
}
