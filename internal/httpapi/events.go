package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// followJob sends the records of a job as server-sent events until it has
// ended. Each subscriber has its own connection and deadline; the job never
// waits for one.
func (s *Server) followJob(w http.ResponseWriter, r *http.Request) error {
	records, unsubscribe, err := s.jobs.Subscribe(r.PathValue("id"))
	if err != nil {
		return err
	}
	defer unsubscribe()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	heartbeat := time.NewTicker(s.options.Heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case record, open := <-records:
			if !open {
				return nil
			}
			text, err := eventOf(record)
			if err != nil {
				return err
			}
			if !send(w, text) {
				return nil
			}
		case <-heartbeat.C:
			if !send(w, ": heartbeat\n\n") {
				return nil
			}
		}
	}
}

func eventOf(record job.Record) (string, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return "", fmt.Errorf("encode the record of job %s: %w", record.ID, err)
	}
	return "event: record\ndata: " + string(text) + "\n\n", nil
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
