package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// TestBrowserLogsIn opens the status page as a person does who has the token of a
// reader: as the password of HTTP Basic. The lowest rate is enough for it.
func TestBrowserLogsIn(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	listen := freeAddress(t)
	w := newWorld(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(8*mebibyte, 2*mebibyte)}}, WriteSize: 256 << 10,
	}, openLocal(t), map[string]any{"shutdownGrace": "1s", "http": map[string]any{
		"listen": listen, "rateLimit": 1, "tokens": map[string]any{"watcher": tokenFile(t, pageToken)}, "readers": []string{"token:watcher"},
	}})
	url := "http://" + listen + "/"

	// Chromium shows the answer, or calls it an error of the network.
	if _, err := b.do(map[string]any{"op": "open", "url": url, "user": "anybody", "password": "not-the-token-0123456"}); err != nil && !strings.Contains(err.Error(), "ERR_INVALID_AUTH_CREDENTIALS") {
		t.Errorf("a wrong password: %v", err)
	}
	if n := b.count("#main, .connection, script"); n != 0 {
		t.Errorf("with a wrong password the page is shown:\n%s", b.text("body"))
	}

	b.open(url, nil)
	b.awaitText(".connection", "live")
	b.must(map[string]any{"op": "report"}) // a browser logs what is refused, and tells it later
	evaluate[bool](b, "globalThis.loadedOnce = true")
	w.hana.set("delay-write", "50ms")
	record, err := w.client().StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	card := fmt.Sprintf(`[data-job=%q]`, record.ID)
	b.awaitText(card, "Backup of HXE", "running")
	bar := fmt.Sprintf(`Number(document.querySelector('%s .bar')?.getAttribute('aria-valuenow') ?? -1)`, card)
	eventually(t, "the bar moves", func() bool { return b.number(bar) > 0 })
	w.ended(w.client(), record.ID)
	b.awaitText("[aria-labelledby=latest] tbody tr:first-child", "Backup of HXE", "succeeded")
	b.must(map[string]any{"op": "eval", "script": "location.hash = '#/jobs/" + record.ID + "'; true"})
	b.awaitText("main", "Asked for by", fmt.Sprintf("uid:%d", os.Geteuid()))
	if !evaluate[bool](b, "globalThis.loadedOnce === true") {
		t.Error("the page was loaded again")
	}
	for range 2 {
		b.open(url, nil)
		b.awaitText(".connection", "live")
	}
	b.fine(listen) // no file was refused, and nothing else
	w.stopDaemon()
}
