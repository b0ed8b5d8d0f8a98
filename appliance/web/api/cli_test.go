package api

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/story"
)

func TestPrint(t *testing.T) {
	tests := []struct {
		name  string
		print func(ctx context.Context, w *bytes.Buffer, socket string) error
		want  []string
	}{
		{"status", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintStatus(ctx, w, s) }, []string{
			"office-12, version 0.1.0, running for 1 d 2 h", "gw.example.com:5061, DOWN for 1 min 30 s: no route to host", "NOT registered at the gateway: 403 Forbidden",
			"1: 1 signed in", "eth1, 192.0.2.1/24, DHCP: serve, STOPPED by another server", "the DHCP server 192.0.2.254 at 00:00:5e:00:53:99, made by Example",
			"the DHCP server 192.0.2.253, was seen", "00:00:5e:00:53:01 got no offer (12 times)", "1 of 100 used, 192.0.2.100 to 192.0.2.199 on eth1", "EMERGENCY, ringing for 5 s", "CRITICAL: The gateway can't be reached.", "Check the way to the Internet.",
		}},
		{"phones", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintPhones(ctx, w, s, "") }, []string{
			"00:00:5e:00:53:01", "Yealink SIP-T46U", "192.0.2.101", "signed-in", "Anna",
		}},
		{"phone", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintPhone(ctx, w, s, known, false) }, []string{
			"192.0.2.101 (own lease)", "Anna +49301234567 201, signed-in by UDP", "It works", "phone", "asked for an address as Yealink SIP-T46U", "registered account 1 from 192.0.2.101 by UDP",
		}},
		{"drills", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintDrills(ctx, w, s, false) }, []string{
			"100", "4.4 s", "4.6 s", "trunk", "0.9 s", "1.2 s",
		}},
		{"a drill", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintDrills(ctx, w, s, true) }, []string{"taken away for 20 s"}},
		{"lines", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintLines(ctx, w, s) }, []string{
			"sip:anna@example.com", "00:00:5e:00:53:01/1", "+49301234567",
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := tc.print(t.Context(), &out, serve(t, newFake())); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			if strings.ContainsAny(out.String(), "\x1b\x07") {
				t.Errorf("output steers the terminal: %q", out.String())
			}
		})
	}
	t.Run("what happens to calls", func(t *testing.T) {
		socket := serve(t, newFake())
		for _, tc := range []struct {
			line     string
			settings []string
			want     string // in the output, or in the error
			fails    bool
		}{
			{"201", nil, "FORWARD TO              102", false},
			{"+49301234567", []string{"dnd=on", "forward=0301", "always=on", "after=30"}, "NOBODY ANSWERS AFTER    30 s", false},
			{"7", []string{"forward="}, "NOBODY ANSWERS OR BUSY  off", false},
			{"201", []string{"dnd=maybe"}, "dnd is on or off", true},
			{"201", []string{"after=soon"}, "number of seconds", true},
			{"201", []string{"after=500"}, "5 to 120", true},
			{"201", []string{"music=on"}, "no setting", true},
			{"999", nil, "no line has", true},
		} {
			var out bytes.Buffer
			err := PrintWish(t.Context(), &out, socket, tc.line, tc.settings)
			got := out.String()
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != tc.fails || !strings.Contains(got, tc.want) {
				t.Errorf("%s %v: %v\n%s", tc.line, tc.settings, err, got)
			}
		}
	})
	t.Run("phone that is not there", func(t *testing.T) {
		if err := PrintPhone(t.Context(), &bytes.Buffer{}, serve(t, newFake()), other, false); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v", err)
		}
	})
}

// writer ends the following when a text was written.
type writer struct {
	bytes.Buffer
	until string
	end   func()
}

func (w *writer) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.until) {
		defer w.end()
	}
	return w.Buffer.Write(b)
}

func TestPrintFollows(t *testing.T) {
	f := newFake()
	f.live <- NewEntry(40, story.Event{Time: at, Proto: story.SIP, Code: story.CallOut, Args: story.Args{Number: "202"}})
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{until: "called 202", end: cancel}
	if err := PrintPhone(ctx, w, serve(t, f), known, true); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(w.String(), "was given"); n != 1 {
		t.Errorf("an entry was written %d times:\n%s", n, w.String())
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 2 * time.Minute: "2 min", 24 * time.Hour: "1 d", 3*time.Hour + 5*time.Minute: "3 h 5 min", 49 * time.Hour: "2 d 1 h",
	} {
		if got := Span(d); got != want {
			t.Errorf("Span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"Anna Müller 😀": "Anna Müller 😀", "a\x1b[2Jb": "a\ufffd[2Jb", "a\nb": "a\ufffdb", "\u202eb": "\ufffdb", "a\u2028b": "a\ufffdb", "": "",
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}
