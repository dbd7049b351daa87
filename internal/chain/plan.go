package chain

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Plan finds what a restore of target needs. It begins with the newest data backup
// from which target can be reached, so that the least log is replayed. When there
// is none, the error is an *Unreachable. A target that names not exactly one thing
// gives another error. A backup of the catalog that HANA never confirmed is used
// only when none that it has confirmed leads there.
func Plan(h History, target Target) (Chain, error) {
	if err := target.check(); err != nil {
		return Chain{}, err
	}
	l := open(h)
	c, err := l.plan(target)
	if err != nil || c.Catalog == nil || c.Catalog.Confirmed {
		return c, err
	}
	proven, errProven := open(h.proven()).plan(target)
	if errProven == nil && !proven.Reaches.Before(c.Reaches) {
		proven.Notes = append(proven.Notes, fmt.Sprintf("the newer backup of the catalog, %s, was never confirmed by HANA and is not used", l.catalog.Name))
		return proven, nil
	}
	if errProven == nil && proven.Catalog != nil {
		c.Notes = append(c.Notes, fmt.Sprintf("the newest that was confirmed, %s, leads to %s", proven.Catalog.Name, stamp(proven.Reaches)))
	}
	return c, nil
}

// proven is h without the backups of the catalog that HANA never confirmed: they
// may be cut off, or of a backup that failed.
func (h History) proven() History {
	h.Logs = slices.DeleteFunc(slices.Clone(h.Logs), func(f backup.LogFile) bool {
		return !f.Confirmed && f.Parsed().Kind() == backup.KindCatalog
	})
	return h
}

func (l *ledger) plan(target Target) (Chain, error) {
	switch {
	case target.BackupID != 0:
		return l.planBackup(target)
	case target.Latest:
		return l.planLatest(target)
	default:
		return l.planUntil(target)
	}
}

func (t Target) check() error {
	named := 0
	for _, is := range []bool{!t.Until.IsZero(), t.Latest, t.BackupID != 0} {
		if is {
			named++
		}
	}
	if named != 1 {
		return errors.New("plan a restore: expected exactly one of a time, the latest point and a backup id")
	}
	return nil
}

func (l *ledger) planBackup(target Target) (Chain, error) {
	d := l.byID[target.BackupID]
	switch {
	case d == nil:
		return Chain{}, l.unreachable(target, fmt.Sprintf("there is no manifest of backup %d", target.BackupID))
	case d.fault != "":
		return Chain{}, l.unreachable(target, d.fault)
	case !l.knows(d):
		return Chain{}, l.unreachable(target, l.catalogTooOld(d.last))
	}
	return l.alone(d), nil
}

func (l *ledger) planUntil(target Target) (Chain, error) {
	var reasons []string
	var skipped []int64
	for _, d := range l.data {
		if d.ended.After(target.Until) {
			continue
		}
		p := l.path(d)
		found := p.faults(target.Until)
		if len(found) == 0 {
			c := p.chain(target.Until)
			c.Reaches = target.Until
			c.skip(skipped)
			return c, nil
		}
		reasons = append(reasons, found...)
		skipped = append(skipped, d.last.BackupID)
	}
	if len(reasons) == 0 {
		reasons = append(reasons, l.nothingEndedBy(target.Until))
	}
	return Chain{}, l.unreachable(target, reasons...)
}

func (l *ledger) planLatest(target Target) (Chain, error) {
	var best *path
	var reasons []string
	for _, d := range l.data {
		p := l.path(d)
		switch {
		case !l.restorable(d):
			reasons = append(reasons, p.fault())
		case best == nil || p.latest().After(best.latest()):
			best = p
		}
	}
	if best == nil {
		if len(l.data) == 0 {
			reasons = append(reasons, "there is no data backup")
		}
		return Chain{}, l.unreachable(target, reasons...)
	}
	c := best.newest()
	var skipped []int64
	for _, d := range l.data {
		if d.ended.After(best.data.ended) {
			skipped = append(skipped, d.last.BackupID)
		}
	}
	c.skip(skipped)
	return c, nil
}

// restorable says whether the state of d itself can be had.
func (l *ledger) restorable(d *dataChain) bool { return d.fault == "" && l.knows(d) }

// knows says whether HANA can find d: a delta only by the catalog, which lists it as
// successful when it has ended, and not before.
func (l *ledger) knows(d *dataChain) bool {
	return d.base == nil || d.last.BackupID <= l.catalogID && !l.catalogBefore(d.last)
}

// finishing is the time between the begin of the catalog's backup at the end of a
// data backup and the end of that one: 13 milliseconds in a real listing.
const finishing = 10 * time.Second

// catalogBefore says whether the catalog's newest backup began before m ended.
func (l *ledger) catalogBefore(m *backup.Manifest) bool {
	return time.UnixMilli(l.catalogID).Before(endOf(m).Add(-finishing))
}

// alone is the chain to the state of d.
func (l *ledger) alone(d *dataChain) Chain {
	c := Chain{Complete: d.complete, Deltas: d.deltas(), Reaches: d.state()}
	if d.base == nil {
		return c
	}
	c.Catalog = l.catalog
	c.noteCatalog()
	era := l.eraOf(startOf(d.complete))
	if b, _ := l.ending(era); l.endsBefore(era, d.state()) {
		c.Notes = append(c.Notes, fmt.Sprintf("%s was made after the log was interrupted at %s, %s before",
			title(d.last), stamp(b.At), title(d.complete)))
	}
	return c
}

func (c *Chain) skip(ids []int64) {
	if len(ids) == 0 {
		return
	}
	c.Skipped = slices.Clone(ids)
	slices.Sort(c.Skipped)
	c.Notes = append(c.Notes, "newer data backups cannot be used for this: "+list(c.Skipped))
}

func (c *Chain) noteCatalog() {
	if c.Catalog != nil && !c.Catalog.Confirmed {
		c.Notes = append(c.Notes, fmt.Sprintf("the newest backup of the catalog, %s, was never confirmed by HANA", c.Catalog.Name))
	}
}
