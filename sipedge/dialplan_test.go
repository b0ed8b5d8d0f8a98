package sipedge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDialPlanRead(t *testing.T) {
	tests := []struct{ name, country, dialled, number string }{
		{"germany: national", "DE", "030 123456", "+4930123456"},
		{"germany: international", "DE", "0043 1 58858", "+43158858"},
		{"germany: already e164", "DE", "+4930123456", "+4930123456"},
		{"germany: separators", "DE", "+49 (30) 123-456", "+4930123456"},
		{"germany: extension stays", "DE", "101", "101"},
		{"germany: local number stays, the area is not known", "DE", "1234567", "1234567"},
		{"germany: service number stays", "DE", "0800", "0800"},
		{"germany: uri parameters go", "DE", "030123456;phone-context=+49", "+4930123456"},
		{"usa: ten digits", "US", "(212) 555-0123", "+12125550123"},
		{"usa: one and ten digits", "US", "1 212 555 0123", "+12125550123"},
		{"usa: international", "US", "011 49 30 123456", "+4930123456"},
		{"usa: 10 digits that can't be a number", "US", "1125550123", "1125550123"},
		{"usa: extension", "US", "1001", "1001"},
		{"britain", "GB", "020 7946 0123", "+442079460123"},
		{"denmark: closed plan", "DK", "32123456", "+4532123456"},
		{"spain: closed plan", "ES", "912345678", "+34912345678"},
		{"italy keeps its zero", "IT", "06 1234567", "+39061234567"},
		{"italy: mobile", "IT", "3471234567", "+393471234567"},
		{"hungary: two-digit trunk prefix", "HU", "06 1 2345678", "+3612345678"},
		{"japan: 010", "JP", "010 1 212 555 0123", "+12125550123"},
		{"brazil: with the code of a carrier", "BR", "0 15 11 23456789", "+551123456789"},
		{"brazil: international, by carrier", "BR", "0015 49 30 123456", "+4930123456"},
		{"russia: 8", "RU", "8 495 123 45 67", "+74951234567"},
		{"russia: 8 10", "RU", "810 49 30 123456", "+4930123456"},
		{"argentina: mobile with 15", "AR", "011 15 2345 6789", "+5491123456789"},
		{"australia: 0011", "AU", "0011 49 30 123456", "+4930123456"},
		{"singapore: no prefix", "SG", "61234567", "+6561234567"},
		{"korea", "KR", "02-312-3456", "+8223123456"},
		{"india: ten digits", "IN", "9876543210", "+919876543210"},
		{"jamaica is north america", "JM", "876 555 0123", "+18765550123"},
		{"unknown country: as dialled", "XX", "030123456", "030123456"},
		{"a name", "US", "alice12345", "alice12345"},
		{"escaped hash", "DE", "%2312", "#12"},
		{"nothing", "DE", "", ""},
		{"only a plus", "DE", "+", ""},
		{"absurd length", "DE", strings.Repeat("1", 500), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := NewDialPlan(tt.country)
			got := d.Read(tt.dialled)
			if got.Number != tt.number || got.Emergency {
				t.Errorf("Read(%q) = %+v, want number %q, no emergency", tt.dialled, got, tt.number)
			}
			if want := strings.HasPrefix(got.Raw, "#"); got.Feature != want {
				t.Errorf("feature %v, want %v", got.Feature, want)
			}
		})
	}
}

func TestDialPlanEmergency(t *testing.T) {
	tests := []struct {
		country, dialled, number string
	}{
		{"DE", "112", "112"},
		{"DE", "110", "110"},
		{"DE", "0112", "112"},
		{"DE", "+112", "112"},
		{"DE", "1-1-2", "112"},
		{"DE", "112;phone-context=+49", "112"},
		{"DE", "911", ""}, // an extension may have this number there
		{"DE", "1120", ""},
		{"US", "911", "911"},
		{"US", "9911", "911"},
		{"US", "9112", "112"},
		{"US", "112", "112"},
		{"CA", "911", "911"},
		{"GB", "999", "999"},
		{"GB", "9999", "999"},
		{"GB", "112", "112"},
		{"FR", "15", "15"},
		{"FR", "015", ""},
		{"AU", "000", "000"},
		{"JP", "119", "119"},
		{"JP", "118", "118"},
		{"BR", "190", "190"},
		{"NZ", "111", "111"},
		{"CN", "0110", "110"},
		{"KE", "999", "999"},
		{"JM", "9911", "911"},
		{"XX", "112", "112"},
		{"XX", "911", "911"},
	}
	for _, tt := range tests {
		t.Run(tt.country+" "+tt.dialled, func(t *testing.T) {
			d, _ := NewDialPlan(tt.country)
			got := d.Read(tt.dialled)
			if got.Emergency != (tt.number != "") || got.Emergency && got.Number != tt.number {
				t.Errorf("Read(%q) = %+v, want emergency %q", tt.dialled, got, tt.number)
			}
		})
	}
}

// countries are all of the table.
func countries() []string {
	var out []string
	for line := range strings.Lines(planTable) {
		if country, _, ok := strings.Cut(line, "\t"); ok {
			out = append(out, country)
		}
	}
	return out
}

func TestDialPlanTables(t *testing.T) {
	for _, country := range countries() {
		d, ok := NewDialPlan(strings.ToLower(country))
		if !ok {
			t.Errorf("%s: not found in lower case", country)
		}
		numbers := d.Emergency()
		if numbers[0] != "112" {
			t.Errorf("%s: 112 is not first: %v", country, numbers)
		}
		for _, n := range numbers {
			if got := d.Read(n); !got.Emergency || got.Number != n {
				t.Errorf("%s: %s reads as %+v", country, n, got)
			}
		}
	}
	if n := len(countries()); n < 240 {
		t.Errorf("only %d countries", n)
	}
	if diff := cmp.Diff([]string{"112", "110"}, mustPlan(t, "DE").Emergency()); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func mustPlan(t testing.TB, country string) DialPlan {
	t.Helper()
	d, ok := NewDialPlan(country)
	if !ok {
		t.Fatalf("no plan for %s", country)
	}
	return d
}

// A dialled string never panics, an emergency number is never missed when
// separators are typed into it, and what was read once reads the same again.
func FuzzDialPlanRead(f *testing.F) {
	for _, s := range []string{"112", "9911", "+4930123456", "00", "*43", "alice", "%23", "0", "+", ";", "(0)30"} {
		f.Add("DE", s)
		f.Add("US", s)
	}
	f.Fuzz(func(t *testing.T, country, s string) {
		d, _ := NewDialPlan(country)
		got := d.Read(s)
		if got.Emergency && (got.Number == "" || got.Feature) {
			t.Errorf("%q: %+v", s, got)
		}
		again := d.Read(got.Number)
		if again.Emergency != got.Emergency || got.Number[:min(1, len(got.Number))] == "+" && again.Number != got.Number {
			t.Errorf("%q: first %+v, again %+v", s, got, again)
		}
	})
}
