package chain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestPlanAgainstTruth lets a database work, with commits whose places are known,
// log that waits while HANA cannot write, recoveries after which the same positions
// are given to other log, and objects and backups that get lost: of some recoveries
// no manifest knows. Whatever is planned for a point without a word of doubt must
// hold every commit before it, and none of another life.
func TestPlanAgainstTruth(t *testing.T) {
	t.Parallel()
	planned, doubted, waited, recovered := 0, 0, 0, 0
	for i := range uint64(histories / 100) {
		r := rand.New(rand.NewPCG(5, i))
		d := newDatabase(r)
		for !d.done() {
			d.step()
		}
		waited += d.waited
		recovered += len(d.h.Breaks)
		for range 10 {
			target := chain.Target{Until: time.UnixMilli(1 + r.Int64N(d.now))}
			c, err := chain.Plan(d.h, target)
			if err != nil {
				continue
			}
			if slices.ContainsFunc(c.Notes, func(note string) bool { return strings.Contains(note, "may be lost") }) {
				doubted++
				continue
			}
			planned++
			if c.Catalog != nil && !c.Catalog.Confirmed && d.confirmedDoes(target) {
				t.Fatalf("history of seed (5, %d), %s: rests on %s, which HANA never confirmed", i, target, c.Catalog.Name)
			}
			if fault := d.lacks(c, target.Until); fault != "" {
				t.Fatalf("history of seed (5, %d), %s: %s", i, target, fault)
			}
		}
	}
	if planned < histories/50 || waited < histories/50 || doubted > planned/10 || recovered < histories/200 {
		t.Errorf("%d plans and %d in doubt, with %d log backups that waited and %d recoveries", planned, doubted, waited, recovered)
	}
}

// database is a HANA with two volumes.
type database struct {
	r       *rand.Rand
	h       chain.History
	now     int64 // milliseconds
	ends    int64
	stalled bool // HANA cannot write log backups
	volumes map[int]*volume
	waited  int
	begun   int // how many backups there were when this life began
}

type volume struct {
	position int64
	commits  []commit
	closed   int64     // where the open segment begins
	queue    []segment // closed and not written
}

// commit is at the position before it, acknowledged at a time, of a life: the
// number of recoveries before it.
type commit struct {
	position, time int64
	life           int
}

type segment struct{ first, last, closed int64 }

func newDatabase(r *rand.Rand) *database {
	d := &database{r: r, ends: 200 + r.Int64N(200), volumes: map[int]*volume{2: {position: 1, closed: 1}, 3: {position: 1, closed: 1}}}
	d.h.Missing = make(map[string]bool)
	d.now = 1
	d.backup()
	return d
}

// done is not before everything that waited is written: what HANA still keeps to
// itself, no log index tells.
func (d *database) done() bool {
	waiting := 0
	for _, v := range d.volumes {
		waiting += len(v.queue) + int(v.position-v.closed)
	}
	return d.now > d.ends && waiting == 0
}

func (d *database) step() {
	d.now++
	switch {
	case d.now > d.ends:
		d.stalled = false
	case d.r.IntN(20) == 0:
		d.stalled = !d.stalled
	case d.r.IntN(60) == 0:
		d.backup()
	case d.r.IntN(150) == 0:
		d.recover()
	}
	for id := 2; id <= 3; id++ {
		d.work(id, d.volumes[id])
	}
	if d.r.IntN(10) == 0 {
		f := logFile(backup.LogName{BackupID: d.now})
		f.Confirmed = d.r.IntN(4) > 0
		d.keep(f)
	}
}

func (d *database) work(id int, v *volume) {
	ending := d.now > d.ends
	for range d.r.IntN(3) {
		if ending {
			break
		}
		v.commits = append(v.commits, commit{v.position, d.now, len(d.h.Breaks)})
		v.position++
	}
	if v.position > v.closed && (ending || d.r.IntN(8) == 0) {
		v.queue = append(v.queue, segment{v.closed, v.position, d.now})
		v.closed = v.position
	}
	if d.stalled || len(v.queue) == 0 {
		return
	}
	d.now++
	d.write(id, v.queue[0])
	v.queue = v.queue[1:]
}

// write makes a log backup, and sometimes one of the same again.
func (d *database) write(id int, s segment) {
	if d.now > s.closed+2 {
		d.waited++
	}
	f := logFile(backup.LogName{VolumeID: id, First: s.first, Last: s.last, BackupID: d.now})
	f.LastCommit = d.lastCommit(id, s.last)
	d.keep(f)
	if d.r.IntN(10) == 0 {
		d.volumes[id].queue = append(d.volumes[id].queue, segment{s.first, s.last, d.now})
	}
}

func (d *database) lastCommit(id int, position int64) time.Time {
	var last time.Time
	for _, c := range d.volumes[id].commits {
		if c.position < position && c.life == len(d.h.Breaks) {
			last = time.UnixMilli(c.time)
		}
	}
	return last
}

// keep stores f; its object may get lost.
func (d *database) keep(f backup.LogFile) {
	d.h.Logs = append(d.h.Logs, f)
	if d.r.IntN(25) == 0 {
		d.h.Missing[f.Objects[0].Key] = true
	}
}

// recover writes what waits and goes back to an earlier position. It makes a
// complete backup then, or goes on without: nobody would know of the recovery by a
// manifest.
func (d *database) recover() {
	for id := 2; id <= 3; id++ {
		d.flush(id, d.volumes[id])
	}
	d.now++
	d.h.Breaks = append(d.h.Breaks, backup.Break{At: time.UnixMilli(d.now), Reason: "RECOVERY"})
	d.begun = len(d.h.Backups)
	for _, v := range d.volumes {
		v.position = max(1, v.position-d.r.Int64N(60))
		v.closed = v.position
	}
	d.now++
	if d.r.IntN(2) == 0 {
		d.backup()
	}
}

func (d *database) flush(id int, v *volume) {
	if v.position > v.closed {
		v.queue = append(v.queue, segment{v.closed, v.position, d.now})
		v.closed = v.position
	}
	for ; len(v.queue) > 0; v.queue = v.queue[1:] {
		d.now++
		d.write(id, v.queue[0])
	}
}

// confirmedDoes says whether a point can be reached without any backup of the
// catalog that HANA never confirmed.
func (d *database) confirmedDoes(target chain.Target) bool {
	h := d.h
	h.Logs = slices.DeleteFunc(slices.Clone(h.Logs), func(f backup.LogFile) bool { return !f.Confirmed })
	_, err := chain.Plan(h, target)
	return err == nil
}

// lifeOf is the number of recoveries before a time.
func (d *database) lifeOf(ms int64) int {
	life := 0
	for _, b := range d.h.Breaks {
		if b.At.UnixMilli() < ms {
			life++
		}
	}
	return life
}

// backup is a complete one, or an incremental one on the last of this life.
func (d *database) backup() {
	m := complete(0, nil)
	m.BackupID, m.Prefix, m.Streams = d.now, fmt.Sprint("p", d.now), nil
	m.Catalog = backup.CatalogEntry{BackupID: d.now, StartedAt: time.UnixMilli(d.now), EndedAt: time.UnixMilli(d.now + d.r.Int64N(5))}
	if n := len(d.h.Backups); n > d.begun && d.r.IntN(2) == 0 {
		m.Kind, m.BaseID = backup.KindIncremental, d.h.Backups[n-1].BackupID
	}
	for id, v := range d.volumes {
		position := v.position
		if d.r.IntN(6) == 0 {
			position = 0 // not told
		}
		addVolume(m, id, position)
		if d.r.IntN(25) == 0 {
			d.h.Missing[m.Streams[0].Objects[0].Key] = true
		}
	}
	d.h.Backups = append(d.h.Backups, m)
	d.now++
}

// lacks names a commit before until that the chain does not have.
func (d *database) lacks(c chain.Chain, until time.Time) string {
	begun, life := c.Last().BackupID, d.lifeOf(until.UnixMilli())
	if d.lifeOf(begun) != life {
		return fmt.Sprintf("backup %d is of another life", begun)
	}
	staged := slices.DeleteFunc(c.Staged(), func(f backup.LogFile) bool { return d.lifeOf(f.Parsed().BackupID) != life })
	for id, v := range d.volumes {
		for _, commit := range v.commits {
			if commit.time < begun || commit.time >= until.UnixMilli() || commit.life != life {
				continue
			}
			if !has(staged, id, commit.position) {
				return fmt.Sprintf("the commit at position %d of volume %d, at %d, is neither in backup %d nor in %v",
					commit.position, id, commit.time, begun, names(staged))
			}
		}
	}
	return ""
}

func has(files []backup.LogFile, volume int, position int64) bool {
	for i := range files {
		if n := files[i].Parsed(); n.VolumeID == volume && n.First <= position && position < n.Last {
			return true
		}
	}
	return false
}
