package chain_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	} {
		if n < histories/100 {
			t.Errorf("%s: only %d of %d histories", what, n, histories)
		}
	}
}

// counts make sure that the histories are neither all good nor all bad.
type counts struct{ reached, refused, older, deltas, byLog, alone, noBackup int }

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
	w := &world{oracle: newOracle(randomHistory(r))}
	for _, m := range w.h.Backups {
		if to, ok := w.reach(m, func(f *oracleFile) bool { return f.usable }); ok {
			w.windows = append(w.windows, window{m, to})
		}
	}
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

// span is the number of milliseconds that a history takes.
const span = 60

func randomHistory(r *rand.Rand) chain.History {
	h := chain.History{Missing: make(map[string]bool)}
	volumes := 1 + r.IntN(3)
	for start := 1 + r.IntN(8); start < span && len(h.Backups) < 5; start += 2 + r.IntN(22) {
		h.Backups = append(h.Backups, randomBackup(r, h.Backups, volumes, int64(start)))
	}
	for v := 2; v < 2+volumes+r.IntN(2); v++ {
		h.Logs = append(h.Logs, randomLog(r, v)...)
	}
	for range r.IntN(5) {
		h.Logs = append(h.Logs, logFile(backup.LogName{BackupID: 1 + r.Int64N(span+10)}))
	}
	if r.IntN(3) > 0 {
		h.Logs = append(h.Logs, logFile(backup.LogName{BackupID: span + r.Int64N(30)}))
	}
	for range max(0, r.IntN(8)-5) {
		h.Breaks = append(h.Breaks, backup.Break{At: time.UnixMilli(1 + r.Int64N(span)), Reason: "RANDOM"})
	}
	lose(r, &h)
	r.Shuffle(len(h.Logs), func(i, j int) { h.Logs[i], h.Logs[j] = h.Logs[j], h.Logs[i] })
	r.Shuffle(len(h.Backups), func(i, j int) { h.Backups[i], h.Backups[j] = h.Backups[j], h.Backups[i] })
	return h
}

// lose makes objects absent.
func lose(r *rand.Rand, h *chain.History) {
	rate := []int{0, 3, 10}[r.IntN(3)]
	for _, m := range h.Backups {
		for _, s := range m.Streams {
			if r.IntN(100) < rate {
				h.Missing[s.Objects[0].Key] = true
			}
		}
	}
	for _, f := range h.Logs {
		if r.IntN(100) < rate {
			h.Missing[f.Objects[0].Key] = true
		}
	}
}

// randomBackup mostly has the log position that its start would have.
func randomBackup(r *rand.Rand, before []*backup.Manifest, volumes int, start int64) *backup.Manifest {
	m := complete(0, nil)
	m.BackupID, m.Prefix = start, fmt.Sprint("p", start)
	m.Catalog.StartedAt = time.UnixMilli(start)
	m.Catalog.EndedAt = m.Catalog.StartedAt.Add(time.Duration(r.IntN(4)) * time.Millisecond)
	m.Streams, m.Catalog.Files, m.DatabaseUUID = nil, nil, "A"
	addVolume(m, backup.TopologyVolume, 0)
	for v := 2; v < 2+volumes; v++ {
		position := start
		switch r.IntN(12) {
		case 0:
			position = 0
		case 1:
			position = max(1, start+r.Int64N(9)-4)
		}
		addVolume(m, v, position)
	}
	if len(before) > 0 && r.IntN(3) > 0 {
		base := before[len(before)-1-r.IntN(min(2, len(before)))]
		m.Kind = backup.KindIncremental
		if r.IntN(3) == 0 {
			m.Kind, base = backup.KindDifferential, before[r.IntN(len(before))]
		}
		m.BaseID = base.BackupID
		if r.IntN(15) == 0 {
			m.BaseID = base.BackupID + 100
		}
		m.DatabaseUUID = base.DatabaseUUID
		if r.IntN(15) == 0 {
			m.DatabaseUUID = []string{"", "B"}[r.IntN(2)]
		}
	}
	return m
}

// randomLog is contiguous, with gaps, repetitions, overlaps and files that waited.
func randomLog(r *rand.Rand, volume int) []backup.LogFile {
	var files []backup.LogFile
	begin := 1 + r.Int64N(6)
	for begin < span {
		end := begin + 1 + r.Int64N(20)
		written := end
		if r.IntN(8) == 0 {
			written += r.Int64N(20)
		}
		f := logFile(backup.LogName{VolumeID: volume, First: begin, Last: end, BackupID: written})
		if r.IntN(3) == 0 {
			f.StartedAt = time.UnixMilli(max(1, written+r.Int64N(4)-1))
		}
		if r.IntN(3) == 0 {
			f.LastCommit = time.UnixMilli(max(1, end-r.Int64N(4)))
		}
		if r.IntN(16) > 0 {
			files = append(files, f)
		}
		if r.IntN(10) == 0 {
			first := max(1, begin-r.Int64N(5))
			files = append(files, logFile(backup.LogName{
				VolumeID: volume, First: first, Last: max(first+1, end-r.Int64N(3)), BackupID: end + 1 + r.Int64N(9),
			}))
		}
		begin = end
	}
	return files
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

func (w *world) checkUntil(tally *counts) string {
	target := chain.Target{Until: w.target}
	want := w.newest(w.target)
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
	return w.checkChain(c)
}

// checkChain makes sure that c has what it needs, looking at nothing else.
func (w *world) checkChain(c chain.Chain) string {
	if diff := cmp.Diff(ids(w.elements(c.Last())), ids(c.Data())); diff != "" {
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
	for _, f := range c.Logs {
		if f.Parsed().BackupID > c.Catalog.Parsed().BackupID {
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

func (w *world) checkLatest(tally *counts) string {
	var want time.Time
	byLog := false
	for _, moment := range w.moments {
		if w.possible(moment, chain.Target{Until: moment}) {
			want, byLog = moment, w.newest(moment) != nil
		}
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
	case c.Last() != w.shortest(want):
		return fmt.Sprintf("the latest point has less log from backup %d than from %d", w.shortest(want).BackupID, c.Last().BackupID)
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
	if diff := cmp.Diff(ids(w.elements(w.backup)), ids(c.Data())); diff != "" || len(c.Logs) > 0 {
		return fmt.Sprintf("%s: log %v, data (-want +got):\n%s", target, names(c.Logs), diff)
	}
	if (c.Catalog != nil) != (w.backup.Kind != backup.KindComplete) || c.Catalog != nil && c.Catalog.Parsed().BackupID < w.backup.BackupID {
		return fmt.Sprintf("%s: catalog %v", target, c.Catalog)
	}
	return ""
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
	text := "target " + fmt.Sprint(w.target.UnixMilli()) + "\n"
	for _, m := range w.h.Backups {
		text += fmt.Sprintf("%s %d on %d, ended %d, restorable %v:", m.Kind, m.BackupID, m.BaseID, m.Catalog.EndedAt.UnixMilli(), w.restorable(m))
		for _, f := range m.Catalog.Files {
			text += fmt.Sprintf(" %d@%d", f.VolumeID, f.RedoLogPosition)
		}
		text += "\n"
	}
	for _, f := range w.files {
		text += fmt.Sprintf("%s covers %d, commit %d, there %v\n", f.Name, f.covered.UnixMilli(), f.LastCommit.UnixMilli(), f.there)
	}
	for _, b := range w.h.Breaks {
		text += fmt.Sprintf("break %d\n", b.At.UnixMilli())
	}
	for _, window := range w.windows {
		text += fmt.Sprintf("from backup %d: %d to %d\n", window.BackupID, window.Catalog.EndedAt.UnixMilli(), window.to.UnixMilli())
	}
	return text
}
