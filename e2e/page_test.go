package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// newPageWorld has a daemon that serves the status page at the URL.
func newPageWorld(t *testing.T, before func(w *world)) (w *world, url string) {
	t.Helper()
	w = &world{t: t, depot: openS3(t), backups: directory(t), hana: startHANA(t, hanasim.Config{
		Databases: []hanasim.Database{systemDB(), {Name: "HXE", Volumes: volumes(40*mebibyte, 8*mebibyte)}},
		Profile:   hanasim.Dotname, WriteSize: 256 << 10,
	})}
	w.log.showOnFailure(t, "the daemon")
	listen := freeAddress(t)
	http := map[string]any{"listen": listen, "tokenFile": tokenFile(t, pageToken), "rateLimit": 1000} // tests load page after page
	w.configure(map[string]any{"http": http, "logs": map[string]any{"directory": w.hana.logs}, "shutdownGrace": "1s"})
	before(w)
	w.startDaemon()
	return w, "http://" + listen + "/"
}

// pageToken is what a browser logs in with.
const pageToken = "a-token-of-the-test-0123"

// tokenFile has a token in it.
func tokenFile(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(directory(t), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func host(url string) string { return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/") }

// TestStatusPage tells a story to an open page, which is never loaded again. HANA's
// clock begins two weeks ago, so that there is something on the time line.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w, url := newPageWorld(t, func(*world) {})
	b.open(url, map[string]any{"width": 1180, "height": 1310})
	b.awaitText(".connection", "live")
	b.awaitText(".todo", "No backup was made yet")
	b.awaitText("[aria-labelledby=databases]", "No database is known yet")
	evaluate[bool](b, "globalThis.loadedOnce = true")

	w.twoWeeks()
	b.awaitText(`[data-database="HXE"]`, "Can be restored to", "verified")
	const line = `[data-database="HXE"] .timeline `
	eventually(t, "the time line shows backups, verifications, one window and what is not in the store yet", func() bool {
		return b.count(line+".data") == 14 && b.count(line+".data.verified") == 2 && b.count(line+".window") == 1 &&
			b.number("document.querySelector("+quote(line+".risk")+")?.getBoundingClientRect().width ?? 0") > 0
	})

	w.hana.set("fail", "write:1:2MiB")
	failed := w.run("backup", "--database", "SYSTEMDB").expect(t, 1).record(t)
	b.awaitText(".todo", "1 thing to look at", "The last backup of SYSTEMDB failed", failed.Error.Code, "Input/output error", failed.Error.Hint, "pipestreamer show "+failed.ID)

	w.watchRunning(b)
	w.loseLog(b)
	w.restartUnder(b)
	if !evaluate[bool](b, "globalThis.loadedOnce === true") {
		t.Error("the page was loaded again")
	}
	b.must(map[string]any{"op": "report"}) // a browser logs each connection that is refused
	w.stopDaemon()
}

// twoWeeks makes backups and log backups from 13 days ago up to 5 minutes ago, by
// HANA's clock.
func (w *world) twoWeeks() {
	w.t.Helper()
	hours := func(n int) { w.hana.set("clock", fmt.Sprintf("-%dh", n)) }
	log := func(database string) {
		w.hana.statement("SIM WORK '%s' 20", database)
		w.hana.statement("SIM LOGBACKUP '%s'", database)
	}
	hours(312)
	w.backUp("HXE")
	w.backUp("SYSTEMDB")
	for n := 288; n >= 24; n -= 24 {
		hours(n)
		log("HXE")
		switch {
		case n == 168:
			w.backUp("HXE")
			w.backUp("SYSTEMDB")
		case n > 168:
			w.run("backup", "--database", "HXE", "--kind", "incremental").expect(w.t, 0)
		default:
			w.run("backup", "--database", "HXE", "--kind", "differential").expect(w.t, 0)
		}
		if n == 216 || n == 168 {
			w.run("verify", "--database", "HXE", "--backup", "latest").expect(w.t, 0)
		}
	}
	w.hana.set("clock", "-5h")
	log("SYSTEMDB")
	w.backUp("HXE")
	w.hana.set("clock", "-5m")
	log("HXE")
}

// watchRunning has a backup run before the eyes of the page.
func (w *world) watchRunning(b *browser) {
	w.t.Helper()
	w.hana.set("clock", "0s")
	w.hana.set("delay-write", "75ms")
	record, err := w.client().StartBackup(w.t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		w.t.Fatal(err)
	}
	card := fmt.Sprintf(`[data-job=%q]`, record.ID)
	bar := fmt.Sprintf(`Number(document.querySelector('%s .bar')?.getAttribute('aria-valuenow') ?? -1)`, card)
	eventually(w.t, "the bar moves", func() bool { return b.number(bar) > 0 })
	first := b.number(bar)
	points := fmt.Sprintf(`(document.querySelector('%s .throughput .line')?.getAttribute('d') ?? '').split('L').length`, card)
	eventually(w.t, "the bar and the plot go on", func() bool { return b.number(bar) > first+20 && b.number(points) >= 3 })
	b.awaitText(card, "Backup of HXE", "indexserver", "MiB/s", "waits for")
	eventually(w.t, "most of it is done", func() bool { return b.number(bar) > 75 })
	b.shoot("status-page.png")
	w.ended(w.client(), record.ID)
	b.awaitText("[aria-labelledby=running]", "No job runs.")
	b.awaitText("[aria-labelledby=latest] tbody tr:first-child", "Backup of HXE", "succeeded")
	eventually(w.t, "the time line shows the new backup", func() bool { return b.count(`[data-database="HXE"] .timeline .data`) == 15 })
	b.fine(evaluate[string](b, "location.host"))
}

// loseLog removes a log backup of six days ago from the store: what it had is a gap
// on the time line, up to the next data backup.
func (w *world) loseLog(b *browser) {
	w.t.Helper()
	from := time.Now().Add(-145 * time.Hour).UnixMilli()
	var lost string
	for key := range w.depot.objects(w.t) {
		name, err := backup.ParseLogName(path.Base(key))
		if err == nil && name.VolumeID == 2 && name.BackupID > from && name.BackupID < from+(2*time.Hour).Milliseconds() {
			lost = key
		}
	}
	if err := os.Remove(w.depot.path(lost)); err != nil {
		w.t.Fatal(err)
	}
	b.click("#bottom button")
	b.awaitText(".todo", "HXE: 1 object missing in the store", lost, "pipestreamer backup --database HXE")
	eventually(w.t, "the time line has two windows and a gap", func() bool {
		return b.count(`[data-database="HXE"] .timeline .window`) == 2 && b.count(`[data-database="HXE"] .timeline .gap`) == 1
	})
	b.click(`[data-database="HXE"] summary`)
	b.awaitText(`[data-database="HXE"] table`, "gap in volume 2", "can be restored")
	b.shootPart("status-page-gap.png", `[data-database="HXE"]`)
}

// restartUnder ends the daemon while a backup runs, which the page has to learn
// when it is back.
func (w *world) restartUnder(b *browser) {
	w.t.Helper()
	record, err := w.client().StartBackup(w.t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		w.t.Fatal(err)
	}
	b.awaitText(fmt.Sprintf(`[data-job=%q]`, record.ID), "running")
	w.stopDaemon()
	b.awaitText(".connection", "lost since", "trying again")
	w.startDaemon()
	b.awaitText(".connection", "live")
	b.awaitText("[aria-labelledby=running]", "No job runs.")
	b.awaitText("[aria-labelledby=latest] tbody tr:first-child", "Backup of HXE", "canceled")
}

// TestStatusPageShowsTextAsText has a journal full of markup.
func TestStatusPageShowsTextAsText(t *testing.T) {
	t.Parallel()
	const markup = `<img src=x onerror="globalThis.broken=1"><script>globalThis.broken=1</script>`
	b := startBrowser(t)
	at := time.Now().UTC().Add(-time.Hour)
	hostile := job.Record{
		ID: "00000000-0000-7000-8000-000000000001", Action: job.ActionVerification, State: job.StateFailed, Stage: job.StageStream, SID: "HXE",
		Database: markup, BackupID: 1, Prefix: markup, Manifest: markup, StartedAt: at, FinishedAt: at.Add(time.Minute),
		Error:        &job.Error{Code: markup, Message: markup, Hint: markup, Stage: job.StageStream, Stream: markup},
		Consequences: []string{markup}, Warnings: []string{markup}, History: []job.Event{{At: at, Side: markup, Text: markup, Stream: markup}},
		Command: "$(" + markup + ")",
	}
	_, url := newPageWorld(t, func(w *world) { w.journal(hostile) })
	for _, route := range []string{"", "#/jobs", "#/jobs/" + hostile.ID, "#/backups"} {
		b.open(url+route, nil)
		b.awaitText(".connection", "live")
		if route != "#/backups" {
			b.awaitText("main", markup)
		}
		if route == "" { // what is to be copied means the database and nothing else to a shell
			b.awaitText(".todo .command code", "pipestreamer show "+hostile.ID)
		}
		if found := b.count("img, main script"); found > 0 || evaluate[bool](b, "globalThis.broken === 1") {
			t.Errorf("%q: the text became %d elements", route, found)
		}
		b.fine(host(url))
	}
}

// journal leaves a job of an earlier process.
func (w *world) journal(record job.Record) {
	w.t.Helper()
	text, err := json.Marshal(map[string]any{"version": 1, "sequence": 1, "record": record, "request": "x"})
	if err != nil {
		w.t.Fatal(err)
	}
	directory := filepath.Join(filepath.Dir(w.config), "state", "jobs")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, record.ID+".json"), text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// TestStatusPageForEverybody looks at each view in both schemes, on a screen and on
// a telephone, and goes through it with the keyboard.
func TestStatusPageForEverybody(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w, url := newPageWorld(t, func(*world) {})
	w.backUp("HXE")
	w.hana.set("fail", "write:2:1MiB")
	failed := w.run("backup", "--database", "HXE").expect(t, 1).record(t)
	w.hana.set("delay-write", "400ms") // for longer than the test
	running, err := w.client().StartBackup(t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		t.Fatal(err)
	}
	w.streaming(w.client(), running.ID, 256<<10)
	for _, screen := range []map[string]any{{"width": 1280, "scheme": "light"}, {"width": 1280, "scheme": "dark"}, {"width": 360, "scheme": "dark"}} {
		for route, wanted := range map[string]string{"": "Can be restored", "#/jobs": "All", "#/jobs/" + failed.ID: "What happened", "#/jobs/" + running.ID: "In the store", "#/backups": "Read the newest one back"} {
			what := fmt.Sprintf("%v %q", screen, route)
			b.open(url+route, screen)
			b.awaitText("body", "live")
			if route != "#/jobs" {
				b.awaitText("main", wanted)
			}
			b.accessible(what)
			b.fits(what)
			b.fine(host(url))
		}
	}
	b.open(url+"#/jobs?state=failed&database=HXE", nil)
	b.awaitText("main", "1 job", failed.Error.Hint)
	if rows := b.count("tbody tr"); rows != 1 {
		t.Errorf("%d jobs that failed are shown, expected 1", rows)
	}
	b.must(map[string]any{"op": "eval", "script": "location.hash = '#/jobs?state=lost'; true"})
	b.awaitText("main", "No job is like that.")
	b.open(url+"#/jobs/"+failed.ID, map[string]any{"scheme": "dark", "width": 1180, "height": 900})
	b.awaitText("main", "What happened")
	b.shoot("status-page-job.png")
	b.withKeys(url)
	if err := w.client().Cancel(t.Context(), running.ID); err != nil {
		t.Error(err)
	}
	w.ended(w.client(), running.ID)
	w.stopDaemon()
}

// withKeys uses the page without a mouse.
func (b *browser) withKeys(url string) {
	b.t.Helper()
	b.open(url, nil)
	b.awaitText("body", "live", "Can be restored")
	focused := func() string { return evaluate[string](b, "document.activeElement.innerText.trim()") }
	reach := func(text string) {
		b.t.Helper()
		for range 40 {
			if b.press("Tab"); focused() == text {
				return
			}
		}
		b.t.Fatalf("no key press reaches %q", text)
	}
	if b.press("Tab"); focused() != "Skip to the content" {
		b.t.Errorf("the first key press leads to %q", focused())
	}
	reach("1 day")
	b.press("Enter")
	eventually(b.t, "the time line of a day", func() bool {
		return evaluate[string](b, `document.querySelector('.ranges [aria-pressed="true"]').innerText`) == "1 day"
	})
	if focused() != "1 day" {
		b.t.Errorf("after the key press the focus is on %q", focused())
	}
	b.press("Shift+Tab")
	reach("What would a restore take?")
	b.press("Enter")
	reach("Copy")
	b.press("Enter")
	eventually(b.t, "the command is copied or selected", func() bool {
		return strings.Contains(evaluate[string](b, "getSelection().toString()"), "pipestreamer restore --database HXE")
	})
	b.press("Home")
}

// TestStatusPageExplainsRefusals has a daemon that is not ready, a token that does
// not count any more, a limit of requests, and no event stream.
func TestStatusPageExplainsRefusals(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w, url := newPageWorld(t, func(*world) {})
	record := w.backUp("HXE")
	b.open(url, nil)
	b.awaitText(".connection", "live")
	b.awaitText("main", "Can be restored")

	b.stand(503, `{"title":"Starting","status":503,"detail":"the store cannot be opened","hint":"look at the store"}`)
	b.restart(w)
	b.awaitText(".connection", "lost since", "trying again")
	b.awaitText("main", "The daemon is not ready", "the store cannot be opened", "look at the store", "Can be restored") // what is known stays
	b.must(map[string]any{"op": "eval", "script": "location.hash = '#/jobs'; true"})
	b.awaitText("main", record.Database, "succeeded")

	b.stand(0, "")
	b.awaitText(".connection", "live")
	b.stand(401, `{"title":"Not authenticated","status":401,"detail":"no credentials"}`)
	b.restart(w)
	b.awaitText(".connection", "not authenticated")
	b.must(map[string]any{"op": "eval", "script": "location.hash = '#/'; true"})
	b.awaitText(".todo", "The daemon does not let you in", "no credentials", "Reload the page")
	b.stand(0, "")
	b.awaitText(".connection", "live")
	w.stopDaemon()
}

// TestStatusPageWhileTheStoreIsAway: what is not known is not told as if there were
// none, and what a store says fits into the window.
func TestStatusPageWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	long := "operation_error_S3:_PutObject_exceeded_maximum_number_of_attempts" + strings.Repeat("_https://s3.example.com/bucket?X-Amz-Signature=0123456789abcdef", 12)
	b := startBrowser(t)
	at := time.Now().UTC().Add(-time.Hour)
	ended := job.Record{
		ID: "00000000-0000-7000-8000-000000000001", Action: job.ActionBackup, State: job.StateFailed, Stage: job.StageStream, SID: "HXE", Database: "HXE",
		Kind: backup.KindComplete, StartedAt: at, FinishedAt: at.Add(time.Minute), Error: &job.Error{Code: "upload_failed", Message: long, Hint: long, Stage: job.StageStream},
		Consequences: []string{long}, Warnings: []string{long}, History: []job.Event{{At: at, Side: job.SideStore, Text: long}},
	}
	_, url := newPageWorld(t, func(w *world) { w.journal(ended) })
	away := map[string]any{"op": "stand", "pattern": "**/v1/{backups,recovery}**", "status": 504, "body": `{"title":"The answer took too long","status":504,"detail":` + quote(long) + `,"hint":` + quote(long) + `}`}
	for _, width := range []int{360, 1200} {
		b.open("about:blank", map[string]any{"width": width})
		b.must(away)
		for _, route := range []string{"", "#/jobs", "#/jobs/" + ended.ID, "#/backups"} {
			b.must(map[string]any{"op": "goto", "url": url + route})
			b.awaitText(".connection", "live")
			what := fmt.Sprintf("%d %q", width, route)
			switch route {
			case "":
				b.awaitText(`[data-database="HXE"]`, "Newest data backup", "not known: the store does not answer")
				b.awaitText(".todo", "v1/backups cannot be read", long)
			case "#/backups":
				b.awaitText("main", "Not known: the store does not answer.")
			default:
				b.awaitText("main", "upload_failed")
			}
			b.fits(what)
		}
	}
	b.must(map[string]any{"op": "report"}) // a browser logs each answer that is an error
}

// TestStatusPageTellsOfUnreadableBackups: of a database of which nothing else is known,
// too.
func TestStatusPageTellsOfUnreadableBackups(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	key := backup.ManifestKey("HXE", "DROPPED", 1700000000000)
	w, url := newPageWorld(t, func(w *world) {
		path := w.depot.path(key)
		err := os.MkdirAll(filepath.Dir(path), 0o750)
		if err == nil {
			err = os.WriteFile(path, []byte(`{"version":1,"to`), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	b.open(url, nil)
	b.awaitText(".todo", "DROPPED: 1 description in the store cannot be read", key, "look at the objects")
	w.stopDaemon()
}

// restart breaks the event stream off.
func (b *browser) restart(w *world) {
	b.t.Helper()
	w.stopDaemon()
	w.startDaemon()
}

// TestStatusPageNeedsTheToken asks for the page without it.
func TestStatusPageNeedsTheToken(t *testing.T) {
	t.Parallel()
	token := tokenFile(t, pageToken)
	listen := freeAddress(t)
	newWorld(t, hanasim.Config{Databases: []hanasim.Database{systemDB()}}, openLocal(t), map[string]any{"http": map[string]any{"listen": listen, "tokenFile": token}})
	for _, path := range []string{"/", "/page/app.mjs", "/v1/events", "/v1/daemon"} {
		connection, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(connection, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 12)
		if _, err := connection.Read(answer); err != nil || string(answer) != "HTTP/1.0 401" && string(answer) != "HTTP/1.1 401" {
			t.Errorf("%s without the token: %s, %v", path, answer, err)
		}
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	}
}
