package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// evidence is everything that is known about a backup when HANA and all
// streams have ended.
type evidence struct {
	plan backup.Plan
	// base is the backup on which a delta should build.
	base *backup.Manifest
	// failures in the order in which they happened.
	failures []*Error
	// answered says that HANA itself reported success to the statement.
	answered bool
	// entry is HANA's record of the backup, nil when there is none or it could
	// not be read; then entryErr says why.
	entry    *backup.CatalogEntry
	entryErr error
	streams  []streamEvidence
	// commit is what came of making the objects visible, nil when that was not
	// tried.
	commit *commitEvidence
}

// commitEvidence is what the store said at the end.
type commitEvidence struct {
	// visible are the streams whose objects are all visible and checked.
	visible map[backup.StreamID]bool
	// manifest is the key of the manifest, empty when it is not written.
	manifest string
	// failure is what went wrong first.
	failure *Error
	// uncertain says why it is not known whether a manifest is visible; the
	// objects that it would name must stay then.
	uncertain string
}

// streamEvidence is what is known about one stream of the plan.
type streamEvidence struct {
	stream backup.Stream
	report backup.StreamReport
	stored backup.Stored
	// header is of the first bytes; headerErr says why there is none.
	header    backup.Header
	headerErr error
}

// verdict is what HANA, its catalog, the streams and the store together say.
// StateRunning stands for none yet: the next process has to find out.
type verdict struct {
	state        State
	unknown      bool // HANA may believe in a backup that has failed
	cause        *Error
	consequences []string
}

// judge decides from the evidence alone. It gives StateSucceeded only when
// HANA, its catalog, every stream and the store agree, and the manifest is
// written. A backup that HANA's catalog calls successful is never just failed:
// it is lost.
func judge(e evidence) verdict {
	failures := slices.Clone(e.failures)
	if refused := directRefused(e); refused != nil {
		failures = append([]*Error{refused}, failures...)
	}
	switch {
	case len(failures) == 0:
		failures = mismatches(e)
	case e.entry == nil:
		failures = append(failures, catalogMissing(e))
	}
	if len(failures) == 0 || e.commit != nil {
		failures = append(failures, uncommitted(e)...)
	}
	v := verdictOf(failures...)
	switch {
	case v.state == StateSucceeded:
	case believed(e):
		v.state = StateLost
	default:
		v.unknown = unknown(e)
	}
	return v
}

// unknown says whether it could not be found out if HANA takes the backup for a
// good one: its catalog was not to be had, and HANA has not refused.
func unknown(e evidence) bool {
	if e.entry != nil || errors.Is(e.entryErr, backup.ErrNotFound) {
		return false
	}
	return !refused(e.failures)
}

// refused says whether HANA has had its last word and it was no.
func refused(failures []*Error) bool {
	return slices.ContainsFunc(failures, func(f *Error) bool { return f.Err != nil && isFinal(f.Err) })
}

// codeCannotOpen is HANA's inner code for a file that it cannot open.
const codeCannotOpen = 2000004

// saysInvalid says whether HANA reports EINVAL (22) of a file that it opened.
func saysInvalid(f *Error) bool {
	return slices.Contains(f.HANAInner, codeCannotOpen) && strings.Contains(f.Message, "rc=22")
}

// directRefused explains a failure that HANA reports as EINVAL: it has opened
// the pipe of a stream with O_DIRECT only. nil when that is not what happened.
func directRefused(e evidence) *Error {
	if len(e.failures) == 0 || e.failures[0].Code != CodeHANA || !saysInvalid(e.failures[0]) {
		return nil
	}
	for i := range e.streams {
		s := &e.streams[i]
		if s.report.DirectOpens > 0 && s.report.Opens == 0 {
			refused := streamError(StageStream, s.stream.StreamID, CodeDirect, errors.New("HANA opened the pipe with O_DIRECT, which a pipe refuses (EINVAL)"))
			refused.HANACode, refused.HANAInner = e.failures[0].HANACode, e.failures[0].HANAInner
			return refused
		}
	}
	return nil
}

// sound says whether everything but the commit speaks for a good backup. Only
// then anything may become visible.
func sound(e evidence) bool { return len(e.failures) == 0 && len(mismatches(e)) == 0 }

// uncommitted lists what is missing in the store.
func uncommitted(e evidence) []*Error {
	if e.commit == nil {
		return []*Error{newError(StageCommit, CodeCommit, errors.New("the objects were not made visible"))}
	}
	var found []*Error
	if e.commit.failure != nil {
		found = append(found, e.commit.failure)
	}
	if e.commit.uncertain != "" {
		found = append(found, newError(StageCommit, CodeUnwritten, errors.New(e.commit.uncertain)))
	}
	if len(found) > 0 {
		return found
	}
	for _, s := range e.plan.Streams {
		if !e.commit.visible[s.StreamID] {
			found = append(found, streamError(StageCommit, s.StreamID, CodeCommit, errors.New("its objects were not made visible")))
		}
	}
	if e.commit.manifest == "" {
		found = append(found, newError(StageCommit, CodeUnwritten, errors.New("it was not written")))
	}
	return found
}

// believed says whether HANA takes this backup for a good one. What it answered
// counts unless its catalog says otherwise.
func believed(e evidence) bool {
	if e.entry != nil {
		return e.entry.State == backup.CatalogSuccessful
	}
	return e.answered
}

func catalogMissing(e evidence) *Error {
	if e.entryErr == nil {
		return newError(StageSettle, CodeCatalogMissing, errors.New("the catalog has no entry"))
	}
	return newError(StageSettle, CodeCatalogMissing, fmt.Errorf("the catalog was asked: %w", e.entryErr))
}

// verdictOf is the verdict on a job that either did everything or failed, as
// far as HANA's catalog has no say. The first failure is the cause.
func verdictOf(failures ...*Error) verdict {
	if len(failures) == 0 {
		return verdict{state: StateSucceeded}
	}
	v := verdict{state: StateFailed, cause: failures[0]}
	if v.cause.Code == CodeCanceled {
		v.state = StateCanceled
	}
	for _, f := range failures[1:] {
		v.consequences = append(v.consequences, consequence(v.cause, f))
	}
	return v
}

// consequence words a failure that came after the cause. HANA cannot know why a
// pipe broke, so its complaint is told together with the reason.
func consequence(cause, f *Error) string {
	brokenPipe := slices.ContainsFunc(f.HANAInner, func(code int) bool { return code == 2000008 || code == 110203 })
	switch {
	case !brokenPipe || cause.HANACode != 0:
		return f.Error()
	case cause.Stream != "":
		return fmt.Sprintf("EPIPE at HANA because stream %s was given up (%s): %s", cause.Stream, cause.Code, f.Message)
	default:
		return fmt.Sprintf("EPIPE at HANA because the backup was given up (%s): %s", cause.Code, f.Message)
	}
}

// mismatches lists every difference between catalog, plan and streams.
func mismatches(e evidence) []*Error {
	if e.entry == nil {
		return []*Error{catalogMissing(e)}
	}
	if e.entry.State != backup.CatalogSuccessful {
		return []*Error{newError(StageSettle, CodeCatalog,
			fmt.Errorf("the catalog calls backup %d %s: %s", e.entry.BackupID, e.entry.State, e.entry.Message))}
	}
	var found []*Error
	if e.entry.BackupID <= 0 {
		found = append(found, newError(StageSettle, CodeCatalog, fmt.Errorf("the catalog gives backup id %d", e.entry.BackupID)))
	}
	found = append(found, fileMismatches(e)...)
	if isDelta(e.plan.Kind) {
		if err := baseMismatch(e); err != nil {
			found = append(found, newError(StageSettle, CodeBaseForeign, err))
		}
	}
	for i := range e.streams {
		s := &e.streams[i]
		if s.report.Intrusion != "" {
			// Whether the watch or this look is the first to see it is chance.
			found = append(found, streamError(StageSettle, s.stream.StreamID, CodeIntrusion, errors.New(s.report.Intrusion)))
		} else if err := streamMismatch(s); err != nil {
			found = append(found, streamError(StageSettle, s.stream.StreamID, CodeStream, err))
		} else if err := headerMismatch(s, e.entry.BackupID); err != nil {
			found = append(found, streamError(StageSettle, s.stream.StreamID, CodeHeader, err))
		}
	}
	return found
}

// fileMismatches pairs catalog files and streams by path: each has exactly one
// of the other, of the same volume and size.
func fileMismatches(e evidence) []*Error {
	var found []*Error
	complain := func(id backup.StreamID, format string, args ...any) {
		found = append(found, streamError(StageSettle, id, CodeCatalog, fmt.Errorf(format, args...)))
	}
	streams := make(map[string]*streamEvidence, len(e.streams))
	for i := range e.streams {
		s := &e.streams[i]
		streams[e.plan.Directory+"/"+e.plan.FileName(s.stream.StreamID)] = s
	}
	if len(e.plan.Streams) == 0 || len(streams) != len(e.plan.Streams) || len(e.streams) != len(e.plan.Streams) {
		found = append(found, newError(StageSettle, CodeStream,
			fmt.Errorf("%d streams were seen, %d were planned", len(e.streams), len(e.plan.Streams))))
	}
	for i := range e.entry.Files {
		file := &e.entry.Files[i]
		if file.SourceType == backup.SourceCatalog {
			continue
		}
		s := streams[file.Path]
		delete(streams, file.Path)
		switch {
		case s == nil:
			found = append(found, newError(StageSettle, CodeCatalog,
				fmt.Errorf("the catalog has file %s of volume %d, which no stream carried", file.Path, file.VolumeID)))
		case file.VolumeID != s.stream.VolumeID:
			complain(s.stream.StreamID, "the catalog says that file %s is of volume %d", file.Path, file.VolumeID)
		case file.Size != s.stored.Bytes:
			complain(s.stream.StreamID, "the catalog says %d bytes, the store has %d", file.Size, s.stored.Bytes)
		}
	}
	for i := range e.streams {
		path := e.plan.Directory + "/" + e.plan.FileName(e.streams[i].stream.StreamID)
		if streams[path] != nil {
			complain(e.streams[i].stream.StreamID, "the catalog has no file %s", path)
		}
	}
	return found
}

// streamMismatch is what a stream saw that a complete one would not have.
func streamMismatch(s *streamEvidence) error {
	var objects int64
	for i := range s.stored.Objects {
		objects += s.stored.Objects[i].Size
	}
	switch r := s.report; {
	case r.Opens == 0:
		return errors.New("HANA never wrote to it")
	case r.Opens != 1:
		return fmt.Errorf("HANA opened it %d times", r.Opens)
	case r.Complete != 1:
		return fmt.Errorf("its end was seen %d times", r.Complete)
	case s.stored.Bytes <= 0 || !checkable(&s.stored):
		return errors.New("the store has nothing of it")
	case r.Bytes != s.stored.Bytes:
		return fmt.Errorf("%d bytes came from HANA, the store has %d", r.Bytes, s.stored.Bytes)
	case objects != s.stored.Bytes && len(backup.EncodingOf(s.stored.Objects)) == 0:
		return fmt.Errorf("the objects have %d bytes, the stream %d", objects, s.stored.Bytes)
	}
	return nil
}

// checkable tells whether what is stored can be compared when it is read back.
func checkable(s *backup.Stored) bool {
	crc := len(s.Objects) > 0
	for i := range s.Objects {
		for _, part := range s.Objects[i].Parts {
			crc = crc && part.CRC64NVME != ""
		}
		crc = crc && len(s.Objects[i].Parts) > 0
	}
	return crc || s.SHA256 != ""
}

func headerMismatch(s *streamEvidence, backupID int64) error {
	switch {
	case s.headerErr != nil:
		return s.headerErr
	case s.header.BackupID != backupID:
		return fmt.Errorf("its header carries backup id %d, the catalog says %d", s.header.BackupID, backupID)
	case s.header.VolumeID != s.stream.VolumeID:
		return fmt.Errorf("its header says volume %d", s.header.VolumeID)
	}
	return nil
}
