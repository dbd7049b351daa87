package wire

import (
	"encoding/binary"
	"time"
)

// HANA has no time zones: a time.Time is sent as its UTC wall clock. A backend
// that wants to show local time (the SYS_ columns of the catalog) gives a time
// whose UTC wall clock says so.

// Values that stand for NULL in a row.
const (
	nullLongDate   = 3155380704000000001 // 100 ns, +1
	nullSecondDate = 315538070401        // seconds, +1
	nullDayDate    = 3652062             // days
)

const (
	secondsPerDay = 24 * 60 * 60
	ticksPerSec   = 10_000_000 // of 100 ns
)

// Day 1 is 0001-01-01 of the Julian calendar, which HANA keeps until 1582-10-04;
// 1970-01-01 is day 719165.
const (
	julianDayOfDayZero = 1721423
	gregorianStart     = 2299161 // Julian day of 1582-10-15
)

// dayOf gives the DAYDATE of t. The formulae are those of
// https://en.wikipedia.org/wiki/Julian_day.
func dayOf(t time.Time) int64 {
	year, month, day := t.Date()
	a := (14 - int64(month)) / 12
	y := int64(year) + 4800 - a
	m := int64(month) + 12*a - 3
	common := int64(day) + (153*m+2)/5 + 365*y + y/4
	gregorian := common - y/100 + y/400 - 32045
	if gregorian >= gregorianStart {
		return gregorian - julianDayOfDayZero
	}
	return common - 32083 - julianDayOfDayZero
}

// dayTime gives midnight of a DAYDATE.
func dayTime(day int64) time.Time {
	julian := day + julianDayOfDayZero
	f := julian + 1401
	if julian >= gregorianStart {
		f += (4*julian+274277)/146097*3/4 - 38
	}
	e := 4*f + 3
	h := 5*(e%1461/4) + 2
	month := (h/153+2)%12 + 1
	year := e/1461 - 4716 + (12+2-month)/12
	return time.Date(int(year), time.Month(month), int(h%153/5+1), 0, 0, 0, 0, time.UTC)
}

func secondsOf(t time.Time) int64 {
	hour, minute, second := t.Clock()
	return (dayOf(t)-1)*secondsPerDay + int64(hour*60+minute)*60 + int64(second)
}

// appendTime adds t in the format of a date type code.
func appendTime(b []byte, code byte, t time.Time) []byte {
	t = t.UTC()
	le := binary.LittleEndian
	switch code {
	case typeLongDate:
		return le.AppendUint64(b, uint64(secondsOf(t)*ticksPerSec+int64(t.Nanosecond()/100)+1))
	case typeSecondDate:
		return le.AppendUint64(b, uint64(secondsOf(t)+1))
	case typeDayDate:
		return le.AppendUint32(b, uint32(dayOf(t)))
	case typeDate:
		return appendOldDate(b, t)
	default:
		return appendOldClock(appendOldDate(b, t), t)
	}
}

// appendNullTime adds NULL in the format of a date type code.
func appendNullTime(b []byte, code byte) []byte {
	le := binary.LittleEndian
	switch code {
	case typeLongDate:
		return le.AppendUint64(b, nullLongDate)
	case typeSecondDate:
		return le.AppendUint64(b, nullSecondDate)
	case typeDayDate:
		return le.AppendUint32(b, nullDayDate)
	case typeDate:
		return append(b, make([]byte, 4)...)
	default:
		return append(b, make([]byte, 8)...)
	}
}

// notNull is the highest bit of the year and of the hour in DATE, TIME and
// TIMESTAMP, the formats before version 4: year u16, month from 0, day; hour,
// minute, milliseconds u16.
const notNull = 0x80

func appendOldDate(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	b = binary.LittleEndian.AppendUint16(b, uint16(year)|notNull<<8)
	return append(b, byte(month-1), byte(day))
}

func appendOldClock(b []byte, t time.Time) []byte {
	hour, minute, second := t.Clock()
	b = append(b, byte(hour)|notNull, byte(minute))
	return binary.LittleEndian.AppendUint16(b, uint16(second*1000+t.Nanosecond()/int(time.Millisecond)))
}

// time reads a time in the format of a date type code.
func (c *cursor) time(code byte) time.Time {
	switch code {
	case typeLongDate:
		ticks := c.i64() - 1
		return atSecond(ticks / ticksPerSec).Add(time.Duration(ticks%ticksPerSec) * 100)
	case typeSecondDate:
		return atSecond(c.i64() - 1)
	case typeDayDate:
		return dayTime(int64(c.i32()))
	case typeDate:
		return c.oldDate()
	default:
		return c.oldDate().Add(c.oldClock())
	}
}

func atSecond(seconds int64) time.Time {
	return dayTime(seconds/secondsPerDay + 1).Add(time.Duration(seconds%secondsPerDay) * time.Second)
}

func (c *cursor) oldDate() time.Time {
	year := c.u16() & 0x3fff
	month, day := c.u8(), c.u8()
	return time.Date(int(year), time.Month(month)+1, int(day), 0, 0, 0, 0, time.UTC)
}

func (c *cursor) oldClock() time.Duration {
	hour := c.u8() &^ notNull
	minute := c.u8()
	milliseconds := c.u16()
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(milliseconds)*time.Millisecond
}
