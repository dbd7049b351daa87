package e2e

import (
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim"
	"github.com/pipestreamer/pipestreamer/internal/job"
)

// hanaFaults are what HANA, or somebody beside it, may do. That a real HANA does
// any of it is mostly assumed; e2e/hanasim/README.md says what was seen.
func hanaFaults() []faultRow {
	return slices.Concat(
		servicesThatFail(), servicesThatWait(), crashes(),
		answersThatDiffer(), lateCatalogs(),
		waysOfWriting(), openings(), strayFiles(),
		touchedPipes(), cancellations(),
	)
}

// setting is a setting of the simulator for the whole case.
func setting(pairs ...string) func(*faultCase) {
	return func(c *faultCase) {
		for i := 0; i < len(pairs); i += 2 {
			c.hana.set(pairs[i], pairs[i+1])
		}
	}
}

// fault is a value of "fail".
func fault(values ...string) func(*faultCase) {
	return func(c *faultCase) {
		for _, value := range values {
			c.hana.set("fail", value)
		}
	}
}

// inFile is a fault at the place of the large file at which HANA waits in the
// phase, so that the phase is reached before it happens.
func inFile(what string) func(*faultCase) {
	return func(c *faultCase) {
		at := map[phase]string{beforeOpen: ":0", firstBytes: ":8KiB", middle: ":6MiB"}[c.phase]
		c.hana.set("fail", what+":2"+at)
	}
}

// whenReached waits for the phase and does nothing: what was arranged happens
// as soon as HANA goes on.
func whenReached(*faultCase) {}

func failed(code, words string) outcome {
	return outcome{state: job.StateFailed, code: code, words: words}
}

func lost(code, words string) outcome {
	return outcome{state: job.StateLost, code: code, words: words}
}

// servicesThatFail end in the middle of their file.
func servicesThatFail() []faultRow {
	return []faultRow{
		{
			fault: "a service dies, and the backup fails", where: inHANA,
			arrange: inFile("die"), inject: whenReached,
			outcomes: everyPhase(failed(job.CodeHANA, "447"), firstBytes, middle),
		},
		{
			fault: "a service dies, and HANA does not notice", where: inHANA,
			arrange: inFile("vanish"), inject: whenReached,
			outcomes: everyPhase(failed(job.CodeAnswerUnknown, "the catalog says that the backup is still running"), firstBytes, middle),
		},
		{
			fault: "a service cannot open its file", where: inHANA,
			arrange:  fault("open:2:0:EACCES"),
			outcomes: everyPhase(failed(job.CodeHANA, "Permission denied"), atPlan),
		},
		{
			fault: "a service cannot write any more", where: inHANA,
			arrange: func(c *faultCase) {
				at := map[phase]string{firstBytes: "8KiB", middle: "6MiB"}[c.phase]
				c.hana.set("fail", "write:2:"+at+":ENOSPC")
			},
			inject:   whenReached,
			outcomes: everyPhase(failed(job.CodeHANA, "No space left on device"), firstBytes, middle),
		},
		{
			fault: "a service cannot close its file", where: inHANA,
			arrange:  fault("close:2"),
			outcomes: everyPhase(failed(job.CodeHANA, "447"), atPlan),
		},
		{
			fault: "a service cannot rename its file", where: inHANA,
			arrange:  fault("rename:2"),
			outcomes: everyPhase(failed(job.CodeHANA, "447"), atPlan),
		},
		{
			fault: "a service syncs its file, which a pipe refuses", where: inHANA,
			arrange:  setting("sync", "true"),
			lift:     setting("sync", "false"),
			outcomes: everyPhase(failed(job.CodeHANA, "Invalid argument"), atPlan),
		},
	}
}

// servicesThatWait are for the watchdogs.
func servicesThatWait() []faultRow {
	return []faultRow{
		{
			fault: "no service ever opens its file", where: inHANA,
			arrange:  fault("stall-open:0", "stall-open:2", "stall-open:3"),
			outcomes: everyPhase(failed(job.CodeUnopened, "HANA wrote to no stream within 5s"), atPlan),
		},
		{
			fault: "one service never opens its file", where: inHANA,
			arrange:  fault("stall-open:3"),
			outcomes: everyPhase(failed(job.CodeUnopened, "without a byte: 3_1"), atPlan),
		},
		{
			fault: "a service never opens its file, and HANA calls the backup successful", where: inHANA,
			arrange:  fault("skip:3"),
			outcomes: everyPhase(lost(job.CodeUnopened, "HANA has answered but never wrote to it"), atPlan),
		},
		{
			fault: "services open their files late", where: inHANA,
			arrange:  setting("delay-open", "1s..3s"),
			outcomes: everyPhase(absorbed(), atPlan),
		},
		{
			fault: "a service stops writing for longer than `timeouts.idle`", where: inHANA,
			config:   map[string]any{"timeouts": map[string]any{"idle": "2s"}},
			arrange:  fault("stall:2:6MiB"),
			outcomes: everyPhase(failed(job.CodeIdle, "HANA has written nothing for 2s"), atPlan),
		},
		{
			fault: "a service stops writing for a while", where: inHANA,
			config: map[string]any{"timeouts": map[string]any{"idle": "30s", "stall": "1s"}},
			inject: func(c *faultCase) {
				eventually(c.t, "the alarm that a stream is stalled", func() bool {
					record, err := c.client.Job(c.t.Context(), c.job)
					return err == nil && slices.ContainsFunc(record.Streams, func(p job.Progress) bool { return p.Stalled && p.WaitingFor == job.SideHANA })
				})
			},
			outcomes: everyPhase(absorbed(), middle),
		},
		{
			fault: "all files are closed, and HANA does not end", where: inHANA,
			arrange:  fault("stall-end"),
			outcomes: everyPhase(failed(job.CodeAnswerUnknown, "the catalog says that the backup is still running"), atPlan),
		},
	}
}

// crashes take all of HANA down.
func crashes() []faultRow {
	crash := func(c *faultCase) {
		if err := c.hana.Crash(); err != nil {
			c.t.Fatal(err)
		}
	}
	restart := func(c *faultCase) {
		if err := c.hana.Restart(); err != nil {
			c.t.Fatal(err)
		}
	}
	return []faultRow{
		{
			fault: "the whole of HANA crashes and comes back", where: inHANA,
			inject:   func(c *faultCase) { crash(c); restart(c) },
			outcomes: everyPhase(failed(job.CodeCatalog, "the database crashed"), beforeOpen, firstBytes, middle),
		},
		{
			fault: "the whole of HANA crashes and stays down", where: inHANA,
			config: map[string]any{"timeouts": map[string]any{"open": "20s"}},
			inject: crash, lift: restart,
			outcomes: everyPhase(failed(job.CodeAnswerUnknown, "no answer from HANA"), beforeOpen, firstBytes, middle),
		},
		{
			fault: "the whole of HANA crashes after it has called the backup successful", where: inHANA,
			inject:   func(c *faultCase) { crash(c); restart(c) },
			outcomes: everyPhase(absorbed(), afterEOF, duringCommit),
		},
	}
}

// answersThatDiffer come after all bytes.
func answersThatDiffer() []faultRow {
	return []faultRow{
		{
			fault: "an SQL error after all bytes came", where: inHANA,
			arrange:  fault("end"),
			outcomes: everyPhase(failed(job.CodeHANA, "8022830"), atPlan),
		},
		{
			fault: "an SQL error, and the catalog says `successful`", where: inHANA,
			arrange:  fault("answer-failed"),
			outcomes: everyPhase(lost(job.CodeHANA, "447"), atPlan),
		},
		{
			fault: "success, and the catalog says `failed`", where: inHANA,
			arrange:  fault("catalog-failed"),
			outcomes: everyPhase(failed(job.CodeCatalog, "8022830"), atPlan),
		},
		{
			fault: "the connection is cut instead of an answer", where: inHANA,
			arrange:  fault("hangup"),
			outcomes: everyPhase(absorbed(), atPlan),
		},
		{
			fault: "HANA does not answer for longer than `timeouts.answer`", where: inHANA,
			arrange:  fault("stall-answer"),
			outcomes: everyPhase(absorbed(), atPlan),
		},
		{
			fault: "a file is shorter than the catalog says", where: inHANA,
			arrange:  fault("truncate:2:1MiB"),
			outcomes: everyPhase(lost(job.CodeCatalog, "the store has 1048576"), atPlan),
		},
		{
			fault: "a file has the header of another backup", where: inHANA,
			arrange:  fault("header:2"),
			outcomes: everyPhase(lost(job.CodeHeader, "its header carries backup id"), atPlan),
		},
		{
			fault: "HANA refuses the backup", where: inHANA,
			arrange:  fault("refuse"),
			outcomes: everyPhase(failed(job.CodeHANA, "447"), atPlan),
		},
	}
}

// lateCatalogs agree after a while, or too late.
func lateCatalogs() []faultRow {
	late := func(key string) faultRow {
		return faultRow{
			fault: "the catalog is late: `" + key + "` of 2 s", where: inHANA,
			arrange: setting(key, "2s"), lift: setting(key, "0s"),
			outcomes: everyPhase(absorbed(), atPlan),
		}
	}
	tooLate := late("late-row")
	tooLate.fault, tooLate.arrange = "the catalog has no row for longer than `timeouts.answer`", setting("late-row", "20s")
	tooLate.outcomes = everyPhase(lost(job.CodeCatalogMissing, "not found"), atPlan)
	broken := faultRow{
		fault: "the catalog cannot be read once the answer has come", where: inHANA,
		inject: setting("catalog", "error"), lift: setting("catalog", "ok"),
		outcomes: everyPhase(lost(job.CodeCatalogMissing, "the catalog was asked"), afterEOF),
	}
	silent := faultRow{
		fault: "the catalog does not answer", where: inHANA,
		inject: setting("catalog", "hang"), lift: setting("catalog", "ok"),
		outcomes: everyPhase(lost(job.CodeCatalogMissing, "no answer from HANA"), afterEOF),
	}
	return []faultRow{late("late-row"), late("late-state"), late("late-files"), tooLate, broken, silent}
}

// waysOfWriting are unusual and harmless.
func waysOfWriting() []faultRow {
	harmless := everyPhase(absorbed(), atPlan)
	return []faultRow{
		{
			fault: "writes of 1 byte", where: inHANA,
			arrange: setting("first-writes", "1B:20KiB"), lift: setting("first-writes", "0"), outcomes: harmless,
		},
		{
			fault: "writes of 64 MiB", where: inHANA,
			hana:    func(config *hanasim.Config) { config.Databases[1].Volumes[0].Size = 70 * mebibyte },
			arrange: setting("write-size", "64MiB"), outcomes: harmless,
		},
		{
			fault: "pipes in packet mode", where: inHANA,
			arrange: setting("packets", "true"), lift: setting("packets", "false"), outcomes: harmless,
		},
		{
			fault: "no hidden names", where: inHANA,
			arrange: setting("profile", string(hanasim.Plain)), outcomes: harmless,
		},
		{
			fault: "O_DIRECT, and without it when that fails", where: inHANA,
			arrange: setting("profile", string(hanasim.DirectFallback)), outcomes: harmless,
		},
		{
			fault: "O_DIRECT only", where: inHANA,
			arrange: setting("profile", string(hanasim.Direct)), lift: setting("profile", string(hanasim.Dotname)),
			outcomes: everyPhase(absorbed(), atPlan),
		},
		{
			fault: "O_DIRECT only (`door: fifo`)", where: inHANA, config: pipesOnly(),
			arrange: setting("profile", string(hanasim.Direct)), lift: setting("profile", string(hanasim.Dotname)),
			outcomes: everyPhase(failed(job.CodeDirect, "O_DIRECT"), atPlan),
		},
	}
}

// openings are more than one for a file.
func openings() []faultRow {
	slowly := func(what string) func(*faultCase) {
		return func(c *faultCase) {
			c.hana.set("delay-open", (100 * time.Millisecond).String())
			inFile(what)(c)
		}
	}
	return []faultRow{
		{
			fault: "a file is closed, opened again, and goes on", where: inHANA,
			arrange: slowly("reopen"), inject: whenReached,
			outcomes: everyPhase(failed(job.CodeIntrusion, "second writer"), firstBytes, middle),
		},
		{
			fault: "a file is closed, opened again, and begins again", where: inHANA,
			arrange: slowly("restart"), inject: whenReached,
			outcomes: everyPhase(failed(job.CodeIntrusion, "second writer"), firstBytes, middle),
		},
		{
			fault: "the header is written, and then the whole file", where: inHANA,
			arrange:  func(c *faultCase) { c.hana.set("delay-open", "100ms"); c.hana.set("fail", "restart:2:4KiB") },
			outcomes: everyPhase(failed(job.CodeIntrusion, "second writer"), atPlan),
		},
	}
}

// strayFiles are written past the pipes.
func strayFiles() []faultRow {
	return []faultRow{
		{
			fault: "HANA is configured to write files of several parts", where: inHANA,
			arrange: setting("chunk-size", "8MiB"), lift: setting("chunk-size", "0"),
			outcomes: everyPhase(absorbed(), atPlan),
		},
		{
			fault: "files replace the pipes", where: inHANA,
			arrange:  setting("profile", string(hanasim.Replace), "write-size", "64KiB", "delay-write", "20ms"),
			lift:     setting("profile", string(hanasim.Dotname), "delay-write", "0s"),
			outcomes: everyPhase(absorbed(), atPlan),
		},
		{
			fault: "a volume that no view shows (`door: fifo`)", where: inHANA, config: pipesOnly(),
			arrange:  fault("extra:7:100000"),
			outcomes: everyPhase(outcome{state: job.StateFailed, code: job.CodeIntrusion, words: "_databackup_7_1", files: []string{"_7_1"}}, atPlan),
		},
		{
			fault: "HANA is configured to write files of several parts (`door: fifo`)", where: inHANA, config: pipesOnly(),
			arrange: setting("chunk-size", "8MiB"), lift: setting("chunk-size", "0"),
			outcomes: everyPhase(failed(job.CodePlan, "data_backup_max_chunk_size"), atPlan),
		},
		{
			fault: "files replace the pipes (`door: fifo`)", where: inHANA, config: pipesOnly(),
			arrange:  setting("profile", string(hanasim.Replace), "write-size", "64KiB", "delay-write", "20ms"),
			lift:     setting("profile", string(hanasim.Dotname)),
			outcomes: everyPhase(outcome{state: job.StateFailed, code: job.CodeIntrusion, words: "_databackup_", files: []string{"_0_1", "_2_1", "_3_1"}}, atPlan),
		},
	}
}
