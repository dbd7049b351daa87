package hdbtrigger

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestNewRefusesConfig(t *testing.T) {
	good := Config{Host: "localhost", Port: 39013, User: "BACKUP", PasswordFile: writeFile(t, "secret\n")}
	empty, notPEM := writeFile(t, "\n"), writeFile(t, "secret")
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no host", func(c *Config) { c.Host = "" }, "host"},
		{"no port", func(c *Config) { c.Port = 0 }, "port 0"},
		{"port too large", func(c *Config) { c.Port = 65536 }, "port 65536"},
		{"no user", func(c *Config) { c.User = "" }, "user"},
		{"no password file", func(c *Config) { c.PasswordFile = "" }, "password file"},
		{"missing password file", func(c *Config) { c.PasswordFile = "/nowhere/password" }, "/nowhere/password"},
		{"empty password file", func(c *Config) { c.PasswordFile = empty }, empty + ": it is empty"},
		{"missing CA", func(c *Config) { c.TLS.RootCAFile = "/nowhere/ca.pem" }, "/nowhere/ca.pem"},
		{"CA not PEM", func(c *Config) { c.TLS.RootCAFile = notPEM }, notPEM},
		{"TLS off and insecure", func(c *Config) { c.TLS = TLS{Off: true, Insecure: true} }, "tls"},
		{"negative timeout", func(c *Config) { c.ConnectTimeout = -time.Second }, "connect timeout"},
		{"negative keep-alive", func(c *Config) { c.KeepAlive = -time.Second }, "keep-alive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := good
			tt.change(&config)
			_, err := New(config, zap.NewNop(), NewMetrics(prometheus.NewRegistry()))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not mention %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		trigger, err := New(good, zap.NewNop(), NewMetrics(prometheus.NewRegistry()))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // Close may be repeated
			if err := trigger.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestPasswordFileLosesOnlyLineEnds(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"no line end", "secret", "secret"},
		{"line end", "secret\n", "secret"},
		{"two of DOS", "secret\r\n\r\n", "secret"},
		{"spaces belong to it", " se cret \n", " se cret "},
		{"lines inside too", "a\nb\n", "a\nb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readPassword(writeFile(t, tt.content))
			if err != nil || string(got) != tt.want {
				t.Errorf("got a password of %d characters, %v", len(got), err)
			}
		})
	}
}

func TestPasswordDoesNotShowItself(t *testing.T) {
	secret := password("s3cr3t")
	shown := map[string]string{
		"print": fmt.Sprint(secret), "error": fmt.Errorf("login: %w", fmt.Errorf("with %v", secret)).Error(),
		"in a struct": fmt.Sprintf("%+v", struct{ P password }{secret}),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		shown[verb] = fmt.Sprintf(verb, secret)
	}
	text, err := json.Marshal(map[string]any{"password": secret, "pointer": &secret})
	if err != nil {
		t.Fatal(err)
	}
	shown["json"] = string(text)

	core, logs := observer.New(zapcore.DebugLevel)
	zap.New(core).Info("login", zap.Any("password", secret), zap.Reflect("again", secret))
	driverLog(zap.New(core)).Info("driver", "password", secret)
	for _, entry := range logs.All() {
		encoded, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{}).EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		shown["log "+entry.Message] = encoded.String()
	}
	for where, text := range shown {
		if strings.Contains(text, "s3cr3t") || strings.Contains(strings.ToLower(text), "733363723374") {
			t.Errorf("%s shows it: %s", where, text)
		}
	}
}

func TestDriverErrorsAreOnlyForDebugging(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	log := driverLog(zap.New(core).Named("hana"))
	log.Error("DB conn read error", "error", "EOF")
	log.With("conn", 1).Warn("a warning of HANA")
	var got []string
	for _, entry := range logs.All() {
		got = append(got, entry.Level.String()+" "+entry.LoggerName+" "+entry.Message)
	}
	want := "debug hana DB conn read error|warn hana a warning of HANA"
	if strings.Join(got, "|") != want {
		t.Errorf("%q, expected %q", got, want)
	}
}
