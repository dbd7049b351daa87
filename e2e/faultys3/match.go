package faultys3

import (
	"net/http"
	"slices"
	"strings"
)

// Kind is what a request asks for.
type Kind string

// The kinds of requests.
const (
	Create   Kind = "create"   // start a multipart upload
	Part     Kind = "part"     // upload a part
	Complete Kind = "complete" // complete a multipart upload
	Abort    Kind = "abort"    // abort a multipart upload
	Put      Kind = "put"      // write an object in one request
	Get      Kind = "get"      // read an object
	Head     Kind = "head"     // look at an object
	Delete   Kind = "delete"   // remove an object, or several
	List     Kind = "list"     // list objects
	Other    Kind = "other"    // anything else, such as listing multipart uploads
)

// KindOf tells what a request in the path style asks for.
func KindOf(r *http.Request) Kind {
	query := r.URL.Query()
	if query.Has("uploadId") {
		return orOther(map[string]Kind{http.MethodPut: Part, http.MethodPost: Complete, http.MethodDelete: Abort}[r.Method])
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPost && query.Has("uploads"):
		return Create
	case r.Method == http.MethodPost && query.Has("delete"):
		return Delete
	case key != "":
		return orOther(map[string]Kind{
			http.MethodPut: Put, http.MethodGet: Get, http.MethodHead: Head, http.MethodDelete: Delete,
		}[r.Method])
	case r.Method == http.MethodGet && !query.Has("uploads"):
		return List
	default:
		return Other
	}
}

func orOther(kind Kind) Kind {
	if kind == "" {
		return Other
	}
	return kind
}

// Match chooses requests.
type Match struct {
	// Kinds are those that match, all when there is none.
	Kinds []Kind
	// Key has to be contained in the path, "/<bucket>/<key>"; for a list in its
	// prefix.
	Key string
	// After is how many matching requests pass before the first that counts.
	After int
	// Count is how many count, 0 for no limit.
	Count int
}

func (m Match) fits(r *http.Request) bool {
	return (len(m.Kinds) == 0 || slices.Contains(m.Kinds, KindOf(r))) &&
		(strings.Contains(r.URL.Path, m.Key) || strings.Contains(r.URL.Query().Get("prefix"), m.Key))
}

// effect is what a rule does with a request.
type effect int

const (
	answers effect = iota
	holds
	notices
)

// Rule is a match in use. Its methods may be called at once.
type Rule struct {
	server *Server
	match  Match
	does   effect
	answer Answer        // of a rule that answers
	gate   chan struct{} // of a rule that holds, closed when it is opened
	done   chan struct{}

	// server.mu guards what follows.
	seen, hits int
	opened     bool
}

// Hits counts the requests that this rule was applied to.
func (r *Rule) Hits() int {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return r.hits
}

// Reached is closed when the rule is first applied to a request.
func (r *Rule) Reached() <-chan struct{} { return r.done }

// Remove ends the rule and lets go of what it holds. A request that it answers
// already is not affected.
func (r *Rule) Remove() { r.server.remove(r) }

// take counts a fitting request and tells whether the rule is to be applied.
func (r *Rule) take(does effect, request *http.Request) bool {
	if r.does != does || !r.match.fits(request) {
		return false
	}
	r.seen++
	if r.seen <= r.match.After || r.match.Count > 0 && r.hits == r.match.Count {
		return false
	}
	r.hits++
	if r.hits == 1 {
		close(r.done)
	}
	return true
}

// open lets go of what the rule holds.
func (r *Rule) open() {
	if r.gate != nil && !r.opened {
		r.opened = true
		close(r.gate)
	}
}
