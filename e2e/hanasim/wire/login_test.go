package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/SAP/go-hdb/driver"
)

var dummy = map[string]script{
	"select 1 from dummy": {columns: []Column{{Name: "1", Type: Integer}}, rows: [][]any{{int64(1)}}},
}

func TestLogin(t *testing.T) {
	tests := []struct {
		name           string
		methods        []string
		user, password string
		code           int // 0: good
	}{
		{"good", nil, testUser, testPassword, 0},
		{"good without PBKDF2", []string{methodSHA256}, testUser, testPassword, 0},
		{"wrong password", nil, testUser, "wrong", 10},
		{"wrong password without PBKDF2", []string{methodSHA256}, testUser, "wrong", 10},
		{"unknown user", nil, "NOBODY", testPassword, 10},
		{"locked user", nil, "LOCKED", testPassword, 416},
		{"no method in common", []string{"GSS"}, testUser, testPassword, 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address := startServer(t, &scripted{statements: dummy}, nil, test.methods...)
			db := openDB(t, newConnector(address, test.user, test.password))
			checkCode(t, db.PingContext(t.Context()), test.code)
		})
	}
}

// checkCode checks that err is a HANA error with the code, or none for 0.
func checkCode(t *testing.T, err error, code int) {
	t.Helper()
	var dbErr driver.Error
	switch {
	case code == 0 && err != nil:
		t.Fatalf("error %v, want none", err)
	case code == 0:
	case !errors.As(err, &dbErr):
		t.Fatalf("error %v, want code %d", err, code)
	case dbErr.Code() != code:
		t.Fatalf("code %d (%v), want %d", dbErr.Code(), err, code)
	}
}

func TestLoginAgainAfterOneThatFailed(t *testing.T) {
	address := startServer(t, &scripted{statements: dummy}, nil)
	checkCode(t, openDB(t, newConnector(address, testUser, "wrong")).PingContext(t.Context()), 10)
	checkCode(t, openDB(t, newConnector(address, testUser, testPassword)).PingContext(t.Context()), 0)
}

func TestRedirect(t *testing.T) {
	tenant := &scripted{statements: map[string]script{
		"SELECT DATABASE_NAME FROM M_DATABASE": {columns: []Column{{Name: "DATABASE_NAME", Type: NVarchar}}, rows: [][]any{{"HA1"}}},
	}}
	tenantAddress := startServer(t, tenant, nil)
	system := &scripted{databases: map[string]*net.TCPAddr{"HA1": tenantAddress}, statements: dummy}
	address := startServer(t, system, nil)

	t.Run("elsewhere", func(t *testing.T) {
		db := openDB(t, newConnector(address, testUser, testPassword).WithDatabase("HA1"))
		var name string
		if err := db.QueryRowContext(t.Context(), "SELECT DATABASE_NAME FROM M_DATABASE").Scan(&name); err != nil {
			t.Fatal(err)
		}
		if name != "HA1" {
			t.Errorf("database %q, want HA1", name)
		}
	})
	t.Run("here", func(t *testing.T) {
		db := openDB(t, newConnector(address, testUser, testPassword).WithDatabase("HERE"))
		checkCode(t, db.PingContext(t.Context()), 0)
	})
	t.Run("unknown", func(t *testing.T) {
		db := openDB(t, newConnector(address, testUser, testPassword).WithDatabase("NONE"))
		checkCode(t, db.PingContext(t.Context()), 4321)
	})
}

func TestTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	server := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	address := startServer(t, &scripted{statements: dummy}, server)
	withTLS := func(config *tls.Config) *sql.DB {
		connector := newConnector(address, testUser, testPassword)
		connector.SetTLSConfig(config)
		return openDB(t, connector)
	}
	t.Run("trusted", func(t *testing.T) {
		db := withTLS(&tls.Config{RootCAs: pool, ServerName: "hana.test", MinVersion: tls.VersionTLS12})
		checkCode(t, db.PingContext(t.Context()), 0)
	})
	t.Run("not trusted", func(t *testing.T) {
		db := withTLS(&tls.Config{ServerName: "hana.test", MinVersion: tls.VersionTLS12})
		var unknown x509.UnknownAuthorityError
		if err := db.PingContext(t.Context()); !errors.As(err, &unknown) {
			t.Fatalf("error %v, want unknown authority", err)
		}
	})
	t.Run("in the clear on the same port", func(t *testing.T) {
		checkCode(t, openDB(t, newConnector(address, testUser, testPassword)).PingContext(t.Context()), 0)
	})
	t.Run("not set up", func(t *testing.T) {
		connector := newConnector(startServer(t, &scripted{statements: dummy}, nil), testUser, testPassword)
		connector.SetTLSConfig(&tls.Config{RootCAs: pool, ServerName: "hana.test", MinVersion: tls.VersionTLS12})
		if err := openDB(t, connector).PingContext(t.Context()); err == nil {
			t.Fatal("login over TLS at a server without")
		}
	})
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "hana.test"},
		DNSNames:     []string{"hana.test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}
