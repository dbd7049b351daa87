package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

func TestBandwidthAt(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const (
		office = "Mon-Fri-07:00,10MiB Mon-Fri-19:30,off"
		daily  = "08:00,10MiB 20:00,50MiB"
		ten    = 10 << 20
		fifty  = 50 << 20
	)
	// 2026-11-30 is a Monday.
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, 30+day, hour, minute, 0, 0, berlin) }
	for _, test := range []struct {
		name, text string
		at         time.Time
		want       int64
	}{
		{"off", "off", at(0, 12, 0), 0},
		{"one rate", "10MiB/s", at(0, 0, 0), ten},
		{"one rate without its second", "10MiB", at(6, 23, 59), ten},
		{"one entry holds always", "08:00,10MiB", at(0, 7, 59), ten},
		{"at its beginning", daily, at(0, 8, 0), ten},
		{"the minute before", daily, at(0, 7, 59), fifty},
		{"over midnight", daily, at(1, 0, 0), fifty},
		{"in any order", "20:00,50MiB 08:00,10MiB", at(1, 0, 0), fifty},
		{"seconds do not count", daily, at(0, 19, 59).Add(59 * time.Second), ten},
		{"Monday at noon", office, at(0, 12, 0), ten},
		{"Monday before work: since Friday", office, at(0, 6, 59), 0},
		{"Friday evening", office, at(4, 19, 30), 0},
		{"Saturday", office, at(5, 12, 0), 0},
		{"Sunday night", office, at(6, 23, 59), 0},
		{"days over the end of the week", "Fri-Mon-00:00,10MiB Tue-00:00,off", at(6, 12, 0), ten},
		{"and after it", "Fri-Mon-00:00,10MiB Tue-00:00,off", at(1, 0, 0), 0},
		{"a day before every day, at the same time", "Sun-08:00,off 08:00,10MiB", at(6, 8, 0), 0},
		{"and in the other order", "08:00,10MiB Sun-08:00,off", at(6, 8, 0), 0},
		{"and on another day", "Sun-08:00,off 08:00,10MiB", at(5, 8, 0), ten},
		{"all week", "Sun-Sat-08:00,off 09:00,10MiB", at(3, 8, 30), 0},
		{"the clock of the time zone", daily, at(0, 8, 0).UTC(), fifty}, // 07:00 there

		// On 29 March 2026 clocks go from 02:00 to 03:00, on 25 October from 03:00 back to 02:00.
		{"before an hour that is left out", "02:30,10MiB 12:00,off", time.Date(2026, 3, 29, 1, 59, 0, 0, berlin), 0},
		{"after it", "02:30,10MiB 12:00,off", time.Date(2026, 3, 29, 1, 59, 0, 0, berlin).Add(time.Minute), ten},
		{"in an hour that comes twice", "02:30,10MiB 12:00,off", time.Date(2026, 10, 25, 0, 45, 0, 0, time.UTC).In(berlin), ten},
		{"put back", "02:30,10MiB 12:00,off", time.Date(2026, 10, 25, 1, 15, 0, 0, time.UTC).In(berlin), 0},
		{"for the second time", "02:30,10MiB 12:00,off", time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC).In(berlin), ten},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := config.ParseBandwidth(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.At(test.at); got != test.want {
				t.Errorf("%s at %s: %d bytes/s, expected %d", b, test.at.Format("Mon 2006-01-02 15:04 MST"), got, test.want)
			}
		})
	}
}

func TestBandwidthRefused(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"nothing", " ", "expected off, a rate such as 50MiB/s, or a timetable"},
		{"a word", "fast", "expected off, or a rate such as 50MiB/s of at least 64KiB/s"},
		{"no unit, as in rclone", "512", "of at least 64KiB/s"},
		{"a unit of rclone", "10M", "expected off, or a rate"},
		{"zero", "0", "of at least 64KiB/s"},
		{"negative", "-1MiB", "expected off, or a rate"},
		{"bits", "100Mbit/s", "expected off, or a rate"},
		{"a pair, as in rclone", "08:00,10MiB:1MiB", `entry "08:00,10MiB:1MiB": expected off, or a rate`},
		{"two rates", "10MiB 20MiB", `entry "10MiB": expected [DAY-[DAY-]]HH:MM,LIMIT`},
		{"a blank before the unit", "10 MiB", `entry "10": expected [DAY-[DAY-]]HH:MM,LIMIT`},
		{"no hour", ",10MiB", `entry ",10MiB": "": expected a time from 00:00 to 23:59`},
		{"midnight of the day before", "24:00,10MiB", `"24:00": expected a time`},
		{"a short hour", "8:00,10MiB", `"8:00": expected a time`},
		{"seconds", "08:00:00,10MiB", `"08:00:00": expected a time`},
		{"no limit", "08:00,", `entry "08:00,": expected off, or a rate`},
		{"a day in full", "Monday-08:00,10MiB", `"Monday": expected Mon, Tue, Wed, Thu, Fri, Sat or Sun`},
		{"a day in lower case", "mon-08:00,10MiB", `"mon": expected Mon,`},
		{"three days", "Mon-Tue-Wed-08:00,10MiB", "expected one day or two before the time"},
		{"twice every day", "08:00,10MiB 08:00,off", `entry "08:00,off": another begins at the same time`},
		{"twice on one day", "Mon-Fri-08:00,10MiB Fri-08:00,off", `entry "Fri-08:00,off": another begins at the same time`},
		{"too many", strings.Repeat("08:00,off ", 97), "97 entries: expected at most 96"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.ParseBandwidth(test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("ParseBandwidth(%q): %v, expected %q", test.text, err, test.want)
			}
		})
	}
}

func TestBandwidthSetting(t *testing.T) {
	file := secretFile(t, canary)
	c, err := load(t, fmt.Sprintf(minimal, file), "PIPESTREAMER_STORE_BANDWIDTH=  Mon-Fri-07:00,10MiB   20:00,off")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Store.Bandwidth.String(), "Mon-Fri-07:00,10MiB/s 20:00,off"; got != want {
		t.Errorf("store.bandwidth is %q, expected %q", got, want)
	}
}

// FuzzParseBandwidth looks for a panic, and for a limit that does not survive
// being written and read.
func FuzzParseBandwidth(f *testing.F) {
	for _, text := range []string{
		"off", "50MiB/s", "08:00,512KiB 18:00,off", "Mon-Fri-08:00,10MiB/s Sat-00:00,1GB", "Sun-Sat-23:59,off", "Fri-Mon-00:00,64KiB",
	} {
		f.Add(text, int64(1_790_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, second int64) {
		b, err := config.ParseBandwidth(text)
		if err != nil {
			return
		}
		again, err := config.ParseBandwidth(b.String())
		if err != nil {
			t.Fatalf("ParseBandwidth(%q), from %q: %v", b, text, err)
		}
		if diff := cmp.Diff(b, again); diff != "" {
			t.Fatalf("%q, from %q, is read as another limit (-want +got):\n%s", b, text, diff)
		}
		at := time.Unix(second%(1<<40), 0).UTC()
		if rate := b.At(at); rate != 0 && rate < 64<<10 || rate != b.At(at.AddDate(0, 0, 7)) {
			t.Fatalf("%q at %s: %d bytes/s, and %d a week later", b, at, rate, b.At(at.AddDate(0, 0, 7)))
		}
	})
}
