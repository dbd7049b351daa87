package fifo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Names gives every name at which Prepare and what follows it may put a pipe,
// for the journal, to be written before Prepare: then [Sweep] finds all of them
// whenever this process dies. It refuses names that are taken, with an error
// that names them and wraps unix.EEXIST, because a sweep would take a pipe there
// for ours. It changes nothing.
func (s *Source) Names(plan backup.Plan) ([]PipeID, error) {
	return names(s.cfg, plan, func(id backup.StreamID) []string {
		return sourceNames(plan.FileName(id), plan.TemporaryName(id))
	})
}

// sourceNames are all names at which a Source may have a pipe of one stream.
func sourceNames(final, hidden string) []string {
	list := []string{final, hidden}
	for n := range sourcePipes {
		list = append(list, temporaryName(final, n))
	}
	return list
}

// Names is as [Source.Names].
func (s *Sink) Names(plan backup.Plan) ([]PipeID, error) {
	return names(s.cfg, plan, func(id backup.StreamID) []string {
		final := plan.FileName(id)
		return []string{final, temporaryName(final, 0)}
	})
}

// temporaryPrefix begins the names that HANA never opens.
const temporaryPrefix = ".pipestreamer."

// temporaryName is where the n-th pipe of a stream stands until it takes a name
// that HANA opens. No prefix of a plan has a dot in it, so it is never taken
// for a file of another plan.
func temporaryName(final string, n int) string {
	return temporaryPrefix + final + "." + strconv.Itoa(n+1)
}

func names(cfg Config, plan backup.Plan, of func(backup.StreamID) []string) (_ []PipeID, err error) {
	dir, err := openPlan(cfg, plan)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	self, err := dir.look(".")
	if err != nil {
		return nil, err
	}
	var ids []PipeID
	var taken []string
	for _, stream := range plan.Streams {
		for _, name := range of(stream.StreamID) {
			e, err := dir.look(name)
			if err != nil {
				return nil, err
			}
			if e.exists {
				taken = append(taken, name)
			}
			ids = append(ids, PipeID{Name: name, Dev: self.dev})
		}
	}
	if len(taken) > 0 {
		return nil, fmt.Errorf("prepare pipes in %s: %w: %s", dir.path, unix.EEXIST, strings.Join(taken, ", "))
	}
	return ids, nil
}
