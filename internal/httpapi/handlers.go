package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/internal/access"
	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/internal/job"
	"github.com/pipestreamer/pipestreamer/internal/logship"
)

// writeTimeout is how long a client may take to accept a response.
const writeTimeout = 30 * time.Second

// storeTimeout is how long somebody who asks for backups waits for the store.
const storeTimeout = 30 * time.Second

// recoveryTimeout is the same for who asks what can be recovered. That takes every
// index of log backups, of which a year has more than 30000. It is less than the
// client and the status page wait for an answer.
const recoveryTimeout = 100 * time.Second

type jobList struct {
	Jobs []job.Record `json:"jobs"`
}

// LogList is how far the shipping of log backups is, by database, with what keeps
// them from being found, or why there are none.
type LogList struct {
	Logs    []logship.Status `json:"logs"`
	Trouble string           `json:"trouble,omitempty"`
	Note    string           `json:"note,omitempty"`
}

func (s *Server) startBackup(w http.ResponseWriter, r *http.Request) error {
	var request job.BackupRequest
	key, err := s.readRequest(w, r, map[string]any{"database": &request.Database, "kind": &request.Kind, "prefix": &request.Prefix})
	if err != nil {
		return err
	}
	request.RequestedBy = entryOf(r.Context()).identity
	record, err := s.jobs.StartBackup(r.Context(), request, key)
	return s.writeAccepted(w, r, record, err)
}

func (s *Server) startRestore(w http.ResponseWriter, r *http.Request) error {
	var request job.RestoreRequest
	key, err := s.readRequest(w, r, map[string]any{
		"database": &request.Database, "backup": &request.Backup, "until": &request.Until,
		"to_database": &request.ToDatabase, "dry_run": &request.DryRun,
	})
	if err != nil {
		return err
	}
	request.RequestedBy = entryOf(r.Context()).identity
	record, err := s.jobs.StartRestore(r.Context(), request, key)
	return s.writeAccepted(w, r, record, err)
}

func (s *Server) startVerification(w http.ResponseWriter, r *http.Request) error {
	var request job.VerificationRequest
	key, err := s.readRequest(w, r, map[string]any{"database": &request.Database, "backup": &request.Backup, "sample": &request.Sample})
	if err != nil {
		return err
	}
	request.RequestedBy = entryOf(r.Context()).identity
	record, err := s.jobs.StartVerification(r.Context(), request, key)
	return s.writeAccepted(w, r, record, err)
}

func (s *Server) startProbe(w http.ResponseWriter, r *http.Request) error {
	var request job.ProbeRequest
	key, err := s.readRequest(w, r, map[string]any{"database": &request.Database, "max_size": &request.MaxSize})
	if err != nil {
		return err
	}
	request.RequestedBy = entryOf(r.Context()).identity
	record, err := s.jobs.StartProbe(r.Context(), request, key)
	return s.writeAccepted(w, r, record, err)
}

func (s *Server) readRequest(w http.ResponseWriter, r *http.Request, targets map[string]any) (key string, err error) {
	if key, err = idempotencyKey(r); err != nil {
		return "", err
	}
	entry := entryOf(r.Context())
	entry.key = key
	if err := s.readBody(w, r, targets); err != nil {
		return "", err
	}
	if database, is := targets["database"].(*string); is {
		entry.database = *database
	}
	return key, nil
}

func (s *Server) writeAccepted(w http.ResponseWriter, r *http.Request, record job.Record, err error) error {
	if err != nil {
		return err
	}
	entryOf(r.Context()).concerns(&record)
	w.Header().Set("Location", "/v1/jobs/"+record.ID)
	s.writeJSON(w, http.StatusAccepted, record)
	return nil
}

func (s *Server) listJobs(w http.ResponseWriter, _ *http.Request) error {
	records := s.jobs.Jobs()
	if records == nil {
		records = []job.Record{}
	}
	s.writeJSON(w, http.StatusOK, jobList{Jobs: records})
	return nil
}

func (s *Server) showJob(w http.ResponseWriter, r *http.Request) error {
	record, err := s.jobs.Job(r.PathValue("id"))
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, record)
	return nil
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	// Before it ends: a job that has ended may be forgotten.
	record, err := s.jobs.Job(id)
	if err != nil {
		return err
	}
	entry := entryOf(r.Context())
	entry.concerns(&record)
	if entry.role < access.Operator && (record.RequestedBy == "" || record.RequestedBy != entry.identity) {
		return s.forbiddenJob(r, &record)
	}
	if err := s.jobs.Cancel(id); err != nil {
		return err
	}
	if record, err = s.jobs.Job(id); err != nil {
		return err
	}
	s.writeJSON(w, http.StatusAccepted, record)
	return nil
}

func (s *Server) listBackups(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	database := r.URL.Query().Get("database")
	list, err := s.looks.backups.do(ctx, database, func(ctx context.Context) (job.BackupList, error) { return s.jobs.Backups(ctx, database) })
	if err != nil {
		return err
	}
	if list.Backups == nil {
		list.Backups = []job.BackupSummary{}
	}
	s.writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) showBackup(w http.ResponseWriter, r *http.Request) error {
	database := r.URL.Query().Get("database")
	if database == "" {
		return invalid("database", "expected the database as a query parameter: backup ids are unique within one only")
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	m, err := s.jobs.Backup(ctx, database, r.PathValue("id"))
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, m)
	return nil
}

func (s *Server) listLogs(w http.ResponseWriter, _ *http.Request) error {
	list := LogList{Logs: s.options.Logs(), Trouble: s.options.LogsTrouble(), Note: s.options.LogsNote()}
	if list.Logs == nil {
		list.Logs = []logship.Status{}
	}
	s.writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) showRecovery(w http.ResponseWriter, r *http.Request) error {
	database := r.URL.Query().Get("database")
	if database == "" {
		return invalid("database", "expected the database as a query parameter")
	}
	ctx, cancel := context.WithTimeout(r.Context(), recoveryTimeout)
	defer cancel()
	recovery, err := s.looks.recoveries.do(ctx, database, func(ctx context.Context) (job.Recovery, error) { return s.jobs.Recovery(ctx, database) })
	if err != nil {
		return err
	}
	if recovery.Windows == nil {
		recovery.Windows = []chain.Window{}
	}
	s.writeJSON(w, http.StatusOK, recovery)
	return nil
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	s.write(w, status, body)
}

func (s *Server) writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemMediaType)
	s.write(w, p.Status, p)
}

// write sends a response. Whoever cannot take it in time is cut off; that
// concerns only the client, so it is logged for those who look closely.
func (s *Server) write(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		s.log.Error("a response could not be encoded", zap.Error(err))
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		s.log.Warn("a response has no deadline", zap.Error(err))
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(append(text, '\n')); err != nil {
		s.log.Debug("a client went away", zap.Error(err))
	}
}
