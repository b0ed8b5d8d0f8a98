package provision

import "testing"

func TestClockOf(t *testing.T) {
	for _, tc := range []struct {
		zone string
		want clock
	}{
		{"Europe/Berlin", clock{3600, 3600, change{3, 5, 7, 2, 0}, change{10, 5, 7, 3, 0}}},
		{"Europe/London", clock{0, 3600, change{3, 5, 7, 1, 0}, change{10, 5, 7, 2, 0}}},
		{"Europe/Dublin", clock{0, 3600, change{3, 5, 7, 1, 0}, change{10, 5, 7, 2, 0}}},
		{"America/New_York", clock{-18000, 3600, change{3, 2, 7, 2, 0}, change{11, 1, 7, 2, 0}}},
		{"America/St_Johns", clock{-12600, 3600, change{3, 2, 7, 2, 0}, change{11, 1, 7, 2, 0}}},
		{"America/Regina", clock{Offset: -21600}},
		{"Asia/Tokyo", clock{Offset: 32400}},
		{"Asia/Kathmandu", clock{Offset: 20700}},
		{"Australia/Sydney", clock{36000, 3600, change{10, 1, 7, 2, 0}, change{4, 1, 7, 3, 0}}},
		{"Australia/Lord_Howe", clock{37800, 1800, change{10, 1, 7, 2, 0}, change{4, 1, 7, 2, 0}}},
		{"Africa/Casablanca", clock{Offset: 3600}},
		{"UTC", clock{}},
	} {
		got, err := clockOf(tc.zone)
		if err != nil || got != tc.want {
			t.Errorf("%s: %+v %v, want %+v", tc.zone, got, err, tc.want)
		}
	}
	if _, err := clockOf("Mars/Olympus"); err == nil {
		t.Error("no error for a zone that does not exist")
	}
}

func TestClockForms(t *testing.T) {
	last, second := change{3, 5, 7, 2, 0}, change{3, 2, 7, 2, 30}
	for got, want := range map[string]string{
		last.week(): "3/5/7/2", second.week(): "3/2/7/2",
		last.weekday(): "3/-1/7/2:0:0", second.weekday(): "3/8/7/2:30:0",
		hoursMinutes(3600): "+1", hoursMinutes(-12600): "-3:30", hoursMinutes(0): "+0",
		gmt(3600): "GMT+01:00", gmt(-12600): "GMT-03:30",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if last.Date() != 1 || !last.Last() || second.Date() != 8 || second.Last() || last.Sunday1() != 1 {
		t.Error("the form of Poly is wrong")
	}
}
