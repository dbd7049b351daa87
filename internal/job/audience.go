package job

import (
	"slices"
	"sync"
)

// audience are those who follow all jobs.
type audience struct {
	mu      sync.Mutex
	members map[chan []Record]struct{}
}

// join adds a member, whose channel holds what it has not read yet: the newest
// record of each job.
func (a *audience) join() chan []Record {
	channel := make(chan []Record, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.members == nil {
		a.members = make(map[chan []Record]struct{})
	}
	a.members[channel] = struct{}{}
	return channel
}

// leave closes the channel of a member. It may be called again.
func (a *audience) leave(channel chan []Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, present := a.members[channel]; present {
		delete(a.members, channel)
		close(channel)
	}
}

// tell gives everybody a record. Records of one job have to come in their order.
func (a *audience) tell(r Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for channel := range a.members {
		tellOne(channel, r)
	}
}

// whisper gives one member a record, unless it has left.
func (a *audience) whisper(channel chan []Record, r Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, present := a.members[channel]; present {
		tellOne(channel, r)
	}
}

// tellOne lets a record take the place of an older one of its job that was not
// read yet: what waits is never more than one record for each job, and nobody
// waits for the reader. The audience is locked.
func tellOne(channel chan []Record, r Record) {
	var waiting []Record
	select {
	case waiting = <-channel:
	default:
	}
	if i := slices.IndexFunc(waiting, func(w Record) bool { return w.ID == r.ID }); i >= 0 {
		waiting[i] = r
	} else {
		waiting = append(waiting, r)
	}
	channel <- waiting
}

// SubscribeAll follows all jobs: first the records of those that run, then the
// newer ones of any job, the one with which a job ends included. A slow reader
// misses some, never the newest of a job, and slows nobody. The function ends
// the subscription, which closes the channel, and must be called. Of a job that
// ended before the call nothing is told: whoever reads Jobs afterwards has it.
func (c *Conductor) SubscribeAll() (<-chan []Record, func()) {
	channel := c.audience.join()
	c.mu.Lock()
	jobs := make([]*live, 0, len(c.order))
	for _, id := range c.order {
		jobs = append(jobs, c.jobs[id])
	}
	c.mu.Unlock()
	for _, j := range jobs {
		j.introduce(channel)
	}
	return channel, func() { c.audience.leave(channel) }
}

// introduce tells a new member of the audience about a job, if it runs.
func (j *live) introduce(channel chan []Record) {
	j.mu.Lock() // so that no newer record comes before
	defer j.mu.Unlock()
	if !j.record.State.Terminal() {
		j.audience.whisper(channel, j.snapshotLocked())
	}
}
