package logship

import (
	"maps"
	"slices"
	"time"

	"github.com/pipestreamer/pipestreamer/pkg/backup"
)

// listed is how many files a list of a Status names at most.
const listed = 100

// Status is what there is to know about the log backups of a database.
type Status struct {
	Database string `json:"database"`
	// Judged says that what was wrong before the start would be seen again: the
	// indexes were read, and every file was looked at that stood on the volume then.
	Judged bool `json:"-"`
	// Volumes say how far each volume's log is in the store, by volume id.
	Volumes []VolumeStatus `json:"volumes"`
	// RecoveryPoint is the time up to which the log of every volume is in the
	// store without a gap since its newest data backup, at least; AgeSeconds is how
	// long ago that is. Both are missing when there is no such data backup.
	RecoveryPoint time.Time `json:"recovery_point,omitzero"`
	AgeSeconds    int64     `json:"age_seconds,omitempty"`
	// CatalogAt is the time of the newest backup of the catalog in the store.
	CatalogAt time.Time `json:"catalog_at,omitzero"`
	// WaitingFiles are on the volume and not safe in the store.
	WaitingFiles  int       `json:"waiting_files"`
	WaitingBytes  int64     `json:"waiting_bytes"`
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	// KeptFiles are on the volume although they are safe in the store.
	KeptFiles int `json:"kept_files"`
	// SpaceFree and SpaceTotal are the volume's, in bytes; missing when unknown.
	SpaceFree  *int64 `json:"space_free_bytes,omitempty"`
	SpaceTotal *int64 `json:"space_total_bytes,omitempty"`
	// Lasts is for how many seconds there is room for log backups at the rate at
	// which HANA wrote them in the last hour, or since the start, those of all
	// databases: 0 when another file has no room, nil when unknown.
	Lasts *int64 `json:"space_seconds_left,omitempty"`
	// StoreTrouble is why the store does not take the files.
	StoreTrouble      string    `json:"store_trouble,omitempty"`
	StoreTroubleSince time.Time `json:"store_trouble_since,omitzero"`
	// VolumeTrouble is why HANA's new files cannot be seen.
	VolumeTrouble      string    `json:"volume_trouble,omitempty"`
	VolumeTroubleSince time.Time `json:"volume_trouble_since,omitzero"`
	// UnconfirmedFiles are in the store, and HANA's catalog does not confirm
	// them; Unconfirmed says why, of some.
	UnconfirmedFiles int       `json:"unconfirmed_files"`
	Unconfirmed      []Problem `json:"unconfirmed,omitempty"`
	// Conflicts are files for which the store holds other content.
	ConflictFiles int       `json:"conflict_files"`
	Conflicts     []Problem `json:"conflicts,omitempty"`
	// Problems are files that cannot be read or removed.
	ProblemFiles int       `json:"problem_files"`
	Problems     []Problem `json:"problems,omitempty"`
	// Gaps are those that the newest data backup in the store needs, or all that
	// are known when there is none.
	Gaps []Gap `json:"gaps,omitempty"`
	// BaseTrouble says that there is none, and what to do, or that it could not be
	// asked for.
	BaseTrouble string `json:"base_trouble,omitempty"`
	// DamagedIndexes were left out.
	DamagedIndexes []string `json:"damaged_indexes,omitempty"`
	// Broken is an interruption of the log, for example by log_mode overwrite or a
	// recovery, after which no complete backup in the store has begun: the recovery
	// point does not go past it.
	Broken *backup.Break `json:"broken,omitempty"`
}

// VolumeStatus is how far the log of a volume is in the store without a gap.
type VolumeStatus struct {
	VolumeID int `json:"volume_id"`
	// File is the last one, Position where it ends. It is empty where no log goes
	// on from the data backup.
	File     string    `json:"file"`
	Position int64     `json:"position"`
	Until    time.Time `json:"until"`
}

// Problem is what is wrong with a file.
type Problem struct {
	File  string    `json:"file"`
	Text  string    `json:"text"`
	Since time.Time `json:"since,omitzero"`
}

// Status may be called at any time.
func (s *Shipper) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	status := Status{
		Database: s.config.Database, Judged: s.judged, RecoveryPoint: s.history.recoveryPoint(s.base), Broken: s.broken(), CatalogAt: s.history.catalog,
		Gaps: s.history.gaps(s.base), DamagedIndexes: slices.Clone(s.damaged),
		BaseTrouble: s.baseTrouble(),
	}
	if b := status.Broken; b != nil && status.RecoveryPoint.After(b.At) {
		status.RecoveryPoint = b.At
	}
	if !status.RecoveryPoint.IsZero() {
		status.AgeSeconds = int64(now.Sub(status.RecoveryPoint).Seconds())
	}
	reached := s.history.reached(s.base)
	for _, volume := range slices.Sorted(maps.Keys(reached)) {
		r := reached[volume]
		status.Volumes = append(status.Volumes, VolumeStatus{VolumeID: volume, File: r.lastFile, Position: r.last, Until: r.until})
	}
	for _, it := range s.items {
		status.count(it)
	}
	for _, list := range []*[]Problem{&status.Unconfirmed, &status.Conflicts, &status.Problems} {
		slices.SortFunc(*list, func(a, b Problem) int { return a.Since.Compare(b.Since) })
		*list = slices.Clip((*list)[:min(len(*list), listed)])
	}
	s.describeVolume(&status, now)
	if s.trouble.err != nil {
		status.StoreTrouble, status.StoreTroubleSince = s.trouble.err.Error(), s.trouble.since
	}
	if s.unseenFor.err != nil {
		status.VolumeTrouble, status.VolumeTroubleSince = s.unseenFor.err.Error(), s.unseenFor.since
	}
	return status
}

// count takes in a file on the volume.
func (t *Status) count(it *item) {
	if it.shipped() {
		t.KeptFiles++
	} else {
		t.WaitingFiles++
		t.WaitingBytes += it.file.Size
		if t.OldestWaiting.IsZero() || it.file.ModTime.Before(t.OldestWaiting) {
			t.OldestWaiting = it.file.ModTime
		}
	}
	if it.stored && !it.record.Confirmed {
		t.UnconfirmedFiles++
		doubt := it.doubt
		if doubt == "" {
			doubt = "HANA's catalog was not asked yet, or cannot be asked"
		}
		t.Unconfirmed = append(t.Unconfirmed, Problem{File: it.file.Name, Text: doubt, Since: it.file.ModTime})
	}
	if it.conflict != "" {
		t.ConflictFiles++
		t.Conflicts = append(t.Conflicts, Problem{File: it.file.Name, Text: it.conflict, Since: it.since})
	}
	if it.problem != "" {
		t.ProblemFiles++
		t.Problems = append(t.Problems, Problem{File: it.file.Name, Text: it.problem, Since: it.since})
	}
}

func (s *Shipper) describeVolume(status *Status, now time.Time) {
	if s.space.known {
		free, total := s.space.free, s.space.total
		status.SpaceFree, status.SpaceTotal = &free, &total
	}
	if lasts, known := s.space.lasts(s.parts.arrivals, now); known {
		seconds := int64(lasts.Seconds())
		status.Lasts = &seconds
	}
}
