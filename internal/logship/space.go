package logship

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pipestreamer/pipestreamer/pkg/spool"
)

const (
	// rateWindow is how far back the rate of arriving bytes is taken.
	rateWindow = time.Hour
	// leastWindow is how long must have been looked at before there is a rate.
	leastWindow = time.Minute
	slotLength  = time.Minute
	// fullBelow, or a hundredth of a small volume, is the free space below which a
	// volume counts as full whatever was seen of files: it is the default of
	// log_segment_size_mb.
	fullBelow = 1 << 30
)

// arrivals are the log backups that came to a volume, of all databases that share
// it.
type arrivals struct {
	began time.Time

	mu sync.Mutex
	// slots are their bytes, by the minute, oldest first.
	slots []slot
}

type slot struct {
	begin time.Time
	bytes int64
}

// add counts a file, unless it was there before.
func (a *arrivals) add(f spool.File, now time.Time) {
	if f.ModTime.Before(a.began) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.slots); n > 0 && now.Sub(a.slots[n-1].begin) < slotLength {
		a.slots[n-1].bytes += f.Size
		return
	}
	a.slots = append(a.slots, slot{begin: now, bytes: f.Size})
}

// recent gives the bytes of the last hour, or since began, and how long that is.
func (a *arrivals) recent(now time.Time) (bytes int64, window time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.slots) > 0 && now.Sub(a.slots[0].begin) > rateWindow {
		a.slots = a.slots[1:]
	}
	for _, slot := range a.slots {
		bytes += slot.bytes
	}
	return bytes, min(now.Sub(a.began), rateWindow)
}

// space is that of the volume, as the log backups of a database need it.
type space struct {
	known       bool
	free, total int64
	// largest is the size of the largest file that was seen.
	largest int64
}

// room is what HANA may write until another file finds no room: it does not stop
// at 0 bytes, and what it has written of a file that it cannot end is free again.
func (p *space) room() int64 {
	return max(p.free-max(p.largest, min(p.total/100, fullBelow)), 0)
}

// lasts is how long there is room at the rate of those that came; unknown (false)
// when none came, or that is too short to say. Of a full volume it is known:
// nothing comes there, because HANA stands still.
func (p *space) lasts(came *arrivals, now time.Time) (time.Duration, bool) {
	if !p.known {
		return 0, false
	}
	room := p.room()
	if room == 0 {
		return 0, true
	}
	bytes, window := came.recent(now)
	if bytes == 0 || window < leastWindow {
		return 0, false
	}
	seconds := float64(room) / float64(bytes) * window.Seconds()
	const most = 100 * 365 * 24 * time.Hour
	if seconds >= most.Seconds() {
		return most, true
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// measure looks at the volume.
func (s *Shipper) measure() {
	free, total, err := s.parts.Volume.Space()
	if err != nil {
		s.log.Debug("the space of the volume is not known", zap.Error(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.space.known, s.space.free, s.space.total = err == nil, free, total
}
