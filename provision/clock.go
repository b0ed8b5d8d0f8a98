package provision

import (
	"fmt"
	"time"
	_ "time/tzdata" // a small box may have no time zones of its own
)

// clock is a time zone as phones want it: an offset and at most one summer
// time with a rule for its start and end.
type clock struct {
	Offset     int // seconds east of UTC in standard time
	Save       int // seconds that summer time adds; 0: no summer time
	Start, End change
}

// change is a rule such as "the last Sunday of March, 02:00", in the wall time
// that holds before it.
type change struct {
	Month  int // 1 to 12
	Week   int // 1 to 4: the first to the fourth such day; 5: the last
	Day    int // 1 Monday to 7 Sunday
	Hour   int
	Minute int
}

// The years from which a rule is read. They are constants, so that the same
// inventory gives the same bytes at any time.
const (
	firstYear = 2026
	lastYear  = 2035
)

// clockOf reads the rules of an IANA zone. A zone whose summer time follows no
// rule that a phone could keep (Morocco) is given by its offset alone.
func clockOf(zone string) (clock, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return clock{}, fmt.Errorf("time zone %q: %w", zone, err)
	}
	start, end := make(map[change]int), make(map[change]int)
	at := time.Date(firstYear, time.January, 1, 0, 0, 0, 0, loc)
	_, offset := at.Zone()
	c := clock{Offset: offset}
	for {
		_, next := at.ZoneBounds()
		if next.IsZero() || next.Year() > lastYear {
			break
		}
		_, before := at.Zone()
		_, after := next.Zone()
		at = next
		rule := start
		if after < before {
			rule = end
		}
		c.Offset, c.Save = min(before, after), max(before, after)-min(before, after)
		wall := next.In(time.FixedZone("", before))
		for _, form := range forms(wall) {
			rule[form]++
		}
	}
	var okStart, okEnd bool
	c.Start, okStart = elect(start)
	c.End, okEnd = elect(end)
	if !okStart || !okEnd || c.Save == 0 {
		return clock{Offset: offset}, nil
	}
	return c, nil
}

// forms are the rules that a date could be an example of.
func forms(t time.Time) []change {
	day := int(t.Weekday())
	if day == 0 {
		day = 7
	}
	f := change{Month: int(t.Month()), Day: day, Hour: t.Hour(), Minute: t.Minute()}
	var all []change
	if t.AddDate(0, 0, 7).Month() != t.Month() {
		f.Week = 5
		all = append(all, f)
	}
	if week := (t.Day()-1)/7 + 1; week < 5 {
		f.Week = week
		all = append(all, f)
	}
	return all
}

// elect takes the rule that fits most years; "last" wins a tie with "fourth".
func elect(votes map[change]int) (change, bool) {
	var best change
	most := 0
	for rule, n := range votes {
		if n > most || n == most && rule.Week > best.Week {
			best, most = rule, n
		}
	}
	return best, most > (lastYear-firstYear+1)/2
}

// hoursMinutes renders seconds as +1 or -3:30.
func hoursMinutes(seconds int) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	if m := seconds / 60 % 60; m != 0 {
		return fmt.Sprintf("%c%d:%02d", sign, seconds/3600, m)
	}
	return fmt.Sprintf("%c%d", sign, seconds/3600)
}

// gmt renders seconds as GMT+01:00.
func gmt(seconds int) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	return fmt.Sprintf("GMT%c%02d:%02d", sign, seconds/3600, seconds/60%60)
}

// utc renders seconds as +01:00.
func utc(seconds int) string { return gmt(seconds)[len("GMT"):] }

// snom is the form of snom: month.week.day and a time, where week 5 is the
// last and day 7 is Sunday.
func (c change) snom() string {
	return fmt.Sprintf("%02d.%02d.%02d %02d:%02d:00", c.Month, c.Week, c.Day, c.Hour, c.Minute)
}

// Weekday0 is the day of the week with Sunday as 0 and Saturday as 6.
func (c change) Weekday0() int { return c.Day % 7 }

// posix is the zone as POSIX.1 TZ with names that no phone stumbles over and
// all offsets written out.
func (c clock) posix() string {
	text := "STD" + posixOffset(-c.Offset)
	if c.Save == 0 {
		return text
	}
	return text + "DST" + posixOffset(-c.Offset-c.Save) + "," + c.Start.posix() + "," + c.End.posix()
}

// week is the form of Yealink: month/week/day/hour, where week 5 is the last
// and day 7 is Sunday.
func (c change) week() string {
	return fmt.Sprintf("%d/%d/%d/%d", c.Month, c.Week, c.Day, c.Hour)
}

// weekday is the form of Cisco: month/day/weekday/time, where a day is the
// first that the weekday may fall on and -1 is the end of the month.
func (c change) weekday() string {
	day := (c.Week-1)*7 + 1
	if c.Week == 5 {
		day = -1
	}
	return fmt.Sprintf("%d/%d/%d/%d:%d:0", c.Month, day, c.Day, c.Hour, c.Minute)
}

// Date is the form of Poly with fixedDayEnable 0: 1, 8, 15 or 22 for the
// first to the fourth such day. The last is a switch of its own.
func (c change) Date() int {
	if c.Last() {
		return 1
	}
	return (c.Week-1)*7 + 1
}

// Last reports whether the last such day of the month is meant.
func (c change) Last() bool { return c.Week == 5 }

// Sunday1 is the day of the week with Sunday as 1 and Saturday as 7.
func (c change) Sunday1() int { return c.Day%7 + 1 }
