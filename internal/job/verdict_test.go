package job

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const goodID = 1795230245000

var sum = strings.Repeat("5a", 32)

// goodEvidence is of a backup of three streams in which everything agrees.
func goodEvidence() evidence {
	e := evidence{
		plan:  backup.Plan{SID: "HXE", Database: "HXE", Kind: backup.KindComplete, Directory: "/backup", Prefix: "P"},
		entry: &backup.CatalogEntry{EntryID: 1, BackupID: goodID, State: backup.CatalogSuccessful, Message: "<ok>"},
	}
	for volume, size := range []int64{4097, 1 << 20, 3 << 30} {
		s := backup.Stream{StreamID: backup.StreamID{VolumeID: volume, PartID: 1}, Service: "indexserver", Host: "h"}
		path := "/backup/" + e.plan.FileName(s.StreamID)
		source := backup.SourceVolume
		if volume == backup.TopologyVolume {
			source = backup.SourceTopology
		}
		e.plan.Streams = append(e.plan.Streams, s)
		e.entry.Files = append(e.entry.Files, backup.CatalogFile{VolumeID: volume, SourceType: source, Size: size, Path: path})
		e.streams = append(e.streams, streamEvidence{
			stream: s,
			report: backup.StreamReport{StreamID: s.StreamID, Path: path, Opens: 1, Complete: 1, Bytes: size},
			stored: backup.Stored{Bytes: size, SHA256: sum, Objects: []backup.Object{{Size: size}}},
			header: backup.Header{BackupID: goodID, VolumeID: volume},
		})
	}
	e.commit = &commitEvidence{manifest: "HXE/HXE/manifests/1795230245000.json", visible: make(map[backup.StreamID]bool)}
	for _, s := range e.plan.Streams {
		e.commit.visible[s.StreamID] = true
	}
	e.entry.Files = append(e.entry.Files, backup.CatalogFile{SourceType: backup.SourceCatalog, Size: 12288, Path: "/log/log_backup_0_0_0_0.1795230245000"})
	return e
}

func TestJudgeGoodBackup(t *testing.T) {
	t.Parallel()
	if v := judge(goodEvidence()); v.state != StateSucceeded || v.cause != nil || v.consequences != nil {
		t.Errorf("got %+v", v)
	}
}

// faults are single differences to a good backup. lost says whether HANA's
// catalog still calls it successful.
var faults = []struct {
	name  string
	spoil func(*evidence)
	state State
	code  string
}{
	{"catalog entry missing", func(e *evidence) { e.entry, e.entryErr = nil, backup.ErrNotFound }, StateFailed, CodeCatalogMissing},
	{"catalog entry missing without a reason", func(e *evidence) { e.entry = nil }, StateFailed, CodeCatalogMissing},
	{"catalog entry missing after HANA reported success", func(e *evidence) { e.entry, e.answered = nil, true }, StateLost, CodeCatalogMissing},
	{"catalog says failed although HANA reported success", func(e *evidence) { e.entry.State, e.answered = backup.CatalogFailed, true }, StateFailed, CodeCatalog},
	{"a failure after which the catalog is away", func(e *evidence) {
		e.failures = []*Error{newError(StageStream, CodeUpload, errors.New("403"))}
		e.entry, e.entryErr = nil, errors.New("connection refused")
	}, StateFailed, CodeUpload},
	{"catalog says failed", func(e *evidence) { e.entry.State = backup.CatalogFailed }, StateFailed, CodeCatalog},
	{"catalog says running", func(e *evidence) { e.entry.State = backup.CatalogRunning }, StateFailed, CodeCatalog},
	{"catalog says nothing", func(e *evidence) { e.entry.State = "" }, StateFailed, CodeCatalog},
	{"catalog without backup id", func(e *evidence) { e.entry.BackupID = 0 }, StateLost, CodeCatalog},
	{"catalog file missing", func(e *evidence) { e.entry.Files = e.entry.Files[1:] }, StateLost, CodeCatalog},
	{"catalog without files", func(e *evidence) { e.entry.Files = nil }, StateLost, CodeCatalog},
	{"extra catalog file", func(e *evidence) {
		e.entry.Files = append(e.entry.Files, backup.CatalogFile{VolumeID: 9, SourceType: backup.SourceVolume, Size: 1, Path: "/backup/P_databackup_9_1"})
	}, StateLost, CodeCatalog},
	{"catalog file twice", func(e *evidence) { e.entry.Files = append(e.entry.Files, e.entry.Files[0]) }, StateLost, CodeCatalog},
	{"catalog file elsewhere", func(e *evidence) { e.entry.Files[1].Path = "/other/P_databackup_1_1" }, StateLost, CodeCatalog},
	{"catalog file of another volume", func(e *evidence) { e.entry.Files[1].VolumeID = 2 }, StateLost, CodeCatalog},
	{"catalog says more bytes", func(e *evidence) { e.entry.Files[2].Size++ }, StateLost, CodeCatalog},
	{"catalog says fewer bytes", func(e *evidence) { e.entry.Files[2].Size-- }, StateLost, CodeCatalog},
	{"stream short in pipe and store", func(e *evidence) {
		s := &e.streams[1]
		s.report.Bytes, s.stored.Bytes, s.stored.Objects[0].Size = 100, 100, 100
	}, StateLost, CodeCatalog},
	{"stream short in the store", func(e *evidence) { e.streams[1].stored.Bytes = 100 }, StateLost, CodeCatalog},
	{"objects short", func(e *evidence) { e.streams[1].stored.Objects[0].Size-- }, StateLost, CodeStream},
	{"stream not in the store", func(e *evidence) { e.streams[1].stored = backup.Stored{} }, StateLost, CodeCatalog},
	{"stream without a hash", func(e *evidence) { e.streams[1].stored.SHA256 = "" }, StateLost, CodeStream},
	{"stream never opened", func(e *evidence) { e.streams[1].report.Opens = 0 }, StateLost, CodeStream},
	{"stream opened twice", func(e *evidence) { e.streams[1].report.Opens = 2 }, StateLost, CodeStream},
	{"stream without an end", func(e *evidence) { e.streams[1].report.Complete = 0 }, StateLost, CodeStream},
	{"stream with two ends", func(e *evidence) { e.streams[1].report.Complete = 2 }, StateLost, CodeStream},
	{"stream with an intruder", func(e *evidence) { e.streams[1].report.Intrusion = "a regular file" }, StateLost, CodeIntrusion},
	{"stream not seen at all", func(e *evidence) { e.streams = e.streams[:2] }, StateLost, CodeStream},
	{"no streams seen", func(e *evidence) { e.streams = nil }, StateLost, CodeStream},
	{"header missing", func(e *evidence) { e.streams[0].headerErr = errors.New("no magic") }, StateLost, CodeHeader},
	{"header of another backup", func(e *evidence) { e.streams[0].header.BackupID++ }, StateLost, CodeHeader},
	{"header of another volume", func(e *evidence) { e.streams[0].header.VolumeID = 2 }, StateLost, CodeHeader},
	{"nothing committed", func(e *evidence) { e.commit = nil }, StateLost, CodeCommit},
	{"a stream not committed", func(e *evidence) { delete(e.commit.visible, e.plan.Streams[1].StreamID) }, StateLost, CodeCommit},
	{"the store refused at the end", func(e *evidence) {
		e.commit.failure, e.commit.manifest = newError(StageCommit, CodeCommit, errors.New("403")), ""
	}, StateLost, CodeCommit},
	{"manifest not written", func(e *evidence) { e.commit.manifest = "" }, StateLost, CodeUnwritten},
	{"manifest perhaps written", func(e *evidence) { e.commit.uncertain = "503" }, StateLost, CodeUnwritten},
	{"a failure that HANA noticed", func(e *evidence) {
		e.failures = []*Error{newError(StageStream, CodeUpload, errors.New("403"))}
		e.entry.State = backup.CatalogFailed
	}, StateFailed, CodeUpload},
	{"HANA refuses a pipe because of O_DIRECT", func(e *evidence) {
		e.failures = []*Error{newError(StageTrigger, CodeHANA, &backup.HANAError{Code: 447, Inner: []int{2000004}, Text: "rc=22"})}
		e.entry.State = backup.CatalogFailed
		e.streams[1].report = backup.StreamReport{StreamID: e.streams[1].stream.StreamID, EmptyOpens: 1, DirectOpens: 1}
	}, StateFailed, CodeDirect},
	{"HANA tries O_DIRECT and fails before it goes on without", func(e *evidence) {
		e.failures = []*Error{newError(StageTrigger, CodeHANA, &backup.HANAError{Code: 447, Inner: []int{2000004}, Text: "rc=28"})}
		e.entry.State = backup.CatalogFailed
		e.streams[1].report = backup.StreamReport{StreamID: e.streams[1].stream.StreamID, EmptyOpens: 1, DirectOpens: 1}
	}, StateFailed, CodeHANA},
	{"HANA tries O_DIRECT, goes on without, and fails", func(e *evidence) {
		e.failures = []*Error{newError(StageTrigger, CodeHANA, &backup.HANAError{Code: 447, Inner: []int{2000008}, Text: "rc=28"})}
		e.entry.State = backup.CatalogFailed
		e.streams[1].report.EmptyOpens, e.streams[1].report.DirectOpens = 1, 1
	}, StateFailed, CodeHANA},
	{"a failure that HANA did not notice", func(e *evidence) {
		e.failures = []*Error{newError(StageStream, CodeUpload, errors.New("403"))}
	}, StateLost, CodeUpload},
	{"a cancellation", func(e *evidence) {
		e.failures = []*Error{newError(StageStream, CodeCanceled, errCancelRequested)}
		e.entry.State = backup.CatalogCanceled
	}, StateCanceled, CodeCanceled},
	{"a cancellation that came too late for HANA", func(e *evidence) {
		e.failures = []*Error{newError(StageStream, CodeCanceled, errCancelRequested)}
	}, StateLost, CodeCanceled},
}

func TestJudgeFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			e := goodEvidence()
			fault.spoil(&e)
			v := judge(e)
			if v.state != fault.state || v.cause == nil || v.cause.Code != fault.code {
				t.Fatalf("got %s because of %v, expected %s because of %s", v.state, v.cause, fault.state, fault.code)
			}
			if v.cause.Message == "" || v.cause.Hint == "" {
				t.Errorf("the cause has no message or no hint: %+v", v.cause)
			}
		})
	}
}

// TestJudgeNeverCallsAFaultGood combines faults at random: no combination
// makes a backup succeed, and what HANA believes in is never merely failed.
func TestJudgeNeverCallsAFaultGood(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5000) {
		random := rand.New(rand.NewPCG(seed, 1))
		e := goodEvidence()
		var names []string
		func() {
			defer func() {
				if recover() != nil { // an earlier fault took away what this one spoils
					names = append(names, "(not applicable)")
				}
			}()
			for range 1 + random.IntN(4) {
				fault := faults[random.IntN(len(faults))]
				names = append(names, fault.name)
				fault.spoil(&e)
			}
		}()
		v := judge(e)
		if v.state == StateSucceeded && undone(e) {
			continue
		}
		if v.state == StateSucceeded || v.cause == nil || believed(e) != (v.state == StateLost) {
			t.Fatalf("seed %d, %s: got %+v, HANA believes: %t", seed, fmt.Sprint(names), v, believed(e))
		}
	}
}

// undone says that the faults cancelled each other out: nothing differs from a
// good backup but the order of the catalog's files.
func undone(e evidence) bool {
	good := goodEvidence()
	for _, entry := range []*backup.CatalogEntry{good.entry, e.entry} {
		slices.SortFunc(entry.Files, func(a, b backup.CatalogFile) int { return strings.Compare(a.Path, b.Path) })
	}
	return reflect.DeepEqual(good, e)
}

// TestUnknownOutcome: only HANA's word about the backup settles whether it may
// believe in it.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	refusal := func(statement string) error {
		return &backup.HANAError{Code: 258, Text: "insufficient privilege", Statement: statement}
	}
	reset := errors.New("connection reset")
	for _, test := range []struct {
		name     string
		failure  error
		entryErr error
		unknown  bool
	}{
		{"the answer and the catalog are lost", reset, reset, true},
		{"the answer is lost and the catalog refuses", fmt.Errorf("%w; then the catalog: %w", reset, refusal("SELECT")), refusal("SELECT"), true},
		{"the answer is lost and the catalog has no such backup", reset, backup.ErrNotFound, false},
		{"HANA refuses", refusal("BACKUP DATA"), reset, false},
		{"the statement was not sent", backup.ErrNotSent, reset, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := goodEvidence()
			e.failures = []*Error{newError(StageTrigger, CodeAnswerUnknown, test.failure)}
			e.entry, e.entryErr, e.commit = nil, test.entryErr, nil
			if v := judge(e); v.state != StateFailed || v.unknown != test.unknown {
				t.Errorf("got %s, unknown: %t", v.state, v.unknown)
			}
		})
	}
}

func TestCodesAreComplete(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, info := range Codes() {
		if seen[info.Code] {
			t.Errorf("code %s is listed twice", info.Code)
		}
		seen[info.Code] = true
		if info.Meaning == "" || info.Reason == "" || info.Action == "" {
			t.Errorf("code %s is not explained", info.Code)
		}
	}
}
