package main

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"time"
)

// What is simulated of a long way to the store.
const (
	wanDelay = 50 * time.Millisecond
	wanRate  = 80_000_000 // bytes per second of each connection
	// slowDelay keeps every part in flight for so long that all buffers are
	// needed.
	slowDelay = 2 * time.Second
)

// Directions.
const (
	up   = "up"
	down = "down"
)

// Stores.
const (
	null = "null" // forgets what it is sent and makes up what it is asked for
	vgw  = "vgw"  // versitygw, a real one
)

// scenario is one set of conditions under which all clients are measured.
type scenario struct {
	direction string
	store     string
	wan       bool
	tls       bool
	streams   int
	payload   string
	// slow is a store that takes slowDelay for each request.
	slow bool
	// memory is for scenarios that show what the data path takes of it.
	memory bool
	// gibibytes is the size of a run, 0 for the usual one.
	gibibytes float64
}

// name is what -only selects by, and the heading in the results.
func (s scenario) name() string {
	if s.memory {
		place := s.store
		if s.slow {
			place += "-slow"
		}
		return fmt.Sprintf("memory/%s/http/%d/%vGiB", place, s.streams, s.gibibytes)
	}
	store, scheme := s.store, "http"
	if s.wan {
		store += "-wan"
	}
	if s.tls {
		scheme = "https"
	}
	return path.Join(s.direction, store, scheme, strconv.Itoa(s.streams), s.payload)
}

// everything is the whole matrix.
func everything() []scenario {
	var all []scenario
	for _, direction := range []string{up, down} {
		for _, store := range []string{null, vgw} {
			for _, wan := range []bool{false, true} {
				for _, tls := range []bool{false, true} {
					for _, streams := range []int{1, 4, 16} {
						for _, payload := range []string{"random", "mixed", "table"} {
							all = append(all, scenario{
								direction: direction, store: store, wan: wan, tls: tls, streams: streams, payload: payload,
							})
						}
					}
				}
			}
		}
	}
	for _, m := range []scenario{
		{streams: 1, gibibytes: 0.5, slow: true},
		{streams: 4, gibibytes: 1, slow: true},
		{streams: 16, gibibytes: 2, slow: true},
		{streams: 1, gibibytes: 20},
		{streams: 1, gibibytes: 200},
	} {
		m.direction, m.store, m.payload, m.memory = up, null, "random", true
		all = append(all, m)
	}
	return all
}

// usual is what is measured when nothing is asked for: it takes a quarter of an
// hour on a quiet machine.
const usual = `(up|down)/null/(http|https)/1/random|up/null/http/1/(mixed|table)|(up|down)/null/http/(4|16)/random|` +
	`(up|down)/null-wan/https/1/random|(up|down)/vgw/http/1/random|` +
	`memory/null-slow/http/(1/0.5|4/1|16/2)GiB|memory/null/http/1/20GiB`

// choose returns the scenarios whose name, or the beginning of it up to a slash,
// matches the expression as a whole.
func choose(only string) ([]scenario, error) {
	expression, err := regexp.Compile("^(?:" + only + ")(?:/|$)")
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	var chosen []scenario
	for _, s := range everything() {
		if expression.MatchString(s.name()) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %q selects none of the scenarios, of which one is %q", only, everything()[0].name())
	}
	return chosen, nil
}
