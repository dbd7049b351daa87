package chain_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/chain"
	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// TestPlanAgainstOracle: over random histories with random losses, no plan is made
// that cannot reach its point, and none is missed that can. Times are small
// numbers of milliseconds, so that everything happens at the same moment often.
func TestPlanAgainstOracle(t *testing.T) {
	t.Parallel()
	var tally counts
	for i := range uint64(histories) {
		w := newWorld(rand.New(rand.NewPCG(4, i)))
		if fault := w.check(&tally, i); fault != "" {
			t.Fatalf("history of seed (4, %d): %s\n%s", i, fault, w)
		}
	}
	t.Logf("%+v", tally)
	for what, n := range map[string]int{
		"reached": tally.reached, "refused": tally.refused, "begun with an older backup": tally.older,
		"deltas used": tally.deltas, "latest by log": tally.byLog, "latest without log": tally.alone, "backups refused": tally.noBackup,
		"by a catalog that was never confirmed": tally.unconfirmed,
	} {
		if n < histories/100 {
			t.Errorf("%s: only %d of %d histories", what, n, histories)
		}
	}
}

// counts make sure that the histories are neither all good nor all bad.
type counts struct{ reached, refused, older, deltas, byLog, alone, noBackup, unconfirmed int }

// world is a random history, what the oracle says of it and every moment that
// could make a difference.
type world struct {
	oracle
	windows []window
	moments []time.Time
	// target and backup are what is asked for.
	target time.Time
	backup *backup.Manifest
}

type window struct {
	*backup.Manifest
	to time.Time
}

func newWorld(r *rand.Rand) *world {
	w := worldOf(randomHistory(r))
	for ms := int64(1); ms <= span+50; ms++ {
		w.moments = append(w.moments, time.UnixMilli(ms))
	}
	w.target = w.moments[r.IntN(len(w.moments))]
	if len(w.windows) > 0 && r.IntN(2) == 0 {
		w.target = w.windows[r.IntN(len(w.windows))].to.Add(time.Duration(r.IntN(2)) * time.Millisecond)
	}
	if n := len(w.h.Backups); n > 0 {
		w.backup = w.h.Backups[r.IntN(n)]
	}
	return w
}

func worldOf(h chain.History) *world {
	w := &world{oracle: newOracle(h)}
	for _, m := range w.h.Backups {
		if to, ok := w.reach(m, func(f *oracleFile) bool { return f.usable }); ok {
			w.windows = append(w.windows, window{m, to})
		}
	}
	return w
}

// check asks for a point in time, and in turns for the other things.
func (w *world) check(tally *counts, turn uint64) string {
	if fault := w.checkUntil(tally); fault != "" {
		return fault
	}
	switch turn % 3 {
	case 0:
		return w.checkLatest(tally)
	case 1:
		return w.checkBackup(tally)
	default:
		return w.checkWindows()
	}
}

// newest is the data backup with which a recovery to t has to begin.
func (w *world) newest(t time.Time) *backup.Manifest {
	var best *backup.Manifest
	for _, window := range w.windows {
		if !t.Before(window.Catalog.EndedAt) && !t.After(window.to) {
			best = newer(best, window.Manifest)
		}
	}
	return best
}

// shortest is the newest data backup that leads to the latest point.
func (w *world) shortest(latest time.Time) *backup.Manifest {
	best := w.newest(latest)
	for _, m := range w.h.Backups {
		if m.Catalog.StartedAt.Equal(latest) && w.restorable(m) {
			best = newer(best, m)
		}
	}
	return best
}

func newer(a, b *backup.Manifest) *backup.Manifest {
	if a == nil || b.Catalog.EndedAt.After(a.Catalog.EndedAt) || b.Catalog.EndedAt.Equal(a.Catalog.EndedAt) && b.BackupID > a.BackupID {
		return b
	}
	return a
}

// proven is the same world without the backups of the catalog that HANA never
// confirmed: what can be had there must not rest on one.
func (w *world) proven() *world {
	h := w.h
	h.Logs = slices.DeleteFunc(slices.Clone(h.Logs), func(f backup.LogFile) bool {
		return !f.Confirmed && f.Parsed().Kind() == backup.KindCatalog
	})
	return worldOf(h)
}

// checkCatalog makes sure that a plan rests on an unconfirmed backup of the catalog
// only when none that was confirmed would do, and says so.
func checkCatalog(c chain.Chain, would bool) string {
	if c.Catalog == nil || c.Catalog.Confirmed {
		return ""
	}
	if would {
		return c.Catalog.Name + " was never confirmed, and one that was would do"
	}
	if !slices.ContainsFunc(c.Notes, func(note string) bool { return strings.Contains(note, "never confirmed") }) {
		return fmt.Sprintf("nothing says that %s was never confirmed: %q", c.Catalog.Name, c.Notes)
	}
	return ""
}

func (w *world) checkUntil(tally *counts) string {
	target := chain.Target{Until: w.target}
	proven := w.proven().newest(w.target)
	want := cmp.Or(proven, w.newest(w.target))
	c, err := chain.Plan(w.h, target)
	if want == nil {
		tally.refused++
		return w.checkRefusal(target, err)
	}
	tally.reached++
	switch {
	case err != nil:
		return fmt.Sprintf("%s can be reached from backup %d: %v", target, want.BackupID, err)
	case c.Last() != want:
		return fmt.Sprintf("%s: begins with backup %d, expected %d", target, c.Last().BackupID, want.BackupID)
	case !c.Reaches.Equal(w.target):
		return fmt.Sprintf("%s: reaches %s", target, c.Reaches)
	}
	if len(c.Deltas) > 0 {
		tally.deltas++
	}
	if len(c.Skipped) > 0 {
		tally.older++
	}
	if !c.Catalog.Confirmed {
		tally.unconfirmed++
	}
	return cmp.Or(checkCatalog(c, proven != nil), w.checkChain(c))
}

// checkChain makes sure that c has what it needs, looking at nothing else.
func (w *world) checkChain(c chain.Chain) string {
	if diff := gocmp.Diff(ids(w.elements(c.Last())), ids(c.Data())); diff != "" {
		return "data backups (-want +got):\n" + diff
	}
	if c.Catalog == nil {
		return "no catalog"
	}
	for _, o := range c.Objects() {
		if w.h.Missing[o.Key] {
			return fmt.Sprintf("needs %s, which is missing", o.Key)
		}
	}
	for i := range c.Logs {
		if f := &c.Logs[i]; f.Parsed().BackupID > c.Catalog.Parsed().BackupID {
			return fmt.Sprintf("the catalog %s does not know %s", c.Catalog.Name, f.Name)
		}
	}
	if !slices.IsSortedFunc(c.Logs, func(a, b backup.LogFile) int {
		x, y := a.Parsed(), b.Parsed()
		return slices.Compare([]int64{int64(x.VolumeID), x.First, x.Last}, []int64{int64(y.VolumeID), y.First, y.Last})
	}) {
		return fmt.Sprintf("log out of order: %v", names(c.Logs))
	}
	handed := names(c.Logs)
	reach, ok := w.reach(c.Last(), func(f *oracleFile) bool { return f.usable && slices.Contains(handed, f.Name) })
	if !ok || reach.Before(c.Reaches) {
		return fmt.Sprintf("log %v from backup %d reaches %s, not %s", handed, c.Last().BackupID, reach, c.Reaches)
	}
	return ""
}

// checkRefusal makes sure that the point that is offered instead is the nearest.
func (w *world) checkRefusal(target chain.Target, err error) string {
	var e *chain.Unreachable
	if !errors.As(err, &e) {
		return fmt.Sprintf("%s cannot be reached, and the answer is %v", target, err)
	}
	if len(e.Reasons) == 0 {
		return fmt.Sprintf("%s: no reason", target)
	}
	at := target.Until
	if target.BackupID != 0 {
		at = time.UnixMilli(target.BackupID)
	}
	var before, after time.Time // what can be had
	for _, moment := range w.moments {
		if !w.possible(moment, target) {
			continue
		}
		if !moment.After(at) {
			before = moment
		} else if after.IsZero() {
			after = moment
		}
	}
	want := before
	if before.IsZero() {
		want = after
	}
	if !e.Nearest.Equal(want) {
		return fmt.Sprintf("%s: nearest is %s, expected %s", target, e.Nearest, want)
	}
	byLog := target.BackupID == 0 && w.newest(want) != nil
	if (e.NearestBackup == 0) != (byLog || want.IsZero()) {
		return fmt.Sprintf("%s: nearest backup is %d", target, e.NearestBackup)
	}
	if e.NearestBackup != 0 && (!w.restorable(w.find(e.NearestBackup)) || e.NearestBackup != want.UnixMilli()) {
		return fmt.Sprintf("%s: nearest backup is %d", target, e.NearestBackup)
	}
	return ""
}

// possible says whether the state of a moment can be had by a target of that sort.
func (w *world) possible(moment time.Time, target chain.Target) bool {
	for _, m := range w.h.Backups {
		if m.Catalog.StartedAt.Equal(moment) && w.restorable(m) {
			return true
		}
	}
	return target.BackupID == 0 && w.newest(moment) != nil
}

// latest is the newest moment that can be had, and whether log leads to it.
func (w *world) latest() (latest time.Time, byLog bool) {
	for _, moment := range w.moments {
		if w.possible(moment, chain.Target{Until: moment}) {
			latest, byLog = moment, w.newest(moment) != nil
		}
	}
	return latest, byLog
}

func (w *world) checkLatest(tally *counts) string {
	want, byLog := w.latest()
	proven := w.proven()
	proven.moments = w.moments
	best := w
	if at, _ := proven.latest(); at.Equal(want) {
		best = proven
	}
	c, err := chain.Plan(w.h, chain.Target{Latest: true})
	switch {
	case want.IsZero() && err == nil:
		return fmt.Sprintf("nothing can be restored: began with %d", c.Last().BackupID)
	case want.IsZero():
		return ""
	case err != nil:
		return fmt.Sprintf("the latest point is %s: %v", want, err)
	case !c.Reaches.Equal(want):
		return fmt.Sprintf("the latest point is %s, not %s", want, c.Reaches)
	case c.Last() != best.shortest(want):
		return fmt.Sprintf("the latest point has less log from backup %d than from %d", best.shortest(want).BackupID, c.Last().BackupID)
	case checkCatalog(c, best == proven) != "":
		return checkCatalog(c, best == proven)
	case c.Reaches.After(c.Last().Catalog.StartedAt):
		tally.byLog++
		return w.checkChain(c)
	case !w.restorable(c.Last()):
		return fmt.Sprintf("backup %d cannot be restored", c.Last().BackupID)
	case !byLog:
		tally.alone++
	}
	return ""
}

func (w *world) checkBackup(tally *counts) string {
	if w.backup == nil {
		return ""
	}
	target := chain.Target{BackupID: w.backup.BackupID}
	c, err := chain.Plan(w.h, target)
	if !w.restorable(w.backup) {
		tally.noBackup++
		return w.checkRefusal(target, err)
	}
	if err != nil {
		return fmt.Sprintf("%s can be restored: %v", target, err)
	}
	if diff := gocmp.Diff(ids(w.elements(w.backup)), ids(c.Data())); diff != "" || len(c.Logs) > 0 {
		return fmt.Sprintf("%s: log %v, data (-want +got):\n%s", target, names(c.Logs), diff)
	}
	if (c.Catalog != nil) != (w.backup.Kind != backup.KindComplete) || c.Catalog != nil && c.Catalog.Parsed().BackupID < w.backup.BackupID {
		return fmt.Sprintf("%s: catalog %v", target, c.Catalog)
	}
	return checkCatalog(c, w.proven().restorable(w.backup))
}

func (w *world) checkWindows() string {
	windows := chain.Windows(w.h)
	for _, moment := range w.moments {
		inside := 0
		for _, window := range windows {
			if !moment.Before(window.From) && !moment.After(window.To) {
				inside++
			}
		}
		if can := w.newest(moment) != nil; inside > 1 || (inside == 1) != can {
			return fmt.Sprintf("windows %v: %s can be reached: %v", windows, moment, can)
		}
	}
	return ""
}

// String is for whoever has to find out why.
func (w *world) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "target %d\n", w.target.UnixMilli())
	for _, m := range w.h.Backups {
		fmt.Fprintf(&text, "%s %d on %d of %q, ended %d, restorable %v:",
			m.Kind, m.BackupID, m.BaseID, m.DatabaseUUID, m.Catalog.EndedAt.UnixMilli(), w.restorable(m))
		for i := range m.Catalog.Files {
			fmt.Fprintf(&text, " %d@%d", m.Catalog.Files[i].VolumeID, m.Catalog.Files[i].RedoLogPosition)
		}
		fmt.Fprintln(&text)
	}
	for i := range w.files {
		f := &w.files[i]
		fmt.Fprintf(&text, "%s covers %d, commit %d, there %v\n", f.Name, f.covered.UnixMilli(), f.LastCommit.UnixMilli(), f.there)
	}
	for _, b := range w.h.Breaks {
		fmt.Fprintf(&text, "break %d\n", b.At.UnixMilli())
	}
	for _, window := range w.windows {
		fmt.Fprintf(&text, "from backup %d: %d to %d\n", window.BackupID, window.Catalog.EndedAt.UnixMilli(), window.to.UnixMilli())
	}
	return text.String()
}
