package job

import (
	"errors"
	"strconv"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// modelFault is one thing that may go wrong. codes are the first causes that a
// job may end with when only this happens; a backup may also get through.
type modelFault struct {
	name  string
	codes []string
	draw  func(d draw, s *modelSchedule)
}

// modelCompany are causes that a fault may have only beside another: what HANA
// fails of is read in the catalog when its answer is lost, and a service that
// dies takes those with it that have not begun.
var modelCompany = []string{CodeCatalog, CodeUnopened, CodeIdle}

// modelFaults are drawn from with equal chances.
var modelFaults = append(append(append(hanaFaults, streamFaults...), storeFaults...), outsideFaults...)

var hanaFaults = []modelFault{
	{"HANA allows no backup", []string{CodeHANA, CodePlan, CodeBackupRunning, CodeNotPrimary}, func(d draw, s *modelSchedule) {
		s.hana.planErr = []error{
			&backup.HANAError{Code: 258, Text: "insufficient privilege", Statement: "SELECT"}, errModelRefused, backup.ErrBusy, backup.ErrNotPrimary,
		}[d.IntN(4)]
	}},
	{"another system answers", []string{CodeWrongSystem}, func(_ draw, s *modelSchedule) { s.hana.otherSID = true }},
	{"the statement is not sent", []string{CodeUnreachable}, func(_ draw, s *modelSchedule) { s.hana.start = startNotSent }},
	{"HANA refuses the statement", []string{CodeHANA}, func(_ draw, s *modelSchedule) { s.hana.start = startRefused }},
	{"HANA fails after all bytes", []string{CodeHANA}, func(_ draw, s *modelSchedule) { s.hana.failsAtEnd = true }},
	{"HANA answers success and records a failure", []string{CodeCatalog}, func(_ draw, s *modelSchedule) { s.hana.lies = true }},
	{"HANA answers an error and records success", []string{CodeHANA}, func(_ draw, s *modelSchedule) { s.hana.complains = true }},
	{"the connection is lost", []string{CodeAnswerUnknown}, func(d draw, s *modelSchedule) {
		s.hana.answer, s.hana.answerDelay = answerLost, d.upTo(2*time.Second)
	}},
	{"HANA never answers", []string{CodeAnswerUnknown}, func(_ draw, s *modelSchedule) { s.hana.answer = answerNever }},
	{"HANA answers late", []string{CodeAnswerUnknown}, func(d draw, s *modelSchedule) { s.hana.answerDelay = d.upTo(9 * time.Second) }},
	{"HANA starts late", []string{CodeUnopened}, func(d draw, s *modelSchedule) { s.hana.begin = d.upTo(12 * time.Second) }},
	{"HANA takes long to finish", []string{CodeAnswerUnknown}, func(d draw, s *modelSchedule) { s.hana.finish = d.upTo(15 * time.Second) }},
	{"no catalog row", []string{CodeCatalogMissing}, func(_ draw, s *modelSchedule) { s.hana.rowNever = true }},
	{"a late catalog row", []string{CodeCatalogMissing}, func(d draw, s *modelSchedule) { s.hana.rowAppears = d.upTo(10 * time.Second) }},
	{"a catalog row that stays running", []string{CodeCatalogMissing}, func(d draw, s *modelSchedule) { s.hana.rowSettles = d.upTo(15 * time.Second) }},
	{"the catalog is away", []string{CodeCatalogMissing}, func(d draw, s *modelSchedule) {
		s.hana.away.from = d.upTo(4 * time.Second)
		s.hana.away.to = s.hana.away.from + d.upTo(12*time.Second)
		s.hana.awayHangs = d.often(30)
	}},
	{"the catalog is away for ever", []string{CodeCatalogMissing}, func(d draw, s *modelSchedule) {
		s.hana.away = window{d.upTo(4 * time.Second), always.to}
		s.hana.awayHangs = d.often(30)
	}},
	{"a catalog row that disagrees", []string{CodeCatalog, CodeHeader}, func(d draw, s *modelSchedule) {
		s.hana.distort = distortions[d.IntN(len(distortions))]
	}},
	{"HANA cannot be asked to cancel", nil, func(d draw, s *modelSchedule) {
		s.hana.cancelHangs = d.often(50)
		s.hana.cancelFails = !s.hana.cancelHangs
	}},
	{"HANA ignores the wish to cancel", nil, func(_ draw, s *modelSchedule) { s.hana.cancelIgnored = true }},
	{"HANA cancels late", nil, func(d draw, s *modelSchedule) { s.hana.cancelTakes = d.upTo(12 * time.Second) }},
}

// distortions are what a row of a successful backup may have wrong.
var distortions = []func(*backup.CatalogEntry){
	func(e *backup.CatalogEntry) { e.BackupID++ },
	func(e *backup.CatalogEntry) { e.BackupID = 0 },
	func(e *backup.CatalogEntry) { e.BackupID = -e.BackupID },
	func(e *backup.CatalogEntry) { e.Files = nil },
	func(e *backup.CatalogEntry) { e.Files = e.Files[1:] },
	func(e *backup.CatalogEntry) { e.Files[0].Size++ },
	func(e *backup.CatalogEntry) { e.Files[0].Size-- },
	func(e *backup.CatalogEntry) { e.Files[0].VolumeID += 7 },
	func(e *backup.CatalogEntry) { e.Files[0].Path += "0" },
	func(e *backup.CatalogEntry) { e.Files = append(e.Files, e.Files[0]) },
	func(e *backup.CatalogEntry) {
		extra := e.Files[0]
		extra.VolumeID, extra.Path = 99, extra.Path+"9"
		e.Files = append(e.Files, extra)
	},
	func(e *backup.CatalogEntry) {
		second := e.Files[0]
		second.Path = second.Path[:len(second.Path)-1] + "2"
		e.Files = append(e.Files, second)
	},
}

// oneWriter lets one service behave in another way.
func oneWriter(kinds ...writeKind) func(draw, *modelSchedule) {
	return func(d draw, s *modelSchedule) {
		w := &s.hana.writers[d.IntN(len(s.hana.writers))]
		w.kind, w.unnoticed = kinds[d.IntN(len(kinds))], d.often(50)
	}
}

var streamFaults = []modelFault{
	{"a stream is never opened", []string{CodeUnopened, CodeStream}, oneWriter(writeNothing)},
	{"a stream is opened without a byte", []string{CodeUnopened, CodeHANA}, oneWriter(writeEmpty)},
	{"a stream is opened late", []string{CodeUnopened}, func(d draw, s *modelSchedule) {
		s.hana.writers[d.IntN(len(s.hana.writers))].open = d.upTo(12 * time.Second)
	}},
	{"a service dies midway", []string{CodeHANA, CodeCatalog}, oneWriter(writeDies)},
	{"a stream is opened twice", []string{CodeStream, CodeIntrusion, CodeAnswerUnknown}, func(d draw, s *modelSchedule) {
		oneWriter(writeTwice)(d, s)
		s.door.seesSecond = d.often(50)
		if d.often(50) { // HANA gets rid of everything, although nobody reads it
			s.door.capacity = 8
		}
	}},
	{"HANA insists on O_DIRECT", []string{CodeDirect}, oneWriter(writeDirect)},
	{"a stream has no end", []string{CodeUnfinished}, oneWriter(writeNoEnd)},
	{"a stream has another header", []string{CodeHeader}, oneWriter(writeNoHeader, writeOtherID, writeOtherVolume)},
	{"a stream is shorter than a header", []string{CodeCatalog}, oneWriter(writeTiny)},
	{"a stream has another size than the catalog", []string{CodeCatalog}, oneWriter(writeShort, writeLong)},
	{"a service stalls", []string{CodeIdle, CodeUnopened}, func(d draw, s *modelSchedule) {
		w := &s.hana.writers[d.IntN(len(s.hana.writers))]
		w.kind, w.stall = writeStalls, d.upTo(15*time.Second)
	}},
	{"a service stalls for ever", []string{CodeIdle, CodeUnopened}, func(d draw, s *modelSchedule) {
		w := &s.hana.writers[d.IntN(len(s.hana.writers))]
		w.kind, w.stall = writeStalls, always.to
	}},
	{"an intruder", []string{CodeIntrusion, CodeStream}, func(d draw, s *modelSchedule) {
		s.door.intrusion, s.door.intrudes, s.door.watchSleeps = d.upTo(2*time.Second), d.IntN(6), d.often(30)
	}},
	{"pipes cannot be made", []string{CodePipe}, func(d draw, s *modelSchedule) {
		if d.often(50) {
			s.door.namesErr = errors.New("file exists")
		} else {
			s.door.prepareErr = errors.New("read-only file system")
		}
	}},
	{"a pipe cannot be read", []string{CodePipe}, func(d draw, s *modelSchedule) {
		s.door.breaks, s.door.breaksAt = d.IntN(len(s.sizes)), int64(d.IntN(8000))
		errs := []*error{&s.door.openErr, &s.door.readErr, &s.door.readerErr}
		*errs[d.IntN(3)] = errors.New("input/output error")
	}},
	{"pipes cannot be removed", nil, func(_ draw, s *modelSchedule) { s.door.closeErr = errors.New("input/output error") }},
}

// storeFaultOf adds one fault of the store.
func storeFaultOf(op string, shape func(d draw, s *modelSchedule, f *storeFault)) func(draw, *modelSchedule) {
	return func(d draw, s *modelSchedule) {
		f := &storeFault{op: op}
		if op == opBegin || op == opConsume || op == opCommit || op == opAbort {
			f.suffix = "/" + strconv.Itoa(d.IntN(len(s.sizes))) + "_1"
		}
		if shape != nil {
			shape(d, s, f)
		}
		s.store.faults = append(s.store.faults, f)
	}
}

func ofManifest(d draw, _ *modelSchedule, f *storeFault) {
	f.manifest, f.suffix = true, ""
	f.hangs, f.after = d.often(20), d.often(40)
}

var storeFaults = []modelFault{
	{"the store does not work", []string{CodeStoreUnusable}, func(d draw, s *modelSchedule) {
		storeFaultOf([]string{opCheck, opList}[d.IntN(2)], func(d draw, _ *modelSchedule, f *storeFault) { f.hangs = d.often(30) })(d, s)
	}},
	{"an upload cannot begin", []string{CodeStoreUnusable}, storeFaultOf(opBegin, func(d draw, _ *modelSchedule, f *storeFault) { f.hangs = d.often(30) })},
	{"memory is short", []string{CodeMemory, CodeStoreUnusable}, func(d draw, s *modelSchedule) {
		s.store.taken = modelBudget - modelReserve*d.IntN(4)
		if d.often(60) {
			s.store.takenFor = d.upTo(8 * time.Second)
		}
	}},
	{"memory for one backup only", []string{CodeMemory, CodeStoreUnusable}, func(d draw, s *modelSchedule) {
		s.store.budget = modelReserve * (len(s.sizes) + d.IntN(3))
		s.outside.otherAt, s.hana.otherPause = d.upTo(2*time.Second), d.upTo(5*time.Second)
	}},
	{"an upload fails", []string{CodeUpload}, storeFaultOf(opConsume, func(d draw, _ *modelSchedule, f *storeFault) {
		f.at = d.IntN(18_000)
		if d.often(50) {
			f.stall = d.upTo(5 * time.Second)
		}
	})},
	{"the store is away for a while", []string{CodeUnfinished, CodeUnopened, CodeAnswerUnknown}, storeFaultOf(opConsume, func(d draw, _ *modelSchedule, f *storeFault) {
		f.at, f.stall, f.recovers = d.IntN(18_000), d.upTo(10*time.Second), true
	})},
	{"a commit fails", []string{CodeCommit}, storeFaultOf(opCommit, func(d draw, _ *modelSchedule, f *storeFault) {
		f.hangs, f.after, f.at = d.often(20), d.often(60), d.IntN(3)
	})},
	{"the manifest cannot begin", []string{CodeUnwritten}, storeFaultOf(opBegin, ofManifest)},
	{"the manifest cannot be consumed", []string{CodeUnwritten}, storeFaultOf(opConsume, ofManifest)},
	{"the manifest cannot be committed", []string{CodeUnwritten}, storeFaultOf(opCommit, ofManifest)},
	{"nothing can be aborted at first", nil, storeFaultOf(opAbort, func(d draw, _ *modelSchedule, f *storeFault) {
		f.suffix, f.times = "", 1+d.IntN(3)
	})},
	{"nothing can be aborted", nil, storeFaultOf(opAbort, func(d draw, _ *modelSchedule, f *storeFault) { f.suffix, f.hangs = "", d.often(30) })},
	{"the manifest cannot be aborted", nil, storeFaultOf(opAbort, func(_ draw, _ *modelSchedule, f *storeFault) { f.manifest, f.suffix = true, "" })},
	{"a manifest that cannot be taken back", []string{CodeUnwritten}, func(d draw, s *modelSchedule) {
		for _, op := range []string{opCommit, opAbort, opRemove} {
			s.store.faults = append(s.store.faults, &storeFault{op: op, manifest: true, after: op == opCommit, times: d.IntN(3)})
		}
	}},
	{"manifests cannot be removed", nil, storeFaultOf(opRemove, func(d draw, _ *modelSchedule, f *storeFault) {
		f.manifest, f.hangs, f.times = true, d.often(20), d.IntN(4)
	})},
	{"manifests cannot be looked at", nil, storeFaultOf(opStat, func(d draw, _ *modelSchedule, f *storeFault) {
		f.manifest, f.hangs, f.times = true, d.often(20), d.IntN(4)
	})},
}

var outsideFaults = []modelFault{
	{"somebody cancels", []string{CodeCanceled}, func(d draw, s *modelSchedule) { s.outside.cancelAt = d.upTo(3 * time.Second) }},
	{"somebody cancels late", []string{CodeCanceled}, func(d draw, s *modelSchedule) { s.outside.cancelAt = d.upTo(20 * time.Second) }},
	{"the daemon drains", []string{CodeCanceled}, func(d draw, s *modelSchedule) {
		s.outside.drainAt, s.outside.grace = d.upTo(3*time.Second), d.upTo(4*time.Second)
	}},
	{"a backup of another database", []string{CodeMemory, CodeStoreUnusable}, func(d draw, s *modelSchedule) { s.outside.otherAt = d.upTo(2 * time.Second) }},
	{"the prefix was used before", []string{CodePrefixUsed}, func(_ draw, s *modelSchedule) { s.prefix = "MONDAY" }},
	{"the state directory is full", []string{CodeState}, func(d draw, s *modelSchedule) { s.outside.fullAt = d.upTo(time.Second) }},
	{"lost backups are deleted from the catalog", nil, func(_ draw, s *modelSchedule) { s.deleteLost = true }},
	{"a second request", nil, func(d draw, s *modelSchedule) { s.outside.secondAt = d.upTo(2 * time.Second) }},
}
