package hdbtrigger

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/views"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// scripted is a HANA whose views hold the rows that a test gives it, for the
// states that the simulator cannot be brought into. It speaks the real
// protocol; go-hdb is not replaced.
type scripted struct {
	engine *views.Engine

	mu       sync.Mutex
	password string
	logins   int
	rows     map[string][][]any
	refusals map[string]int // codes, by view
	sent     []string
	// execute answers everything but SELECTs.
	execute func(ctx context.Context, statement string) error
}

func startScripted(t *testing.T, tlsConfig *tls.Config) (*scripted, Config) {
	t.Helper()
	engine, err := views.Open(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{engine: engine, password: "secret", rows: usualRows(), refusals: map[string]int{}}
	s.execute = func(context.Context, string) error { return nil }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := wire.NewServer("SYSTEMDB", s, zap.NewNop(), tlsConfig)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		// A test may end before Serve has begun.
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, Config{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, User: "BACKUP",
		PasswordFile: writeFile(t, "secret\n"), TLS: TLS{Off: tlsConfig == nil},
	}
}

// reset makes it as good as new for the next case of a table: what a start and
// a login cost counts under the race detector.
func (s *scripted) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows, s.refusals, s.sent = usualRows(), map[string]int{}, nil
	s.execute = func(context.Context, string) error { return nil }
}

// set replaces the rows of a view.
func (s *scripted) set(view string, rows ...[]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[view] = rows
}

// refuse makes HANA answer a question for a view with an error.
func (s *scripted) refuse(view string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[view] = code
}

func (s *scripted) statements() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

func (s *scripted) loginCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

func (s *scripted) setPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

func (s *scripted) Locate(string, string) (string, int, bool, error) { return "", 0, true, nil }

func (s *scripted) Password(string, string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins++
	return s.password, nil
}

func (s *scripted) Open(_, user string) (wire.Session, error) {
	return scriptedSession{s, views.Reader{User: user}}, nil
}

func (s *scripted) Rows(_ context.Context, schema, view string) ([][]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code := s.refusals[schema+"."+view]; code != 0 {
		return nil, &wire.Error{Code: code, State: "HY000", Text: "no " + view}
	}
	return s.rows[schema+"."+view], nil
}

type scriptedSession struct {
	*scripted
	reader views.Reader
}

func (s scriptedSession) Describe(text string) (parameters, columns []wire.Column, err error) {
	if !strings.HasPrefix(text, "SELECT") {
		return nil, nil, nil
	}
	return s.engine.Describe(s.reader, text)
}

func (s scriptedSession) Execute(ctx context.Context, text string, arguments []any) (wire.Result, error) {
	if strings.HasPrefix(text, "SELECT") {
		return s.engine.Query(ctx, s.reader, s, text, arguments)
	}
	s.mu.Lock()
	s.sent = append(s.sent, text)
	execute := s.execute
	s.mu.Unlock()
	return wire.Result{}, execute(ctx, text)
}

func (s scriptedSession) Close() {}

// usualRows are those of a scale-out system with a tenant of three volumes, in
// an order that nobody should rely on.
func usualRows() map[string][][]any {
	const hxe, systemDB = "HXE", "SYSTEMDB"
	started := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	return maps.Clone(map[string][][]any{
		"SYS.DUMMY":      {{"X"}},
		"SYS.M_DATABASE": {{"HXE", systemDB, "host1", started, "2.00.088.00.1760000000", "DEVELOPMENT"}},
		"SYS.M_DATABASES": {
			{systemDB, "", "YES", "", "", "", "DEFAULT"}, {hxe, "", "YES", "", "", "", "DEFAULT"}, {"DOWN", "", "NO", "", "", "", "DEFAULT"},
		},
		"SYS.M_INIFILE_CONTENTS": {
			ini("DEFAULT", "", "backup", "data_backup_max_chunk_size", "0"),
			ini("DEFAULT", "", "system_replication", "actual_mode", "none"),
			ini("DEFAULT", "", "system_replication", "mode", "none"),
		},
		"SYS_DATABASES.M_VOLUMES": {
			volumeRow(hxe, "host2", 30040, "indexserver", 5), volumeRow(hxe, "host1", 30040, "indexserver", 3),
			volumeRow(hxe, "host1", 30043, "xsengine", 2), volumeRow(systemDB, "host1", 30001, "nameserver", 1),
		},
		"SYS_DATABASES.M_SERVICES": {
			serviceRow(hxe, "host2", 30040, "indexserver", "YES", "MASTER"), serviceRow(hxe, "host1", 30040, "indexserver", "YES", "SLAVE"),
			serviceRow(hxe, "host1", 30043, "xsengine", "YES", "NONE"), serviceRow(systemDB, "host1", 30001, "nameserver", "YES", "MASTER"),
			serviceRow(hxe, "host1", 30042, "compileserver", "YES", "NONE"),
		},
		"SYS_DATABASES.M_BACKUP_SIZE_ESTIMATIONS": {
			{hxe, "host1", int64(30040), "indexserver", "complete data backup", int64(3000)},
			{hxe, "host1", int64(30040), "indexserver", "differential data backup", int64(30)},
			{hxe, "host2", int64(30040), "indexserver", "complete data backup", int64(5000)},
			{hxe, "host1", int64(30043), "xsengine", "complete data backup", nil},
			{systemDB, "host1", int64(30001), "nameserver", "complete data backup", int64(1000)},
		},
	})
}

func ini(layer, tenant, section, key, value string) []any {
	return []any{"global.ini", layer, tenant, "", section, key, value}
}

func volumeRow(database, host string, port int64, service string, id int64) []any {
	return []any{database, host, port, service, id, int64(0), "mnt00001/hdb"}
}

func serviceRow(database, host string, port int64, service, status, coordinator string) []any {
	return []any{database, host, port, service, int64(1), "", status, port + 1, coordinator}
}

func catalogRow(database, comment, state, kind string, id int64, ended any) []any {
	started := time.UnixMilli(id).UTC()
	return []any{database, id + 1, kind, id, started.Add(-time.Hour), started, ended, ended, state, comment, "<ok>", "HXE", nil, ""}
}
