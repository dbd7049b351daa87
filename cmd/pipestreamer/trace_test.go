package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/trace"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestSpanOf makes a trace of a backup that fails while it streams.
func TestSpanOf(t *testing.T) {
	at := func(seconds int) time.Time { return time.Date(2026, 11, 30, 2, 0, seconds, 0, time.UTC) }
	record := job.Record{
		ID: "01a201df-8588-7548-82aa-7f9b79228d61", Action: job.ActionBackup, Database: "HXE", Kind: backup.KindComplete, State: job.StateFailed,
		StartedAt: at(0), FinishedAt: at(30), BackupID: 17, Attempt: 1,
		Stages: []job.StageBegin{{Stage: job.StageArm, At: at(1)}, {Stage: job.StageStream, At: at(2)}},
		Streams: []job.Progress{
			{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 3, PartID: 1}, Service: "indexserver"}, Bytes: 7, Stored: 5, Door: "fifo", Waits: job.Waits{StoreSeconds: 9}},
			{Stream: backup.Stream{StreamID: backup.StreamID{VolumeID: 4, PartID: 1}}},
		},
		History: []job.Event{
			{At: at(2), Side: job.SideDaemon, Text: "sends BACKUP DATA to HANA"},
			{At: at(3), Side: job.SideHANA, Stream: "3_1", Text: "began to write"},
			{At: at(20), Side: job.SideStore, Stream: "3_1", Bytes: 7, Text: "403"},
		},
		Error: &job.Error{Stage: job.StageStream, Stream: "3_1", Code: job.CodeUpload, Message: "403"},
	}
	want := trace.Span{
		Name: "backup HXE", Begin: at(0), End: at(30), Failure: "upload_failed: stream 3_1: 403",
		Attributes: map[string]any{
			"job_id": record.ID, "action": "backup", "database": "HXE", "kind": "complete", "state": "failed", "backup_id": int64(17), "attempt": int64(1),
		},
		Events: []trace.Event{{At: at(2), Name: "sends BACKUP DATA to HANA", Attributes: map[string]any{"side": "pipestreamer", "bytes": int64(0)}}},
		Parts: []trace.Span{
			{Name: "stage plan", Begin: at(0), End: at(1)},
			{Name: "stage arm", Begin: at(1), End: at(2)},
			{Name: "stage stream", Begin: at(2), End: at(30)},
			{
				Name: "stream 3_1", Begin: at(3), End: at(20), Failure: "upload_failed",
				Attributes: map[string]any{
					"service": "indexserver", "bytes": int64(7), "stored": int64(5), "door": "fifo", "hana_seconds": 0.0, "store_seconds": 9.0, "own_seconds": 0.0,
				},
				Events: []trace.Event{
					{At: at(3), Name: "began to write", Attributes: map[string]any{"side": "hana", "bytes": int64(0)}},
					{At: at(20), Name: "403", Attributes: map[string]any{"side": "store", "bytes": int64(7)}},
				},
			},
		},
	}
	if diff := cmp.Diff(want, spanOf(&record)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
