package job

import (
	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// logEnd writes the one line that a job leaves in the log.
func (c *Conductor) logEnd(r Record) {
	var bytes, stored int64
	var waits Waits
	for i := range r.Streams {
		bytes += r.Streams[i].Bytes
		stored += r.Streams[i].Stored
		waits = waits.plus(r.Streams[i].Waits)
	}
	fields := []zap.Field{
		zap.String("job_id", r.ID), zap.String("action", string(r.Action)), zap.String("state", string(r.State)),
		zap.String("sid", r.SID), zap.String("database", r.Database), zap.String("kind", string(r.Kind)),
		zap.Int64("backup_id", r.BackupID), zap.String("prefix", r.Prefix), zap.Int("streams", len(r.Streams)), zap.Int("objects", r.Objects),
		zap.String("backup_log_id", BackupLogID(r.BackupID)), zap.String("requested_by", r.RequestedBy),
		zap.Int64("bytes", bytes), zap.Int64("stored_bytes", stored), zap.Float64("seconds", r.FinishedAt.Sub(r.StartedAt).Seconds()),
		zap.Float64("hana_seconds", waits.HANASeconds), zap.Float64("store_seconds", waits.StoreSeconds), zap.Float64("own_seconds", waits.OwnSeconds),
	}
	if r.Error != nil {
		fields = append(fields, zap.String("code", r.Error.Code), zap.String("stage", string(r.Error.Stage)),
			zap.String("stream", r.Error.Stream), zap.Int("hana_code", r.Error.HANACode), zap.Ints("hana_inner", r.Error.HANAInner),
			zap.String("cause", r.Error.Message), zap.String("hint", r.Error.Hint), zap.Strings("consequences", r.Consequences))
	}
	switch r.State {
	case StateLost:
		c.log.Error("backup lost: HANA's catalog has it, the store does not", fields...)
	case StateFailed:
		c.log.Error("job failed", fields...)
	default:
		c.log.Info("job ended", fields...)
	}
}

// objectsIn counts the objects that manifests name.
func objectsIn(manifests ...*backup.Manifest) (n int) {
	for _, m := range manifests {
		for i := range m.Streams {
			n += len(m.Streams[i].Objects)
		}
	}
	return n
}
