package httpapi

import (
	"net/http"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/job"
)

// allEventsPattern is the other route that stays open.
const allEventsPattern = "GET /v1/events"

// followJobs sends the records of all jobs as server-sent events until the client
// or the server ends. Jobs never wait for it.
func (s *Server) followJobs(w http.ResponseWriter, r *http.Request) error {
	leave, err := s.following.enter(w, entryOf(r.Context()).identity, true)
	if err != nil {
		return err
	}
	defer leave()
	batches, unsubscribe := s.jobs.SubscribeAll()
	defer unsubscribe()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	// A browser calls the stream open when the header is there: at once, also
	// when no job runs.
	if !send(w, ": following\n\n") {
		return nil
	}
	heartbeat := time.NewTicker(s.options.Heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case batch := <-batches:
			if !sendRecords(w, batch) {
				return nil
			}
		case <-heartbeat.C:
			if !send(w, "event: heartbeat\ndata:\n\n") {
				return nil
			}
		case <-r.Context().Done():
			select { // after a drain, the records with which jobs ended
			case batch := <-batches:
				sendRecords(w, batch)
			default:
			}
			return nil
		}
	}
}

func sendRecords(w http.ResponseWriter, batch []job.Record) bool {
	for i := range batch {
		if !sendRecord(w, batch[i]) {
			return false
		}
	}
	return true
}
