package e2e

import (
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// check is called when the next daemon is ready. It returns how the job ended.
func (p *crashPoint) check(id string) string {
	p.t.Helper()
	record := p.interrupted(id)
	if record.ID != "" {
		p.known[record.ID] = true
		record = p.ended(p.client, record.ID)
	}
	p.hana.set("resume", "")
	(&faultCase{world: p.world}).expectHANAIdle()
	p.expectNothingRead()
	p.expectNoPipes()
	row := p.catalogEntry(record.ID)
	p.expectLeftUploads()
	visible := p.visible()
	switch record.State {
	case job.StateSucceeded:
		p.expectWhole(record)
	case job.StateLost, job.StateFailed:
		if record.Error == nil || record.Error.Code != job.CodeInterrupted || record.Error.Hint == "" {
			p.t.Errorf("the job ended %s because of %+v, expected that it was interrupted", record.State, record.Error)
		}
		if believed := row.State == "successful"; believed != (record.State == job.StateLost) {
			p.t.Errorf("the job is %s, HANA calls the backup %q", record.State, row.State)
		}
		if len(visible) > 0 {
			p.t.Errorf("the job is %s, and the store shows %v", record.State, visible)
		}
	case "": // it was killed before it had written down that there is a job
		if len(visible) > 0 {
			p.t.Errorf("there is no job, and the store shows %v", visible)
		}
		return "no job"
	default:
		p.t.Errorf("the job ended %s", record.State)
	}
	p.forget(record)
	return string(record.State)
}

// interrupted finds the job that was killed. What a daemon had promised by its
// answer is there.
func (p *crashPoint) interrupted(id string) job.Record {
	p.t.Helper()
	jobs, err := p.client.Jobs(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	jobs = slices.DeleteFunc(jobs, func(r job.Record) bool { return p.known[r.ID] })
	switch {
	case len(jobs) > 1 || id != "" && (len(jobs) == 0 || jobs[0].ID != id):
		p.t.Fatalf("jobs after the crash: %+v, expected %q", jobs, id)
	case len(jobs) == 0:
		return job.Record{}
	}
	return jobs[0]
}

// catalogEntry is HANA's row of a job. There is none without a job.
func (p *crashPoint) catalogEntry(id string) catalogRow {
	p.t.Helper()
	for _, row := range p.hana.catalog("HXE") {
		if row.Comment == id {
			return row
		}
		if !p.known[row.Comment] {
			p.t.Errorf("HANA has a backup that belongs to no job: %+v", row)
		}
	}
	return catalogRow{}
}

// passed is how many bytes of backups the daemon has read out of pipes.
var passed = regexp.MustCompile(`(?m)^pipestreamer_fifo_bytes_total\{direction="backup"\} \S+$`)

// expectNothingRead makes sure that the new daemon has read no pipe of the old
// one.
func (s *crashSweep) expectNothingRead() {
	s.t.Helper()
	_, text, err := s.get("/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	if found := passed.FindString(text); !strings.HasSuffix(found, " 0") {
		s.t.Errorf("bytes that the new daemon read: %q, expected 0", found)
	}
}

// visible are the objects that could be taken for those of a backup: neither
// parts of uploads nor what the daemon checks the store with.
func (s *crashSweep) visible() map[string]content {
	s.t.Helper()
	objects := s.objects()
	maps.DeleteFunc(objects, func(key string, _ content) bool { return strings.HasPrefix(key, ".pipestreamer/") })
	return objects
}

// objects are everything below the root. What the server keeps of multipart
// uploads lies elsewhere and may vanish at any time.
func (s *crashSweep) objects() map[string]content {
	s.t.Helper()
	root := s.depot.path("")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) { // the server removes empty directories
		return nil
	}
	return (&depot{base: filepath.Dir(root), root: filepath.Base(root)}).objects(s.t)
}

// expectWhole compares a backup that succeeded in HANA, manifest and store.
func (s *crashSweep) expectWhole(record job.Record) {
	s.t.Helper()
	manifest := s.manifest(record.Database, record.BackupID)
	if manifest.JobID != record.ID {
		s.t.Errorf("the manifest is of job %s, expected %s", manifest.JobID, record.ID)
	}
	s.expectCatalog(record, manifest)
	stored := s.visible()
	key := backup.ManifestKey(manifest.SID, manifest.Database, manifest.BackupID)
	if stored[key].Size == 0 {
		s.t.Errorf("the store has no manifest %s", key)
	}
	delete(stored, key)
	if diff := gocmp.Diff(objectsOf(manifest), stored); diff != "" {
		s.t.Errorf("objects (-manifest +store):\n%s", diff)
	}
	said := make(map[string]content)
	for i := range manifest.Streams {
		said[manifest.Streams[i].Path] = content{manifest.Streams[i].Size, manifest.Streams[i].SHA256}
	}
	if diff := gocmp.Diff(s.hana.written(manifest.BackupID), said); diff != "" {
		s.t.Errorf("files (-HANA wrote +manifest):\n%s", diff)
	}
}

// expectNextBackup makes a backup that has to be good.
func (s *crashSweep) expectNextBackup() {
	s.t.Helper()
	record, err := s.client.StartBackup(s.t.Context(), job.BackupRequest{Database: "HXE"}, "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.known[record.ID] = true
	if record = s.ended(s.client, record.ID); record.State != job.StateSucceeded {
		s.t.Fatalf("the next backup ended %s: %+v %q", record.State, record.Error, record.Consequences)
	}
	s.expectWhole(record)
	s.expectNoPipes()
	s.forget(record)
}

// forget removes a backup as an operator does, so that the world stays small.
func (s *crashSweep) forget(record job.Record) {
	s.t.Helper()
	s.known[record.ID] = true
	for key := range s.visible() {
		if err := os.Remove(s.depot.path(key)); err != nil {
			s.t.Error(err)
		}
	}
	rows := s.hana.catalog("HXE")
	if len(rows) > 20 {
		s.hana.statement(`BACKUP CATALOG DELETE FOR HXE ALL BEFORE BACKUP_ID %d`, rows[len(rows)-1].BackupID)
	}
}

// expectLeftUploads makes sure that the place of the killed job was swept, and
// that an upload that nobody completed or aborted is of an object whose bytes
// were at hand, where the sweep of the store looks for it.
func (p *crashPoint) expectLeftUploads() {
	p.t.Helper()
	for _, upload := range (&faultCase{world: p.world}).uploads() {
		key := strings.TrimPrefix(upload.Key, p.depot.root+"/")
		if p.uploads[upload.ID] {
			continue
		}
		below := []string{".pipestreamer/check/", backup.ManifestPrefix("HXE", "HXE")}
		if !slices.ContainsFunc(below, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
			p.t.Errorf("a multipart upload of %s is left", key)
		}
		p.uploads[upload.ID] = true
	}
	const enough = 20
	if len(p.uploads) < enough {
		return
	}
	for _, upload := range (&faultCase{world: p.world}).uploads() {
		status, text := (&faultCase{world: p.world}).askServer(http.MethodDelete, "/bucket/"+upload.Key, url.Values{"uploadId": {upload.ID}})
		if status != http.StatusNoContent {
			p.t.Errorf("abort the upload of %s: status %d\n%s", upload.Key, status, text)
		}
	}
	clear(p.uploads)
}

// expectSwept makes what crashes have left in the store older than
// store.leftoverAge; the next daemon removes it.
func (s *crashSweep) expectSwept() {
	s.t.Helper()
	s.stopDaemon()
	old := time.Now().Add(-200 * time.Hour)
	err := filepath.WalkDir(s.depot.base, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Chtimes(path, old, old)
		}
		if errors.Is(err, fs.ErrNotExist) { // the server tidies up
			return nil
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	// The server may bring a part back that it was about to write when its
	// upload was aborted; the next sweep finds it.
	const sweeps = 3
	var left []string
	for range sweeps {
		s.restart()
		deadline := time.Now().Add(patience / sweeps)
		for left = s.leftovers(); len(left) > 0 && time.Now().Before(deadline); left = s.leftovers() {
			time.Sleep(20 * time.Millisecond)
		}
		if len(left) == 0 {
			return
		}
		s.t.Logf("one sweep has left %v", left)
		s.stopDaemon()
	}
	s.t.Errorf("%d sweeps have left %v", sweeps, left)
	s.startDaemon()
}

// leftovers are the objects and unfinished uploads that the store has.
func (s *crashSweep) leftovers() []string {
	left := slices.Collect(maps.Keys(s.objects()))
	for _, upload := range (&faultCase{world: s.world}).uploads() {
		left = append(left, "upload of "+upload.Key)
	}
	return left
}
