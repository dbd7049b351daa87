package job

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// choices are bytes that decide what evidence looks like. 0, which is also what
// comes after the last byte, always decides for what a good backup looks like.
type choices struct{ rest []byte }

// pick gives one of n.
func (c *choices) pick(n int) int {
	if len(c.rest) == 0 {
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return int(b) % n
}

func (c *choices) wrong() bool { return c.pick(2) == 1 }

// strange gives a number near a right one, or far from it.
func (c *choices) strange(right int64) int64 {
	return []int64{right, right + 1, right - 1, 0, -right, right * 2, -1, 1}[c.pick(8)]
}

// count gives how often something happened that should happen once.
func (c *choices) count() int { return []int{1, 0, 2, 1000}[c.pick(4)] }

// evidenceFrom makes any evidence out of choices; no choices make that of a good
// backup of one stream.
func evidenceFrom(text []byte) evidence {
	c := &choices{text}
	e := evidence{
		plan:     backup.Plan{SID: "HXE", Database: "HXE", Kind: backup.KindComplete, Directory: "/backup", Prefix: "P"},
		entry:    &backup.CatalogEntry{BackupID: c.strange(goodID), State: c.state()},
		commit:   &commitEvidence{visible: make(map[backup.StreamID]bool), manifest: "HXE/HXE/manifests/1.json"},
		answered: !c.wrong(),
	}
	for volume := range (1 + c.pick(7)) % 7 {
		s := backup.Stream{StreamID: backup.StreamID{VolumeID: volume, PartID: 1}}
		if c.wrong() {
			s.StreamID = backup.StreamID{VolumeID: c.pick(3), PartID: c.pick(3)}
		}
		e.plan.Streams = append(e.plan.Streams, s)
		c.stream(&e, s)
	}
	c.entry(&e)
	c.commit(&e)
	for range c.pick(3) {
		code := []string{CodeUpload, CodeCanceled, CodeHANA, CodeInterrupted}[c.pick(4)]
		e.failures = append(e.failures, newError(StageStream, code, errors.New("it failed")))
	}
	return e
}

func (c *choices) state() string {
	return []string{
		backup.CatalogSuccessful, backup.CatalogFailed, backup.CatalogRunning, backup.CatalogCanceled, backup.CatalogCancelPending, "", "prepared",
	}[c.pick(7)]
}

// stream adds what was seen of one stream, and HANA's row of its file.
func (c *choices) stream(e *evidence, s backup.Stream) {
	size := int64(5000 + s.VolumeID)
	path := "/backup/" + e.plan.FileName(s.StreamID)
	seen := streamEvidence{
		stream: s,
		report: backup.StreamReport{StreamID: s.StreamID, Opens: c.count(), Complete: c.count(), Bytes: c.strange(size)},
		stored: backup.Stored{Bytes: c.strange(size), SHA256: sum},
		header: backup.Header{BackupID: c.strange(goodID), VolumeID: int(c.strange(int64(s.VolumeID)))},
	}
	first := c.strange(size)
	seen.stored.Objects = []backup.Object{{Size: first}}
	if c.wrong() { // in segments, which is right
		seen.stored.Objects = []backup.Object{{Size: first - 10}, {Size: 10}}
	}
	if c.wrong() {
		seen.stored.Objects = nil
	}
	if c.wrong() {
		seen.stored.SHA256 = ""
	}
	if c.wrong() {
		seen.report.Intrusion = "a regular file"
	}
	if c.wrong() {
		seen.headerErr = errors.New("no magic")
	}
	if c.wrong() {
		seen.stream.VolumeID++
	}
	if c.wrong() {
		seen.report.DirectOpens = 1
	}
	e.commit.visible[s.StreamID] = !c.wrong()
	for range (1 + c.pick(3)) % 3 {
		e.streams = append(e.streams, seen)
	}
	file := backup.CatalogFile{VolumeID: int(c.strange(int64(s.VolumeID))), SourceType: backup.SourceVolume, Size: c.strange(size), Path: path}
	if c.wrong() {
		file.Path = "/elsewhere" + path
	}
	for range (1 + c.pick(3)) % 3 {
		e.entry.Files = append(e.entry.Files, file)
	}
}

func (c *choices) entry(e *evidence) {
	if c.wrong() { // of the catalog itself, which is right
		e.entry.Files = append(e.entry.Files, backup.CatalogFile{SourceType: backup.SourceCatalog, Path: "/log/log_backup_0_0_0_0.1"})
	}
	if c.wrong() {
		e.entry.Files = append(e.entry.Files, backup.CatalogFile{VolumeID: 9, SourceType: backup.SourceVolume, Size: 1, Path: "/backup/P_databackup_9_1"})
	}
	switch c.pick(3) {
	case 1:
		e.entry = nil
	case 2:
		e.entry, e.entryErr = nil, backup.ErrNotFound
	}
}

func (c *choices) commit(e *evidence) {
	switch c.pick(5) {
	case 1:
		e.commit = nil
	case 2:
		e.commit.failure = newError(StageCommit, CodeCommit, errors.New("503"))
	case 3:
		e.commit.uncertain = "nobody knows"
	case 4:
		e.commit.manifest = ""
	}
}

// perfect says, in words of its own, whether everything that is known agrees.
func perfect(e evidence) bool {
	if len(e.failures) > 0 || e.entry == nil || e.entry.State != backup.CatalogSuccessful || e.entry.BackupID <= 0 ||
		e.commit == nil || e.commit.failure != nil || e.commit.uncertain != "" || e.commit.manifest == "" ||
		len(e.plan.Streams) == 0 || len(e.streams) != len(e.plan.Streams) {
		return false
	}
	files := 0
	for i := range e.entry.Files {
		if e.entry.Files[i].SourceType != backup.SourceCatalog {
			files++
		}
	}
	distinct := make(map[backup.StreamID]bool)
	for _, s := range e.plan.Streams {
		distinct[s.StreamID] = true
	}
	if len(distinct) != len(e.plan.Streams) { // one is planned twice
		return false
	}
	for _, planned := range e.plan.Streams {
		if !e.commit.visible[planned.StreamID] || !carried(e, planned.StreamID) {
			return false
		}
	}
	return files == len(e.plan.Streams)
}

// carried says whether exactly one stream and one file of the catalog are of id,
// and agree.
func carried(e evidence, id backup.StreamID) bool {
	var seen []streamEvidence
	for i := range e.streams {
		if e.streams[i].stream.StreamID == id {
			seen = append(seen, e.streams[i])
		}
	}
	var files []backup.CatalogFile
	for i := range e.entry.Files {
		if e.entry.Files[i].Path == "/backup/P_databackup_"+id.String() {
			files = append(files, e.entry.Files[i])
		}
	}
	if len(seen) != 1 || len(files) != 1 {
		return false
	}
	s, file, size := seen[0], files[0], files[0].Size
	var objects int64
	for i := range s.stored.Objects {
		objects += s.stored.Objects[i].Size
	}
	return file.VolumeID == id.VolumeID && size > 0 &&
		s.report.Opens == 1 && s.report.Complete == 1 && s.report.Bytes == size && s.report.Intrusion == "" &&
		s.stored.Bytes == size && objects == size && s.stored.SHA256 != "" &&
		s.headerErr == nil && s.header.BackupID == e.entry.BackupID && s.header.VolumeID == id.VolumeID
}

// checkVerdict holds the verdict on evidence against what has to be true of it.
func checkVerdict(t *testing.T, text []byte) State {
	t.Helper()
	e := evidenceFrom(text)
	v := judge(e)
	hanaBelieves := e.entry != nil && e.entry.State == backup.CatalogSuccessful || e.entry == nil && e.answered
	switch {
	case perfect(e) != (v.state == StateSucceeded):
		t.Errorf("choices %x: state %s because of %v, but everything agrees: %t", text, v.state, v.cause, perfect(e))
	case v.state == StateSucceeded && (v.cause != nil || len(v.consequences) > 0):
		t.Errorf("choices %x: a success because of %v, with %q", text, v.cause, v.consequences)
	case v.state == StateSucceeded:
	case v.cause == nil || v.cause.Message == "" || v.cause.Hint == "" || hintFor(v.cause.Code) == "":
		t.Errorf("choices %x: state %s without an explained cause: %+v", text, v.state, v.cause)
	case hanaBelieves != (v.state == StateLost):
		t.Errorf("choices %x: state %s, but HANA believes in the backup: %t", text, v.state, hanaBelieves)
	case len(e.failures) > 0 && v.cause != e.failures[0] && v.cause.Code != CodeDirect:
		t.Errorf("choices %x: the cause is %v, the first failure was %v", text, v.cause, e.failures[0])
	case !hanaBelieves && (v.cause.Code == CodeCanceled) != (v.state == StateCanceled):
		t.Errorf("choices %x: state %s because of %v", text, v.state, v.cause)
	}
	if again := judge(e); again.state != v.state || !reflect.DeepEqual(again.consequences, v.consequences) {
		t.Errorf("choices %x: first %+v, then %+v", text, v, again)
	}
	if untouched := evidenceFrom(text); !reflect.DeepEqual(summary(untouched), summary(e)) {
		t.Errorf("choices %x: judge has changed its evidence", text)
	}
	return v.state
}

// summary is evidence without its errors, whose stacks of causes compare by
// identity.
func summary(e evidence) evidence {
	for i := range e.failures {
		e.failures[i] = &Error{Code: e.failures[i].Code}
	}
	if e.commit != nil && e.commit.failure != nil {
		e.commit.failure = &Error{Code: e.commit.failure.Code}
	}
	return e
}

// TestJudgeProperty judges random evidence, most of which differs from that of a
// good backup in a few places.
func TestJudgeProperty(t *testing.T) {
	t.Parallel()
	reached := make(map[State]int)
	for seed := range uint64(10_000) {
		d := rand.New(rand.NewPCG(seed, 6))
		text := make([]byte, d.IntN(160))
		density := []int{0, 1, 3, 10, 60}[d.IntN(5)]
		for i := range text {
			if d.IntN(100) < density {
				text[i] = byte(d.IntN(256))
			}
		}
		if len(text) > 3 && d.IntN(2) == 0 {
			text[3] = byte(d.IntN(6)) // more streams
		}
		reached[checkVerdict(t, text)]++
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
	if len(reached) != 4 || reached[StateSucceeded] < 300 {
		t.Errorf("the evidence is too much alike: %v", reached)
	}
}

// FuzzJudge looks for evidence that is judged wrongly.
func FuzzJudge(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{0, 0, 0, 5})
	f.Add([]byte{0, 1, 1, 2, 1})
	f.Add([]byte(strings.Repeat("\x00\x01", 80)))
	f.Add([]byte("01021110000000000001000001")) // one stream is planned twice
	f.Fuzz(func(t *testing.T, text []byte) { checkVerdict(t, text) })
}
