package provision

import (
	"testing"
	"time"
)

// The texts are what the zone database itself gives at the end of each file,
// but for Dublin, whose winter time it calls the exception.
func TestZone(t *testing.T) {
	for _, tc := range []struct {
		zone, want string
		offset     time.Duration
	}{
		{"Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3", time.Hour},
		{"Europe/London", "GMT0BST,M3.5.0/1,M10.5.0", 0},
		{"Europe/Dublin", "GMT0IST,M3.5.0/1,M10.5.0", 0},
		{"Europe/Athens", "EET-2EEST,M3.5.0/3,M10.5.0/4", 2 * time.Hour},
		{"America/New_York", "EST5EDT,M3.2.0,M11.1.0", -5 * time.Hour},
		{"America/St_Johns", "NST3:30NDT,M3.2.0,M11.1.0", -(3*time.Hour + 30*time.Minute)},
		{"America/Phoenix", "MST7", -7 * time.Hour},
		{"America/Sao_Paulo", "<-03>3", -3 * time.Hour},
		{"Asia/Tokyo", "JST-9", 9 * time.Hour},
		{"Asia/Kolkata", "IST-5:30", 5*time.Hour + 30*time.Minute},
		{"Asia/Kathmandu", "<+0545>-5:45", 5*time.Hour + 45*time.Minute},
		{"Australia/Sydney", "AEST-10AEDT,M10.1.0,M4.1.0/3", 10 * time.Hour},
		{"Australia/Lord_Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 10*time.Hour + 30*time.Minute},
		{"Pacific/Auckland", "NZST-12NZDT,M9.5.0,M4.1.0/3", 12 * time.Hour},
		{"UTC", "UTC0", 0},
	} {
		got, err := Zone(tc.zone)
		if err != nil || got.POSIX != tc.want || got.Offset != tc.offset {
			t.Errorf("%s: %+v, %v; want %s", tc.zone, got, err, tc.want)
		}
	}
	if _, err := Zone("Mars/Olympus"); err == nil {
		t.Error("no error for a zone that does not exist")
	}
}
