package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestShowTellsWhoStoppedFirst shows a failed job as an operator reads it.
func TestShowTellsWhoStoppedFirst(t *testing.T) {
	jobs, url := daemonOf(t)
	startJob(t, jobs)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	jobs.Change("job-1", func(r *job.Record) {
		r.State, r.FinishedAt, r.BackupID, r.RequestedBy = job.StateFailed, at, 1755519941920, "token:nightly"
		r.Error = &job.Error{
			Stage: job.StageStream, Stream: "3_1", Code: job.CodeUpload, HANACode: 447, HANAInner: []int{2000008},
			Message: "part 17 was refused: 403 ExpiredToken", Hint: "Mend the store.",
		}
		r.Consequences = []string{"EPIPE at HANA because stream 3_1 was given up"}
		r.Streams = []job.Progress{{
			Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver"}, Bytes: 3 << 20, Stored: 2 << 20,
			Waits: job.Waits{HANASeconds: 3.25, StoreSeconds: 754, OwnSeconds: 0.004}, Stalled: true, WaitingFor: job.SideStore, StoreError: "503 SlowDown",
			StoreErrorSince: at, StoreErrorUntil: at.Add(15 * time.Minute),
		}}
		r.History = []job.Event{
			{At: at, Side: job.SideHANA, Stream: "3_1", Text: "began to write"},
			{At: at.Add(time.Second), Side: job.SideStore, Stream: "3_1", Bytes: 3 << 20, Text: "part 17 was refused"},
			{At: at.Add(2 * time.Second), Side: job.SideDaemon, Text: "asks HANA to cancel the backup"},
		}
	})
	status, stdout, stderr := execute(t.Context(), "show", "job-1", "--url", url)
	if status != 0 {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	for _, want := range []string{
		"backup id      1755519941920 (in HANA's backup.log: 198bd247d20)\n",
		"asked by       token:nightly\n",
		"code           upload_failed, HANA 447 with [2000008]\n",
		"followed by    EPIPE at HANA because stream 3_1 was given up\n",
		"indexserver, 3.0 MiB, stored 2.0 MiB; waited 3.3s for HANA, 12m34s for the store, worked 4ms; STALLED, waiting for store\n",
		"the store fails and is asked again, since 03:04:05 UTC until about 03:19:05 (store.outageTolerance): 503 SlowDown\n",
		"what happened  03:04:05.678  HANA, stream 3_1 at 0 B: began to write\n",
		"               03:04:06.678  store, stream 3_1 at 3.0 MiB: part 17 was refused\n",
		"               03:04:07.678  pipestreamer: asks HANA to cancel the backup\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// TestStreamTellsHowLongTheStoreIsAskedAgain has an outage of now.
func TestStreamTellsHowLongTheStoreIsAskedAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := job.Progress{StoreError: "503", StoreErrorSince: now.Add(-5 * time.Minute), StoreErrorUntil: now.Add(10*time.Minute - time.Second)}
	if got := streamText(&s, nil); !strings.Contains(got, " (store.outageTolerance), 9m5") || !strings.HasSuffix(got, "s left: 503") {
		t.Errorf("got %q", got)
	}
}

// TestProgressTellsOfStalls shows the lines that a job without a terminal gets.
func TestProgressTellsOfStalls(t *testing.T) {
	t.Parallel()
	r := job.Record{Streams: []job.Progress{
		{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 2, PartID: 1}}},
		{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}}, Stalled: true, WaitingFor: job.SideHANA},
		{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 4, PartID: 1}}, StoreError: "503"},
	}}
	if got, want := stalledText(&r), "stream 3_1 is stalled, waiting for hana; stream 4_1: the store fails and is asked again"; got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}

// TestVerifyTellsWhatItProved: "succeeded" alone does not say whether every byte was
// read, and compared with what.
func TestVerifyTellsWhatItProved(t *testing.T) {
	for proof, want := range map[job.Proof]string{
		job.ProofSHA256: "2 streams, 3.0 MiB: every byte matches the manifest's SHA-256",
		job.ProofCRC64:  "2 streams, 3.0 MiB: every byte matches the CRC-64 of its part; the manifest has no SHA-256",
		job.ProofSample: "2 streams, 3.0 MiB read as a sample",
		"":              "",
	} {
		got := provenText(&job.Record{Proven: proof, Streams: []job.Progress{{Bytes: 1 << 20}, {Bytes: 2 << 20}}})
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q, expected %q", proof, got, want)
		}
	}
}
