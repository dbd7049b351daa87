package chain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// path is a data backup with the log that leads on from it.
type path struct {
	ledger *ledger
	data   *dataChain
	scope  scope
	// replays are those of the volumes that the data backup has, sorted.
	replays []replay
	reach   time.Time
}

func (l *ledger) path(d *dataChain) *path {
	if d.path == nil {
		d.path = l.newPath(d)
	}
	return d.path
}

func (l *ledger) newPath(d *dataChain) *path {
	p := &path{ledger: l, data: d}
	if d.fault != "" {
		return p
	}
	p.scope = scope{era: l.eraOf(startOf(d.complete)), since: d.last.BackupID, oldest: d.complete.BackupID - slack, catalog: l.catalogID}
	positions := ReplayPositions(d.last)
	for _, id := range slices.Sorted(maps.Keys(positions)) {
		v := l.volumes[id]
		if v == nil {
			v = &volumeLog{id: id}
		}
		p.replays = append(p.replays, v.replay(positions[id], p.scope))
	}
	p.reach = p.reached()
	return p
}

// reached is the newest time that can be proven, zero when there is none.
func (p *path) reached() time.Time {
	if p.fault() != "" || len(p.replays) == 0 {
		return time.Time{}
	}
	reach := p.replays[0].reach
	for i := range p.replays {
		reach = earlier(reach, p.replays[i].reach)
	}
	if b, ok := p.ledger.ending(p.scope.era); ok {
		reach = earlier(reach, b.At)
	}
	if reach.Before(p.data.ended) {
		return time.Time{}
	}
	return reach
}

// fault says why no point in time can be reached.
func (p *path) fault() string {
	switch {
	case p.data.fault != "":
		return p.data.fault
	case p.data.last.BackupID > p.ledger.catalogID || !p.ledger.knows(p.data):
		return p.ledger.catalogTooOld(p.data.last)
	case p.endsBefore(p.data.ended):
		return p.interrupted()
	default:
		return ""
	}
}

// endsBefore says whether the log was interrupted before t.
func (p *path) endsBefore(t time.Time) bool { return p.ledger.endsBefore(p.scope.era, t) }

// faults says why t cannot be reached; nothing when it can.
func (p *path) faults(t time.Time) []string {
	if fault := p.fault(); fault != "" {
		return []string{fault}
	}
	if p.endsBefore(t) {
		return []string{p.interrupted()}
	}
	if len(p.replays) == 0 {
		return []string{title(p.data.last) + " has no volume with a log"}
	}
	var faults []string
	for i := range p.replays {
		if !p.replays[i].covers(t) {
			faults = append(faults, p.replays[i].stop(p.data.last))
		}
	}
	return faults
}

// chain is for a t without faults.
func (p *path) chain(t time.Time) Chain {
	var logs, further []backup.LogFile
	var doubts []string
	for i := range p.replays {
		r := &p.replays[i]
		proof, end, doubt := r.upTo(t)
		own := r.files(r.from, proof)
		logs = append(logs, own...)
		further = append(further, slices.DeleteFunc(r.files(proof, end), func(f backup.LogFile) bool {
			return slices.ContainsFunc(own, func(o backup.LogFile) bool { return o.Name == f.Name })
		})...)
		if doubt {
			doubts = append(doubts, fmt.Sprintf("commits shortly before %s may be lost, when HANA wrote its log late: %s",
				stamp(t), r.stop(p.data.last)))
		}
	}
	c := p.with(logs, append(further, p.added(t)...))
	c.Notes = append(c.Notes, doubts...)
	return c
}

// latest is the time of the newest state that can be had.
func (p *path) latest() time.Time {
	if p.reach.After(p.data.state()) {
		return p.reach
	}
	return p.data.state()
}

// newest is the chain to the latest state. It has all log that fits: HANA goes as
// far as it can.
func (p *path) newest() Chain {
	if p.reach.IsZero() && !p.hopeful() {
		return p.ledger.alone(p.data)
	}
	var logs []backup.LogFile
	for i := range p.replays {
		logs = append(logs, p.replays[i].files(p.replays[i].from, p.replays[i].end)...)
	}
	c := p.with(logs, p.added(time.Time{}))
	c.Reaches = p.latest()
	c.Notes = append(c.Notes, p.unknown()...)
	for i := range p.replays {
		r := &p.replays[i]
		switch {
		case r.idle() && r.reach.IsZero():
			c.Notes = append(c.Notes, r.stop(p.data.last)+"; if it was idle, more is reached than can be promised")
		case r.cut():
			c.Notes = append(c.Notes, r.stop(p.data.last))
		}
	}
	return c
}

// hopeful says that there is log and that only volumes of which nothing is known
// keep it from proving anything.
func (p *path) hopeful() bool {
	if p.fault() != "" {
		return false
	}
	some := false
	for i := range p.replays {
		switch r := &p.replays[i]; {
		case r.idle():
		case r.reach.Before(p.data.ended):
			return false
		default:
			some = true
		}
	}
	return some
}

// with completes a chain of the data backup and its log.
func (p *path) with(logs, further []backup.LogFile) Chain {
	c := Chain{Complete: p.data.complete, Deltas: p.data.deltas(), Logs: logs, Further: further, Catalog: p.ledger.catalog}
	slices.SortStableFunc(c.Further, func(a, b backup.LogFile) int {
		x, y := a.Parsed(), b.Parsed()
		return cmp.Or(cmp.Compare(x.VolumeID, y.VolumeID), cmp.Compare(x.First, y.First),
			cmp.Compare(x.Last, y.Last), cmp.Compare(x.BackupID, y.BackupID))
	})
	c.noteCatalog()
	for i := range p.replays {
		if r := &p.replays[i]; r.assumed {
			c.Notes = append(c.Notes, fmt.Sprintf("volume %d: HANA did not say from which log position %s has to be replayed: "+
				"all log backups since its start are used", r.volume.id, title(p.data.last)))
		}
	}
	return c
}

// added is the log of volumes that the data backup does not have, up to t or, when
// that is zero, to the end. It cannot be told where it begins.
func (p *path) added(t time.Time) []backup.LogFile {
	own := ReplayPositions(p.data.last)
	var files []backup.LogFile
	for id, v := range p.ledger.volumes {
		if _, has := own[id]; has {
			continue
		}
		for i := range v.byFirst {
			f := &v.byFirst[i]
			if !p.scope.newer(f) || !p.scope.usable(f) {
				continue
			}
			files = append(files, *f.LogFile)
			if !t.IsZero() && !f.covered.Before(t) {
				break
			}
		}
	}
	return files
}

// unknown tells of log backups that the catalog is too old for.
func (p *path) unknown() []string {
	all := p.scope
	all.catalog = 1<<63 - 1
	n := 0
	var first, last logFile
	for k := range p.replays {
		files := p.replays[k].volume.byFirst
		for i := range files {
			f := &files[i]
			if p.scope.usable(f) || !all.usable(f) {
				continue
			}
			if n++; n == 1 || f.name.BackupID < first.name.BackupID {
				first = *f
			}
			if f.name.BackupID > last.name.BackupID {
				last = *f
			}
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the newest backup of the catalog, %s, does not know %d newer log backups, %s to %s",
		p.ledger.catalog.Name, n, first.Name, last.Name)}
}
