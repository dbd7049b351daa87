package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// doors remembers what HANA makes of pipes, in the state directory, for each
// version of HANA: another one may do otherwise.
type doors struct {
	path string

	mu      sync.Mutex
	version string // of HANA, as last seen
	known   map[string]DoorKnowledge
}

// DoorKnowledge is what is known of one version of HANA. What is learnt later
// replaces it.
type DoorKnowledge struct {
	// Refused says that it opens files with O_DIRECT only, which pipes refuse.
	Refused bool `json:"refused"`
	// Job is where that was seen.
	Job string    `json:"job_id"`
	At  time.Time `json:"at"`
	// Recommendation is the door that suits it, and Summary why; empty when no
	// probe has told.
	Recommendation Door   `json:"recommendation,omitempty"`
	Summary        string `json:"summary,omitempty"`
}

// openDoors reads what earlier processes have learnt. A file that cannot be read
// is an error that names it.
func openDoors(stateDirectory string) (*doors, error) {
	known, err := KnownDoors(stateDirectory)
	if err != nil {
		return nil, err
	}
	return &doors{path: doorsFile(stateDirectory), known: known}, nil
}

func doorsFile(stateDirectory string) string { return filepath.Join(stateDirectory, "doors.json") }

// KnownDoors reads what the daemon that keeps its state there has learnt of HANA,
// by version; nothing is an empty map. It changes nothing, so a daemon may run.
func KnownDoors(stateDirectory string) (map[string]DoorKnowledge, error) {
	known := make(map[string]DoorKnowledge)
	text, err := os.ReadFile(doorsFile(stateDirectory))
	if errors.Is(err, os.ErrNotExist) {
		return known, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of HANA from %s (it may be removed): %w", doorsFile(stateDirectory), err)
	}
	if known == nil { // the file says null
		known = make(map[string]DoorKnowledge)
	}
	return known, nil
}

// see notes which version answers.
func (d *doors) see(version string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version = version
}

// refuses says whether this HANA is known not to use pipes. As long as none has
// told its version, it is taken for the one that was seen last.
func (d *doors) refuses() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.version != "" {
		return d.known[d.version].Refused
	}
	var last DoorKnowledge
	for _, k := range d.known {
		if k.At.After(last.At) {
			last = k
		}
	}
	return last.Refused
}

// learn remembers what job has seen of the version that answers.
func (d *doors) learn(k DoorKnowledge) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[d.version] = k
	text, err := json.MarshalIndent(d.known, "", "  ")
	if err != nil {
		return fmt.Errorf("remember what is known of HANA: %w", err)
	}
	if err := replaceFile(d.path, append(text, '\n')); err != nil {
		return fmt.Errorf("remember what is known of HANA: %w", err)
	}
	return nil
}
