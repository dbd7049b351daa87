package chain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// Unreachable says why a target cannot be reached, and what can be instead.
type Unreachable struct { //nolint:errname // callers read chain.Unreachable; Error would say it twice
	Target Target
	// Nearest is the newest point before the target that can be reached, or the
	// oldest after it; zero when nothing can be.
	Nearest time.Time
	// NearestBackup is not 0 when Nearest is the state of that backup and has to
	// be asked for by this id: no log leads to it.
	NearestBackup int64
	// Reasons are sentences for an operator, the newest data backup's first.
	Reasons []string
}

// reasonsShown is how many of the reasons a message has.
const reasonsShown = 5

// Error gives the target, why, and what to ask for instead.
func (e *Unreachable) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s cannot be restored: ", e.Target)
	shown := e.Reasons[:min(len(e.Reasons), reasonsShown)]
	text.WriteString(strings.Join(shown, "; "))
	if n := len(e.Reasons) - len(shown); n > 0 {
		fmt.Fprintf(&text, "; and %d more", n)
	}
	switch {
	case e.NearestBackup != 0:
		fmt.Fprintf(&text, "; what can be restored instead is backup %d, the state of %s", e.NearestBackup, stamp(e.Nearest))
	case !e.Nearest.IsZero():
		fmt.Fprintf(&text, "; the nearest point that can be restored is %s", stamp(e.askable()))
	default:
		text.WriteString("; no point in time can be restored")
	}
	return text.String()
}

// askable is Nearest in whole seconds, as RECOVER takes it, on the side that can
// be reached.
func (e *Unreachable) askable() time.Time {
	second := e.Nearest.Truncate(time.Second)
	if e.Nearest.After(e.Target.Until) && second.Before(e.Nearest) {
		return second.Add(time.Second)
	}
	return second
}

// String names the target.
func (t Target) String() string {
	switch {
	case t.BackupID != 0:
		return "backup " + strconv.FormatInt(t.BackupID, 10)
	case t.Latest:
		return "the latest point"
	default:
		return "the point " + stamp(t.Until)
	}
}

func (l *ledger) unreachable(target Target, reasons ...string) error {
	e := &Unreachable{Target: target}
	for _, reason := range reasons {
		if !slices.Contains(e.Reasons, reason) {
			e.Reasons = append(e.Reasons, reason)
		}
	}
	e.Nearest, e.NearestBackup = l.nearest(target)
	return e
}

// nearest returns the point to ask for instead of target, and the id of its backup
// when no log leads to it.
func (l *ledger) nearest(target Target) (time.Time, int64) {
	if target.Latest {
		return time.Time{}, 0
	}
	at := target.Until
	if target.BackupID != 0 {
		at = time.UnixMilli(target.BackupID)
	}
	var near candidate
	for _, d := range l.data {
		if l.restorable(d) {
			near = near.nearer(at, candidate{d.state(), d.last.BackupID})
		}
		if target.BackupID != 0 {
			continue
		}
		if p := l.path(d); !p.reach.IsZero() {
			near = near.nearer(at, candidate{p.reach, 0})
			near = near.nearer(at, candidate{d.ended, 0})
		}
	}
	return near.at, near.backupID
}

type candidate struct {
	at       time.Time
	backupID int64
}

// nearer returns what an operator would rather have who wanted t: what is before
// it, and then what is nearer to it.
func (c candidate) nearer(t time.Time, other candidate) candidate {
	if c.at.IsZero() {
		return other
	}
	past, otherPast := c.at.After(t), other.at.After(t)
	switch {
	case past && !otherPast:
		return other
	case !past && otherPast:
		return c
	case other.at.Equal(c.at) && other.backupID == 0:
		return other
	case !past && other.at.After(c.at), past && other.at.Before(c.at):
		return other
	default:
		return c
	}
}

func (l *ledger) nothingEndedBy(t time.Time) string {
	if len(l.data) == 0 {
		return "there is no data backup"
	}
	oldest := l.data[len(l.data)-1]
	return fmt.Sprintf("%s is before the end of the oldest data backup, %s, at %s", stamp(t), title(oldest.last), stamp(oldest.ended))
}

func (l *ledger) catalogTooOld(m *backup.Manifest) string {
	switch {
	case l.catalog == nil:
		return fmt.Sprintf("there is no backup of the catalog, without which HANA does not find backup %d and its log", m.BackupID)
	case m.BackupID > l.catalogID:
		return fmt.Sprintf("the newest backup of the catalog that is there, %s, is older than backup %d", l.catalog.Name, m.BackupID)
	default:
		return fmt.Sprintf("the newest backup of the catalog that is there, %s, began at %s, before %s ended: it does not know it",
			l.catalog.Name, stamp(time.UnixMilli(l.catalogID)), title(m))
	}
}

func (p *path) interrupted() string {
	b, _ := p.ledger.ending(p.scope.era)
	reason := b.Reason
	if reason == "" {
		reason = "no reason known"
	}
	return fmt.Sprintf("the log was interrupted at %s (%s): nothing that builds on %s goes past it",
		stamp(b.At), reason, title(p.data.complete))
}

// stop says why the replay goes no further after the data backup m.
func (r *replay) stop(m *backup.Manifest) string {
	last, missing, next := r.around()
	switch {
	case missing != nil && missing.absent != "":
		return fmt.Sprintf("volume %d: %s (log positions %d to %d) is not in the store, its object %s is missing; the log before it reaches %s",
			r.volume.id, missing.Name, missing.name.First, missing.name.Last, missing.absent, r.until(m))
	case missing != nil && !missing.Confirmed:
		return fmt.Sprintf("volume %d: %s (log positions %d to %d) was never confirmed by HANA's catalog and may be cut off; the log before it reaches %s",
			r.volume.id, missing.Name, missing.name.First, missing.name.Last, r.until(m))
	case missing != nil:
		return fmt.Sprintf("volume %d: the newest backup of the catalog, of id %d, is too old to know %s; the log before it reaches %s",
			r.volume.id, r.scope.catalog, missing.Name, r.until(m))
	case next != nil:
		return fmt.Sprintf("volume %d: no log backup has the log positions %d to %d, from %s to %s, between %s and %s",
			r.volume.id, r.end, next.name.First, r.until(m), stamp(next.covered), r.behind(last, m), next.Name)
	case last != nil:
		return fmt.Sprintf("volume %d: the log ends at position %d with %s, which reaches %s", r.volume.id, r.end, last.Name, r.until(m))
	default:
		return fmt.Sprintf("volume %d: there is no log backup after %s", r.volume.id, title(m))
	}
}

// around returns the file with which the replay ends, one that would lead on if
// HANA could have it, and the next one behind a gap.
func (r *replay) around() (last, missing, next *logFile) {
	for i := r.volume.firstTo(r.end); i < len(r.volume.byFirst); i++ {
		f := &r.volume.byFirst[i]
		switch {
		case !r.scope.of(f) || r.assumed && !r.scope.newer(f):
		case f.name.Last == r.end && r.mayUse(f):
			last = f
		case f.name.First <= r.end && f.name.Last > r.end && (missing == nil || !missing.lost()):
			missing = f
		case f.name.First > r.end:
			return last, missing, f
		}
	}
	return last, missing, nil
}

// cut says that there is log behind the end which something lost keeps away.
func (r *replay) cut() bool {
	_, missing, next := r.around()
	return missing != nil && missing.lost() || missing == nil && next != nil
}

// until is how far the log before the end reaches.
func (r *replay) until(m *backup.Manifest) string {
	if !r.reach.IsZero() {
		return stamp(r.reach)
	}
	return "no further than " + title(m)
}

func (r *replay) behind(last *logFile, m *backup.Manifest) string {
	if last == nil {
		return title(m)
	}
	return last.Name
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func list(ids []int64) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(words, ", ")
}
