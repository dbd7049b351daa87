package logship

import (
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

// space is that of the volume, and how fast it fills.
type space struct {
	known       bool
	free, total int64
	// largest is the size of the largest file that was seen.
	largest int64
	// slots are the bytes that arrived, by the minute, oldest first.
	slots []slot
}

type slot struct {
	begin time.Time
	bytes int64
}

// arrived counts a file that HANA has written since began.
func (p *space) arrived(f spool.File, began, now time.Time) {
	p.largest = max(p.largest, f.Size)
	if f.ModTime.Before(began) {
		return
	}
	if n := len(p.slots); n > 0 && now.Sub(p.slots[n-1].begin) < slotLength {
		p.slots[n-1].bytes += f.Size
		return
	}
	p.slots = append(p.slots, slot{begin: now, bytes: f.Size})
}

// room is what HANA may write until another file finds no room: it does not stop
// at 0 bytes, and what it has written of a file that it cannot end is free again.
func (p *space) room() int64 {
	return max(p.free-max(p.largest, min(p.total/100, fullBelow)), 0)
}

// lasts is how long there is room at the rate of the last hour, or since began;
// unknown (false) when that is too short or nothing came. Of a full volume it is
// known: nothing comes there, because HANA stands still.
func (p *space) lasts(began, now time.Time) (time.Duration, bool) {
	if !p.known {
		return 0, false
	}
	room := p.room()
	if room == 0 {
		return 0, true
	}
	from := later(began, now.Add(-rateWindow))
	var bytes int64
	for _, slot := range p.slots {
		if !slot.begin.Before(from) {
			bytes += slot.bytes
		}
	}
	window := now.Sub(from)
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

// forget drops what is older than the window.
func (p *space) forget(now time.Time) {
	for len(p.slots) > 0 && now.Sub(p.slots[0].begin) > rateWindow {
		p.slots = p.slots[1:]
	}
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
	s.space.forget(time.Now())
}
