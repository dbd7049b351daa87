package httpapi

import (
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is one setting of the daemon as it is shown.
type Setting struct {
	Key string `json:"key"`
	// Value is what holds; of a secret it is the path of its file.
	Value string `json:"value"`
	// Source says where it was given.
	Source string `json:"source"`
}

type settingList struct {
	Settings []Setting `json:"settings"`
}

type profileList struct {
	Profiles []string `json:"profiles"`
}

// profiles are those of runtime/pprof, and the two that take time. That of the
// command line is not needed, and "symbol" is for programs without symbols.
func profiles() []string {
	return []string{"allocs", "block", "goroutine", "heap", "mutex", "profile", "threadcreate", "trace"}
}

// maxProfile is the longest that a profile or a trace may take. A trace grows by
// megabytes a second.
const maxProfile = 60 * time.Second

func (s *Server) showConfig(w http.ResponseWriter, _ *http.Request) error {
	s.writeJSON(w, http.StatusOK, settingList{Settings: s.options.Settings})
	return nil
}

func (s *Server) listProfiles(w http.ResponseWriter, _ *http.Request) error {
	s.writeJSON(w, http.StatusOK, profileList{Profiles: profiles()})
	return nil
}

// showProfile serves one profile of package net/http/pprof. That package also
// registers itself on http.DefaultServeMux, which nothing here serves.
func (s *Server) showProfile(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("profile")
	if !slices.Contains(profiles(), name) {
		return newProblem(http.StatusNotFound, "unknown_path", "No such profile", "known are "+strings.Join(profiles(), ", "))
	}
	took := time.Duration(0)
	if text := r.URL.Query().Get("seconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		took = time.Duration(seconds) * time.Second
		if err != nil || seconds < 1 || seconds > int(maxProfile.Seconds()) {
			return invalid("seconds", "expected a whole number from 1 to "+strconv.Itoa(int(maxProfile.Seconds())))
		}
	} else if name == "profile" {
		took = 30 * time.Second // what pprof.Profile takes by default
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(took + writeTimeout)); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	switch name {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Handler(name).ServeHTTP(w, r)
	}
	return nil
}
