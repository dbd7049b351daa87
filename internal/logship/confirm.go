package logship

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

const (
	// catalogDelay is how old a file is from which on a catalog that does not
	// confirm it is not asked again at once: HANA may write its rows after it
	// has named the file.
	catalogDelay = 5 * time.Second
	// askPause is between two questions within catalogDelay.
	askPause = 500 * time.Millisecond
	// firstAsk and longestAsk are between two questions about the same files
	// after that.
	firstAsk   = 5 * time.Second
	longestAsk = 5 * time.Minute
	// entryLead in milliseconds is by how much a backup of the catalog may have a
	// later id than the entry that lists it. That they are the same was never
	// seen.
	entryLead = 10 * 60 * 1000
	// idDistance in milliseconds separates ids that are asked for one by one.
	idDistance = 60 * 60 * 1000
)

// hanaPause is when HANA is asked again about files that it did not confirm.
type hanaPause struct {
	pause time.Duration
	next  time.Time
	away  bool
}

// longer lets more time pass before the next question.
func (h *hanaPause) longer(now time.Time) {
	h.away = false
	h.pause = min(max(2*h.pause, firstAsk), longestAsk)
	h.next = now.Add(h.pause)
}

// soon has the next question come early: there may be new doubts.
func (h *hanaPause) soon(now time.Time) {
	h.away = false
	h.pause, h.next = firstAsk, now.Add(firstAsk)
}

// confirm asks HANA's catalog about the files in the store that it has not
// confirmed, and about those of which the store may hold less: at once about new
// ones, now and then about the others, but not about backups that it calls failed.
// Without an answer they stay as they are.
func (s *Shipper) confirm(ctx context.Context) {
	due := !time.Now().Before(s.hana.next)
	if s.hana.away && !due {
		return
	}
	open := s.list(func(it *item) bool {
		_, outdated := s.outdated(it)
		return (it.stored || outdated) && !it.record.Confirmed && !it.rejected && (due || !it.asked)
	})
	if len(open) == 0 {
		return
	}
	fresh := slices.ContainsFunc(open, func(it *item) bool { return !it.asked })
	err := s.askPatiently(ctx, open)
	switch {
	case err != nil:
		s.hanaAway(ctx, err)
	case fresh:
		s.hana.soon(time.Now())
	default:
		s.hana.longer(time.Now())
	}
}

// askPatiently asks again while rows of young files are missing.
func (s *Shipper) askPatiently(ctx context.Context, items []*item) error {
	err := s.ask(ctx, items)
	for err == nil && mayBeLate(items) && ctx.Err() == nil {
		sleep(ctx, askPause)
		err = s.ask(ctx, items)
	}
	return err
}

// mayBeLate reports whether a file is so young that its rows may come yet.
func mayBeLate(items []*item) bool {
	now := time.Now()
	for _, it := range items {
		if age := now.Sub(it.file.ModTime); !it.record.Confirmed && !it.rejected && !it.indexed && age >= 0 && age < catalogDelay {
			return true
		}
	}
	return false
}

func (s *Shipper) hanaAway(ctx context.Context, err error) {
	if !s.hana.away && ctx.Err() == nil {
		s.log.Warn("HANA's catalog cannot be asked about log backups: they are shipped, but stay on the volume", zap.Error(err))
	}
	s.hana.longer(time.Now())
	s.hana.away = true
}

// ask asks about these items, in one question for those whose ids are close
// together, and in another one about backups of the catalog that are not among
// the log backups.
func (s *Shipper) ask(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.AskTimeout)
	defer cancel()
	rows := make(map[string]catalogRow)
	for _, r := range idRanges(items) {
		entries, err := s.parts.Historian.Logs(ctx, s.config.Database, r.first-entryLead, r.last)
		if err != nil {
			return fmt.Errorf("ask HANA for log backups %d to %d: %w", r.first, r.last, err)
		}
		collect(rows, entries)
	}
	if catalogUnknown(rows, items) {
		newest, err := s.parts.Historian.Base(ctx, s.config.Database, backup.KindIncremental)
		if err == nil {
			collect(rows, []backup.CatalogEntry{newest})
		} else {
			s.log.Debug("the newest data backup cannot be asked for", zap.Error(err))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		it.judge(rows[it.file.Name])
		if it.conflict != "" && it.record.Confirmed {
			it.notBefore = time.Time{} // see replace
		}
	}
	return nil
}

type idRange struct{ first, last int64 }

// idRanges are ranges that hold the ids of items, and few others: a file may wait
// for its confirmation long after HANA has gone on.
func idRanges(items []*item) []idRange {
	ids := make([]int64, 0, len(items))
	for _, it := range items {
		ids = append(ids, it.name.BackupID)
	}
	slices.Sort(ids)
	var ranges []idRange
	for _, id := range ids {
		if n := len(ranges); n > 0 && id-ranges[n-1].last <= idDistance {
			ranges[n-1].last = id
			continue
		}
		ranges = append(ranges, idRange{first: id, last: id})
	}
	return ranges
}

// catalogUnknown reports whether a backup of the catalog is not in rows.
func catalogUnknown(rows map[string]catalogRow, items []*item) bool {
	for _, it := range items {
		if _, found := rows[it.file.Name]; !found && it.name.Kind() == backup.KindCatalog {
			return true
		}
	}
	return false
}

// catalogRow is what HANA's catalog says of a file.
type catalogRow struct {
	entry *backup.CatalogEntry
	file  *backup.CatalogFile
}

// collect adds the files of entries by name. One that is listed twice counts as
// the last successful entry says.
func collect(rows map[string]catalogRow, entries []backup.CatalogEntry) {
	for i := range entries {
		entry := &entries[i]
		for k := range entry.Files {
			name := path.Base(entry.Files[k].Path)
			if before, found := rows[name]; found && before.entry.State == backup.CatalogSuccessful && entry.State != backup.CatalogSuccessful {
				continue
			}
			rows[name] = catalogRow{entry: entry, file: &entry.Files[k]}
		}
	}
}

// judge compares the file with what HANA's catalog says of it. The name holds
// volume, positions and id, so a row of that name has to have the same.
func (it *item) judge(row catalogRow) {
	it.asked, it.rejected = true, false
	if row.entry == nil {
		it.doubt = "HANA's catalog does not know it"
		return
	}
	file, n := row.file, it.name
	switch {
	case row.entry.State != backup.CatalogSuccessful:
		it.rejected = row.entry.State == backup.CatalogFailed || row.entry.State == backup.CatalogCanceled
		it.doubt = fmt.Sprintf("HANA's catalog calls it %s: %s", row.entry.State, row.entry.Message)
	case file.Size != it.record.Size:
		it.doubt = fmt.Sprintf("HANA's catalog says %d bytes, the file has %d", file.Size, it.record.Size)
	case n.Kind() == backup.KindCatalog && file.SourceType != backup.SourceCatalog:
		it.doubt = "HANA's catalog calls it a file of the type " + file.SourceType
	case n.Kind() == backup.KindLog && (file.VolumeID != n.VolumeID || differs(file.FirstLogPosition, n.First) || differs(file.LastLogPosition, n.Last)):
		it.doubt = fmt.Sprintf("HANA's catalog says volume %d, positions %d to %d", file.VolumeID, file.FirstLogPosition, file.LastLogPosition)
	default:
		it.doubt = ""
		it.record.Confirmed = true
		it.record.StartedAt, it.record.EndedAt, it.record.LastCommit = row.entry.StartedAt, row.entry.EndedAt, file.LastCommit
	}
}

// differs compares a position that the catalog may not say (0).
func differs(said, want int64) bool { return said != 0 && said != want }
