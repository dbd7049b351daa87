package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// slowest is the least that can be meant; a number without its unit is below.
	slowest = Size(64 << 10)
	// mostEntries bounds a timetable: one for each quarter of an hour.
	mostEntries = 96
	// off is the word for no limit.
	off = "off"

	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
)

// Bandwidth is a limit that depends on the hour. Without entries there is none.
type Bandwidth []BandwidthEntry

// BandwidthEntry begins a limit.
type BandwidthEntry struct {
	// Days are those on which it begins; none means every day.
	Days Days
	// Minute of the day when it begins.
	Minute int
	// Rate is in bytes a second, 0 for no limit.
	Rate Size
}

// Days is a set of weekdays: bit 0 is Sunday.
type Days uint8

func (d Days) has(day time.Weekday) bool { return d>>day&1 == 1 }

// ParseBandwidth reads "off", a rate such as "50MiB/s", or a timetable of
// entries [DAY-[DAY-]]HH:MM,LIMIT with blanks between them.
func ParseBandwidth(text string) (Bandwidth, error) {
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return nil, errors.New("expected off, a rate such as 50MiB/s, or a timetable such as \"08:00,50MiB/s 20:00,off\"")
	case len(fields) > mostEntries:
		return nil, fmt.Errorf("%d entries: expected at most %d", len(fields), mostEntries)
	case len(fields) == 1 && !strings.Contains(text, ","):
		rate, err := parseRate(fields[0])
		if err != nil || rate == 0 {
			return nil, err
		}
		return Bandwidth{{Rate: rate}}, nil
	}
	b := make(Bandwidth, 0, len(fields))
	for _, field := range fields {
		entry, err := parseEntry(field)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", field, err)
		}
		if slices.ContainsFunc(b, entry.collides) {
			return nil, fmt.Errorf("entry %q: another begins at the same time", field)
		}
		b = append(b, entry)
	}
	return b, nil
}

func parseRate(text string) (Size, error) {
	if text == off {
		return 0, nil
	}
	rate, err := ParseSize(strings.TrimSuffix(text, "/s"))
	if err != nil || rate < slowest {
		return 0, fmt.Errorf("expected off, or a rate such as 50MiB/s of at least %s/s", slowest)
	}
	return rate, nil
}

func parseEntry(text string) (BandwidthEntry, error) {
	when, limit, found := strings.Cut(text, ",")
	if !found {
		return BandwidthEntry{}, errors.New("expected [DAY-[DAY-]]HH:MM,LIMIT, such as Mon-Fri-08:00,50MiB/s")
	}
	var entry BandwidthEntry
	var err error
	words := strings.Split(when, "-")
	days, clock := words[:len(words)-1], words[len(words)-1]
	if entry.Days, err = parseDays(days); err != nil {
		return BandwidthEntry{}, err
	}
	at, err := time.Parse("15:04", clock)
	if err != nil || len(clock) != len("15:04") {
		return BandwidthEntry{}, fmt.Errorf("%q: expected a time from 00:00 to 23:59", clock)
	}
	entry.Minute = at.Hour()*60 + at.Minute()
	entry.Rate, err = parseRate(limit)
	return entry, err
}

// dayName is as in rclone's timetables.
func dayName(day time.Weekday) string { return day.String()[:3] }

func parseDays(names []string) (Days, error) {
	if len(names) == 0 {
		return 0, nil
	}
	if len(names) > 2 {
		return 0, errors.New("expected one day or two before the time")
	}
	var ends []time.Weekday
	for _, name := range names {
		day := time.Sunday
		for dayName(day) != name {
			if day++; day > time.Saturday {
				return 0, fmt.Errorf("%q: expected Mon, Tue, Wed, Thu, Fri, Sat or Sun", name)
			}
		}
		ends = append(ends, day)
	}
	var days Days
	for day := ends[0]; ; day = (day + 1) % 7 {
		days |= 1 << day
		if day == ends[len(ends)-1] {
			return days, nil
		}
	}
}

// collides tells whether neither of two entries could go before the other.
func (e BandwidthEntry) collides(other BandwidthEntry) bool {
	return e.Minute == other.Minute && (e.Days&other.Days != 0 || e.Days == 0 && other.Days == 0)
}

// since is for how many minutes of the week the entry has stood when the week is
// at minute.
func (e BandwidthEntry) since(minute int) int {
	if e.Days == 0 {
		return (minute - e.Minute + dayMinutes) % dayMinutes
	}
	least := weekMinutes
	for day := time.Sunday; day <= time.Saturday; day++ {
		if e.Days.has(day) {
			least = min(least, (minute-int(day)*dayMinutes-e.Minute+weekMinutes)%weekMinutes)
		}
	}
	return least
}

// At gives the limit of a moment in bytes a second, 0 for none: that of the entry
// that began last, by the clock of t's time zone. Of two that began at once, the
// one that names days holds. Where a clock is put forward over a beginning, the
// entry begins when it was; where it is put back, it goes back to what held then.
func (b Bandwidth) At(t time.Time) int64 {
	minute := int(t.Weekday())*dayMinutes + t.Hour()*60 + t.Minute()
	var rate Size
	least := weekMinutes
	for _, e := range b {
		if since := e.since(minute); since < least || since == least && e.Days != 0 {
			least, rate = since, e.Rate
		}
	}
	return int64(rate)
}

// CheckBandwidth refuses a limit at which a part on its way could be taken for one
// that the store does not take: all that the memory budget holds, shared evenly,
// has to pass within the time that a part is tried.
func (c *Config) CheckBandwidth(b Bandwidth) error {
	seconds := max(int64(c.Store.OutageTolerance/time.Second), 1)
	least := (c.MemoryBudget/Size(seconds)>>10 + 1) << 10
	for _, e := range b {
		if e.Rate != 0 && e.Rate < least {
			return fmt.Errorf("%s: expected at least %s: what memoryBudget holds has to pass within store.outageTolerance",
				rateText(e.Rate), rateText(least))
		}
	}
	return nil
}

// String gives the text that ParseBandwidth reads.
func (b Bandwidth) String() string {
	if len(b) == 0 {
		return off
	}
	if b.isRate() {
		return rateText(b[0].Rate)
	}
	entries := make([]string, 0, len(b))
	for _, e := range b {
		entries = append(entries, fmt.Sprintf("%s%02d:%02d,%s", e.Days.prefix(), e.Minute/60, e.Minute%60, rateText(e.Rate)))
	}
	return strings.Join(entries, " ")
}

// isRate tells whether b is one limit for all hours.
func (b Bandwidth) isRate() bool {
	return len(b) == 1 && b[0].Minute == 0 && b[0].Days == 0 && b[0].Rate > 0
}

func rateText(rate Size) string {
	if rate == 0 {
		return off
	}
	return rate.String() + "/s"
}

// prefix gives the days as they stand before a time. Days that were read are in a
// row.
func (d Days) prefix() string {
	if d == 0 {
		return ""
	}
	if d == 1<<7-1 {
		return "Sun-Sat-"
	}
	first := time.Sunday
	for !d.has(first) || d.has((first+6)%7) {
		first++
	}
	last := first
	for d.has((last + 1) % 7) {
		last = (last + 1) % 7
	}
	if last == first {
		return dayName(first) + "-"
	}
	return dayName(first) + "-" + dayName(last) + "-"
}
