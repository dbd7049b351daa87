package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/logship"
)

// brokenLog waits for 20 s at most until the log of a database is shown as
// interrupted, or as not.
func (p patient) brokenLog(t *testing.T, want bool) {
	t.Helper()
	var body string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var logs struct {
			Logs []logship.Status `json:"logs"`
		}
		_, body = get(t, "http://"+p.listen+"/v1/logs", "Authorization", "Bearer "+tokenCanary)
		if err := json.Unmarshal([]byte(body), &logs); err != nil {
			t.Fatal(err, body)
		}
		for i := range logs.Logs {
			if s := &logs.Logs[i]; s.Database == "HXE" && (s.Broken != nil) == want && !s.RecoveryPoint.IsZero() {
				return
			}
		}
	}
	t.Errorf("broken is not %v within 20 s: %s", want, body)
}

// Whoever looks at the log after a restore sees that it is interrupted, and after
// the backup that this wants, that it is not: neither waits for the next question of
// the shipper, minutes later.
func TestLogsAreLookedAtWhenAJobEnds(t *testing.T) {
	p := newPatient(t)
	if err := os.MkdirAll(filepath.Join(p.dir, "logs", "DB_HXE"), 0o770); err != nil {
		t.Fatal(err)
	}
	p.configure(t, fmt.Sprintf("http: {listen: '127.0.0.1:0', tokenFile: %[1]s/token}\nmetrics: {listen: '127.0.0.1:0'}\nlogs: {directory: %[1]s/logs}\nshutdownGrace: 1s\n", p.dir))
	_, stop := p.serve(t)
	defer stop()
	run := func(args ...string) {
		t.Helper()
		if status, stdout, stderr := execute(t.Context(), append(args, "--database", "HXE", "--socket", p.socket)...); status != 0 {
			t.Fatalf("%v: exit status %d: %s%s", args, status, stdout, stderr)
		}
	}
	run("backup")
	p.brokenLog(t, false)
	run("restore", "--backup", "latest")
	p.brokenLog(t, true)
	run("backup")
	p.brokenLog(t, false)
}
