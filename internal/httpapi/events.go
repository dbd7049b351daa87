package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// eventsPattern is the route that stays open for the length of a job.
const eventsPattern = "GET /v1/jobs/{id}/events"

// followJob sends the records of a job as server-sent events until it has
// ended. Each subscriber has its own connection and deadline; the job never
// waits for one.
func (s *Server) followJob(w http.ResponseWriter, r *http.Request) error {
	records, unsubscribe, err := s.jobs.Subscribe(r.PathValue("id"))
	if err != nil {
		return err
	}
	defer unsubscribe()
	leave, err := s.following.enter(w, entryOf(r.Context()).identity, false)
	if err != nil {
		return err
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	heartbeat := time.NewTicker(s.options.Heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case record, open := <-records:
			if !open || !sendRecord(w, record) {
				return nil
			}
		case <-heartbeat.C:
			if !send(w, ": heartbeat\n\n") {
				return nil
			}
		case <-r.Context().Done():
			sendLast(w, records)
			return nil
		}
	}
}

// sendLast sends what is already there when the server ends: after a drain that
// is the record with which the job ended.
func sendLast(w http.ResponseWriter, records <-chan job.Record) {
	for {
		select {
		case record, open := <-records:
			if !open || !sendRecord(w, record) {
				return
			}
		default:
			return
		}
	}
}

// sendRecord sends one event; false means that it could not be.
func sendRecord(w http.ResponseWriter, record job.Record) bool {
	text, err := json.Marshal(record)
	return err == nil && send(w, "event: record\ndata: "+string(text)+"\n\n")
}

// send writes text and flushes it; false means that the client is gone.
func send(w http.ResponseWriter, text string) bool {
	control := http.NewResponseController(w)
	if control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return false
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return false
	}
	return control.Flush() == nil
}
