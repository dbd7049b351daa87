package job

import (
	"context"
	"errors"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
	"github.com/pipestreamer/pipestreamer/pkg/fifo"
)

// outlet hands data backups to HANA, each through pipes under its own names in
// one directory.
type outlet struct {
	sinks []Sink
	plans []backup.Plan
}

// outletFor makes the pipes' owners; Prepare makes the pipes.
func (c *Conductor) outletFor(plans []backup.Plan) *outlet {
	o := &outlet{plans: plans}
	for range plans {
		o.sinks = append(o.sinks, c.parts.NewSink())
	}
	return o
}

// Names implements door, for all of its plans.
func (o *outlet) Names(backup.Plan) ([]fifo.PipeID, error) {
	var all []fifo.PipeID
	for i, sink := range o.sinks {
		pipes, err := sink.Names(o.plans[i])
		if err != nil {
			return nil, err
		}
		all = append(all, pipes...)
	}
	return all, nil
}

// Prepare implements door, for all of its plans.
func (o *outlet) Prepare(ctx context.Context, _ backup.Plan) error {
	for i, sink := range o.sinks {
		if err := sink.Prepare(ctx, o.plans[i]); err != nil {
			return errors.Join(err, o.close())
		}
	}
	return nil
}

// Pipes implements door.
func (o *outlet) Pipes() []fifo.PipeID {
	var all []fifo.PipeID
	for _, sink := range o.sinks {
		all = append(all, sink.Pipes()...)
	}
	return all
}

// complete says of each stream of the i-th backup whether HANA has read all of
// it, and how often it has opened any.
func (o *outlet) complete(i int) (read map[backup.StreamID]bool, opens int) {
	read = make(map[backup.StreamID]bool)
	reports := o.sinks[i].Report()
	for k := range reports {
		read[reports[k].StreamID] = reports[k].Complete > 0
		opens += reports[k].Opens
	}
	return read, opens
}

// close lets go of HANA and removes the pipes.
func (o *outlet) close() error {
	var errs []error
	for _, sink := range o.sinks {
		errs = append(errs, sink.Close())
	}
	return errors.Join(errs...)
}
