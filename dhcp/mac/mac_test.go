package mac

import (
	"errors"
	"net"
	"testing"
)

func TestParse(t *testing.T) {
	want := Addr{0x00, 0x15, 0x65, 0x4a, 0xa9, 0x37}
	for _, s := range []string{
		"00:15:65:4a:a9:37", "00-15-65-4A-A9-37", "0015.654a.a937", "0015654AA937", " 0015654aa937 ",
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0015654aa93", "0015654aa9377", "00:15:65:4a:a9:3g", "00/15/65/4a/a9/37"} {
		if _, err := Parse(s); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %v, want ErrSyntax", s, err)
		}
	}
}

func TestParseAccount(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Account
		ok   bool
	}{
		{"00:15:65:4a:a9:37/2", Account{Addr{0x00, 0x15, 0x65, 0x4a, 0xa9, 0x37}, 2}, true},
		{"0015654aa937", Account{Addr{0x00, 0x15, 0x65, 0x4a, 0xa9, 0x37}, 1}, true},
		{"0015654aa937/0", Account{}, false},
		{"0015654aa937/256", Account{}, false},
		{"0015654aa937/x", Account{}, false},
		{"nonsense", Account{}, false},
	} {
		got, err := ParseAccount(tc.in)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("ParseAccount(%q) = %v, %v", tc.in, got, err)
		}
		if tc.ok {
			if again, err := ParseAccount(got.String()); err != nil || again != got {
				t.Errorf("ParseAccount(String(%v)) = %v, %v", got, again, err)
			}
		}
	}
}

func TestFromCopies(t *testing.T) {
	h := net.HardwareAddr{1, 2, 3, 4, 5, 6}
	a, ok := From(h)
	h[0] = 9
	if !ok || a[0] != 1 {
		t.Errorf("From kept a view of the packet: %v %v", a, ok)
	}
	if _, ok := From(h[:4]); ok {
		t.Error("From accepted four bytes")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("00:15:65:4a:a9:37")
	f.Add("0015.654a.a937")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if b, err := Parse(a.String()); err != nil || b != a {
			t.Errorf("Parse(%q) = %v, which reads back as %v, %v", s, a, b, err)
		}
	})
}
