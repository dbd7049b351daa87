package e2e

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// expectAgreement compares, entry by entry, what HANA's catalog says of a
// backup, what the simulator says that it wrote, what the manifest says, and
// what lies in the store: every file in each of them, of one size, one
// SHA-256, and nothing else. others are the backups that lie in the store too.
func (w *world) expectAgreement(record job.Record, others ...*backup.Manifest) *backup.Manifest {
	w.t.Helper()
	manifest := w.manifest(record.Database, record.BackupID)
	w.expectCatalog(record, manifest)

	// HANA's word against the manifest's, by path.
	said := make(map[string]content)
	for i := range manifest.Streams {
		s := &manifest.Streams[i]
		said[s.Path] = content{s.Size, s.SHA256}
	}
	if diff := gocmp.Diff(w.hana.written(manifest.BackupID), said); diff != "" {
		w.t.Errorf("files (-HANA wrote +manifest):\n%s", diff)
	}

	// The store against the manifests, by key.
	expected := make(map[string]content)
	for _, m := range append(others, manifest) {
		maps.Copy(expected, objectsOf(m))
	}
	stored := w.depot.objects(w.t)
	for _, m := range append(others, manifest) {
		key := backup.ManifestKey(m.SID, m.Database, m.BackupID)
		if stored[key].Size == 0 {
			w.t.Errorf("the store has no manifest %s", key)
		}
		delete(stored, key)
	}
	if diff := gocmp.Diff(expected, stored); diff != "" {
		w.t.Errorf("objects (-manifests +store):\n%s", diff)
	}

	// The streams against the bytes in the store.
	for i := range manifest.Streams {
		s := &manifest.Streams[i]
		if len(backup.EncodingOf(s.Objects)) > 0 {
			continue // a restore compares them
		}
		got := stored[s.Objects[0].Key]
		if len(s.Objects) > 1 {
			got = w.joined(s.Objects)
		}
		if want := (content{s.Size, s.SHA256}); got != want {
			w.t.Errorf("stream %s is %+v in the store, %+v in the manifest", s.StreamID, got, want)
		}
	}
	w.expectNoPipes()
	return manifest
}

// joined reads the objects of one stream, one after the other.
func (w *world) joined(objects []backup.Object) content {
	w.t.Helper()
	var paths []string
	for i := range objects {
		paths = append(paths, w.depot.path(objects[i].Key))
	}
	c, err := digest(paths...)
	if err != nil {
		w.t.Error(err)
	}
	return c
}

func objectsOf(m *backup.Manifest) map[string]content {
	objects := make(map[string]content)
	for i := range m.Streams {
		for _, o := range m.Streams[i].Objects {
			objects[o.Key] = content{o.Size, o.SHA256}
		}
	}
	return objects
}

// expectCatalog compares HANA's catalog with the job and the manifest.
func (w *world) expectCatalog(record job.Record, manifest *backup.Manifest) {
	w.t.Helper()
	rows := w.hana.catalog(record.Database)
	i := slices.IndexFunc(rows, func(row catalogRow) bool { return row.BackupID == record.BackupID })
	if i < 0 {
		w.t.Fatalf("HANA's catalog has no backup %d: %+v", record.BackupID, rows)
	}
	row := rows[i]
	comment := record.ID
	if record.Attempt > 1 {
		comment += "_" + strconv.Itoa(record.Attempt)
	}
	want := catalogRow{BackupID: record.BackupID, State: "successful", Type: "complete data backup", Comment: comment, Files: row.Files}
	if diff := gocmp.Diff(want, row); diff != "" {
		w.t.Errorf("catalog row (-want +got):\n%s", diff)
	}
	byPath := func(a, b backup.CatalogFile) int { return cmp.Compare(a.Path, b.Path) }
	slices.SortFunc(row.Files, byPath)
	inManifest := slices.SortedFunc(slices.Values(manifest.Catalog.Files), byPath)
	for i := range inManifest { // what a recovery with it shows
		inManifest[i].RedoLogPosition = 0
	}
	if diff := gocmp.Diff(row.Files, inManifest); diff != "" {
		w.t.Errorf("catalog files (-HANA +manifest):\n%s", diff)
	}
	var fromCatalog, fromStreams []backup.CatalogFile
	for _, file := range row.Files { //nolint:gocritic // it is changed below
		if file.SourceType != backup.SourceCatalog {
			file.SourceType = ""
			fromCatalog = append(fromCatalog, file)
		}
	}
	for i := range manifest.Streams {
		s := &manifest.Streams[i]
		fromStreams = append(fromStreams, backup.CatalogFile{
			VolumeID: s.VolumeID, Service: s.Service, Host: s.Host, Size: s.Size, DestinationType: "file", Path: s.Path,
		})
	}
	slices.SortFunc(fromStreams, byPath)
	if diff := gocmp.Diff(fromCatalog, fromStreams); diff != "" {
		w.t.Errorf("streams (-catalog +manifest):\n%s", diff)
	}
}

// expectNothingStored fails the test when the store holds anything at all.
func (w *world) expectNothingStored() {
	w.t.Helper()
	if stored := w.depot.objects(w.t); len(stored) > 0 {
		w.t.Errorf("in the store: %v", slices.Sorted(maps.Keys(stored)))
	}
}

// expectCause checks why a job failed.
func expectCause(t *testing.T, record job.Record, state job.State, code string) {
	t.Helper()
	if record.State != state || record.Error == nil || record.Error.Code != code {
		t.Fatalf("the job ended %s with %+v, expected %s with code %s (consequences: %q)", record.State, record.Error, state, code, record.Consequences)
	}
	if record.Error.Message == "" || record.Error.Hint == "" {
		t.Errorf("the cause has no message or no hint: %+v", record.Error)
	}
}
