package provision

import (
	"fmt"
	"strings"
	"time"
)

// ZoneText is a time zone as DHCP and other protocols write it.
type ZoneText struct {
	POSIX  string        // POSIX.1 TZ, such as "CET-1CEST,M3.5.0,M10.5.0/3"
	Offset time.Duration // of standard time, east of UTC
}

// Zone describes an IANA zone. A summer time that follows no rule is left
// out, as it is in what phones are given.
func Zone(name string) (ZoneText, error) {
	c, err := clockOf(name)
	if err != nil {
		return ZoneText{}, err
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return ZoneText{}, fmt.Errorf("time zone %q: %w", name, err)
	}
	standard, summer := abbreviations(loc, c.Offset)
	text := posixName(standard) + posixOffset(-c.Offset)
	if c.Save != 0 {
		text += posixName(summer)
		if c.Save != 3600 { // one hour is understood
			text += posixOffset(-c.Offset - c.Save)
		}
		text += "," + c.Start.posix() + "," + c.End.posix()
	}
	return ZoneText{text, time.Duration(c.Offset) * time.Second}, nil
}

// abbreviations returns what the times with and without the offset of
// standard time are called in the first year that rules are read from.
func abbreviations(loc *time.Location, offset int) (standard, summer string) {
	for month := time.January; month <= time.December; month++ {
		name, at := time.Date(firstYear, month, 1, 12, 0, 0, 0, loc).Zone()
		if at == offset {
			standard = name
		} else {
			summer = name
		}
	}
	return standard, summer
}

// posixName puts what is not of letters in angle brackets (POSIX.1-2001).
func posixName(s string) string {
	letters := strings.IndexFunc(s, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) < 0
	if letters && len(s) >= 3 {
		return s
	}
	return "<" + s + ">"
}

// posixOffset writes seconds as hours, with minutes where there are any. The
// sign of POSIX is the other way round: west of Greenwich is positive.
func posixOffset(seconds int) string {
	sign := ""
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	if m := seconds / 60 % 60; m != 0 {
		return fmt.Sprintf("%s%d:%02d", sign, seconds/3600, m)
	}
	return fmt.Sprintf("%s%d", sign, seconds/3600)
}

// posix is the form Mm.w.d/time with Sunday as 0; 02:00 is understood.
func (c change) posix() string {
	s := fmt.Sprintf("M%d.%d.%d", c.Month, c.Week, c.Day%7)
	if c.Hour == 2 && c.Minute == 0 {
		return s
	}
	return s + "/" + posixOffset(c.Hour*3600+c.Minute*60)
}
