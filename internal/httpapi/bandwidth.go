package httpapi

import (
	"errors"
	"net/http"
	"time"
)

// Bandwidth tells how much may pass between the daemon and the store.
type Bandwidth struct {
	// Limit holds now: "off", a rate such as "50MiB/s", or a timetable.
	Limit string `json:"limit"`
	// Configured is store.bandwidth, to which a restart goes back.
	Configured string `json:"configured"`
	// BytesPerSecond is what Limit means at LocalTime, 0 for no limit.
	BytesPerSecond int64 `json:"bytes_per_second"`
	// LocalTime is the daemon's clock, by which a timetable goes.
	LocalTime time.Time `json:"local_time"`
}

// Throttle is the bandwidth limit of the store. Its methods may be called at
// once.
type Throttle interface {
	// Bandwidth tells the limit.
	Bandwidth() Bandwidth
	// SetBandwidth replaces Limit until it is called again or the daemon ends. An
	// error says what is wrong with the text.
	SetBandwidth(limit string) error
}

// noThrottle stands where there is no store to limit.
type noThrottle struct{}

func (noThrottle) Bandwidth() Bandwidth {
	return Bandwidth{Limit: "off", Configured: "off", LocalTime: time.Now()}
}

func (noThrottle) SetBandwidth(string) error { return errors.New("there is nothing to limit here") }

func (s *Server) showBandwidth(w http.ResponseWriter, _ *http.Request) error {
	s.writeJSON(w, http.StatusOK, s.options.Throttle.Bandwidth())
	return nil
}

func (s *Server) setBandwidth(w http.ResponseWriter, r *http.Request) error {
	var limit string
	if err := s.readBody(w, r, map[string]any{"limit": &limit}); err != nil {
		return err
	}
	if err := s.options.Throttle.SetBandwidth(limit); err != nil {
		return invalid("limit", err.Error())
	}
	return s.showBandwidth(w, r)
}
