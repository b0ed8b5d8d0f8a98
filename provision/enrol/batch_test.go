package enrol

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	gocmp "github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// utf16le is what a spreadsheet calls "Unicode text".
func utf16le(s string) string {
	var b bytes.Buffer
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

func TestSheetForms(t *testing.T) {
	const good = "MAC ID,Verification Code,Assigned,Location\n00-00-5E-00-53-01,,21,\"Hall, 2nd \"\"floor\"\"\"\n"
	for name, text := range map[string]string{
		"as it is":            good,
		"byte order mark":     "\ufeff" + good,
		"CRLF":                strings.ReplaceAll(good, "\n", "\r\n"),
		"CR":                  strings.ReplaceAll(good, "\n", "\r"),
		"semicolons":          "MAC ID;Verification Code;Assigned;Location\n0000.5e00.5301;;21;\"Hall, 2nd \"\"floor\"\"\"",
		"sep=":                "sep=;\r\nMAC ID;Assigned;Location\r\n00005e005301;21;\"Hall, 2nd \"\"floor\"\"\"\r\n",
		"tabs in UTF-16":      utf16le("MAC ID\tAssigned\tLocation\r\n00:00:5e:00:53:01\t21\t\"Hall, 2nd \"\"floor\"\"\"\r\n"),
		"other order":         "location,mac_id,ASSIGNED\n\"Hall, 2nd \"\"floor\"\"\", 00:00:5E:00:53:01 ,sip:anna@example.com\n",
		"empty rows":          "MAC ID,Assigned,Location\n,,\n\n00:00:5e:00:53:01,21,\"Hall, 2nd \"\"floor\"\"\"\n,,\n",
		"separator at ends":   "MAC ID;Assigned;Location;\n00:00:5e:00:53:01;21;\"Hall, 2nd \"\"floor\"\"\";\n",
		"guarded":             "MAC ID,Assigned,Location\n00:00:5e:00:53:01,'+4930123,\"Hall, 2nd \"\"floor\"\"\"\n",
		"number as it is":     "MAC ID,Assigned,Location\n00:00:5e:00:53:01,+49 30 123,\"Hall, 2nd \"\"floor\"\"\"\n",
		"user":                "MAC ID,Assigned,Location\n00:00:5e:00:53:01,Anna@Example.com,\"Hall, 2nd \"\"floor\"\"\"\n",
		"slot of its own":     "MAC ID,Assigned,Location\n00:00:5e:00:53:01:001,anna,\"Hall, 2nd \"\"floor\"\"\"\n",
		"spaces in addresses": "MAC ID,Assigned,Location\n00 00 5E 00 53 01,anna,\"Hall, 2nd \"\"floor\"\"\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			l := o.line(t, Line{AOR: "sip:anna@example.com", Number: "+4930123", Extension: "21", User: "anna@example.com"})
			rep, err := o.EnrolSheet(t.Context(), []byte(text), true)
			if err != nil || rep.Faults != 0 || len(rep.Rows) != 1 || rep.Applied || o.Len() != 0 {
				t.Fatalf("dry run: %+v, %v, %d phones", rep, err, o.Len())
			}
			if rep, err = o.EnrolSheet(t.Context(), []byte(text), false); err != nil || !rep.Applied {
				t.Fatalf("%+v, %v", rep, err)
			}
			s, ok := o.Summary(phoneMAC(1))
			if !ok || s.Enrolled.IsZero() || s.Accounts[0].LineID != l.ID || s.Accounts[0].Location != `Hall, 2nd "floor"` {
				t.Errorf("phone %+v", s)
			}
		})
	}
}

func TestSheetFaults(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no header": "00:00:5e:00:53:01,,,\n", "no MAC column": "Verification Code,Location\n1,2\n", "unknown column": "MAC ID,Colour\n00:00:5e:00:53:01,red\n",
		"column twice": "MAC ID,mac\n00:00:5e:00:53:01,x\n", "open quote": "MAC ID,Location\n00:00:5e:00:53:01,\"x\n", "Latin-1": "MAC ID,Location\n00:00:5e:00:53:01,M\xfcnchen\n",
		"binary": "PK\x03\x04\x00\x00\x00", "too many rows": "MAC ID\n" + strings.Repeat("x\n", MaxRows+1),
	} {
		o := newOffice(t)
		if rep, err := o.EnrolSheet(t.Context(), []byte(text), false); !errors.Is(err, ErrInvalid) || !IsSheetFault(err) || len(rep.Rows) > 0 || o.store.writes > 0 {
			t.Errorf("%s: %v, %d rows", name, err, len(rep.Rows))
		}
	}
}

func TestEnrolReasons(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	anna := o.line(t, Line{AOR: "sip:anna@example.com", Extension: "21", DisplayName: "Anna"})
	o.line(t, Line{AOR: "sip:bob1@example.com", DisplayName: "Bob"})
	o.line(t, Line{AOR: "sip:bob2@example.com", DisplayName: "Bob"})
	o.line(t, Line{AOR: "sip:site@example.com", Site: true})
	o.line(t, Line{AOR: "sip:no@example.com", Policy: Policy{SIPDevices: Denied}})
	for n := range byte(3) {
		if _, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(n + 1), Slots: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(o.EnrolPhone(ctx, phoneMAC(2)), o.Assign(ctx, slot(3, 1), anna.ID), o.SetLocation(ctx, slot(3, 1), "Hall")); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		row  string
		want Reason
	}{
		{"00:00:5e:00:53:01,,,", WillEnrol},
		{"00:00:5e:00:53:02,,,", Unchanged},
		{"00:00:5e:00:53:02:002,,,Desk", WillChange},
		{"00:00:5e:00:53:03,,Anna,Hall", Unchanged},
		{"00:00:5e:00:53:03/2,,Anna,", WillChange},
		{"00:00:5e:00:53:11,48291305,21,Hall", WillCode},
		{"00:00:5e:00:53:12,,,", WillEnrol},
		{"00:00:5e:00:53:01,,,", DuplicateRow},
		{",,,Hall", MACMissing},
		{"00:00:5e:00:53,,,", MACInvalid},
		{"00:00:5e:00:53:zz,,,", MACInvalid},
		{"1.56512E+09,,,", MACInvalid},
		{"01:00:5e:00:53:01,,,", NoPhone},
		{"00:00:00:00:00:00,,,", NoPhone},
		{"00:00:5e:00:53:01:009,,,", SlotUnknown},
		{"00:00:5e:00:53:13,12345,,", CodeInvalid},
		{"00:00:5e:00:53:14,000000,,", CodeInvalid},
		{"00:00:5e:00:53:02/1,,,,x", TooManyFields},
		{"00:00:5e:00:53:15,,nobody,", LineUnknown},
		{"00:00:5e:00:53:16,,Bob,", LineAmbiguous},
		{"00:00:5e:00:53:17,,site,", LineIsSite},
		{"00:00:5e:00:53:18,,no,", LineNotAllowed},
		{"00:00:5e:00:53:19,,," + strings.Repeat("x", 200), LocationInvalid},
	}
	text := "MAC ID,Verification Code,Assigned,Location\n"
	var want, got []Reason
	for _, r := range rows {
		text += r.row + "\n"
		want = append(want, r.want)
	}
	o.asked()
	writes := o.store.writes
	rep, err := o.EnrolSheet(ctx, []byte(text), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rep.Rows {
		got = append(got, r.Reason)
		if r.Reason.Text() == "" {
			t.Errorf("%s has no words", r.Reason)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if rep.Applied || o.store.writes != writes || o.Len() != 3 {
		t.Error("a sheet with faults changed something")
	}
	// The code of an enrolled phone is of no use.
	rep, err = o.EnrolSheet(ctx, []byte("MAC ID,Code\n00:00:5e:00:53:02,48291305\n"), true)
	if err != nil || rep.Rows[0].Reason != CodeNotNeeded {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestSheetWithCode: the line of a row with a code waits for the code.
func TestSheetWithCode(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	l := o.line(t, Line{AOR: "sip:anna@example.com", Extension: "21"})
	if rep, err := o.EnrolSheet(ctx, []byte("MAC ID;Verification Code;Assigned;Location\n00:00:5e:00:53:01;482913;21;Hall\n"), false); err != nil || !rep.Applied {
		t.Fatalf("%+v, %v", rep, err)
	}
	if p, _ := o.Phase(slot(1, 1)); p != Waiting {
		t.Errorf("phase %s before the code", p)
	}
	if err := o.Redeem(ctx, slot(1, 1), "482913"); err != nil {
		t.Fatal(err)
	}
	if s, _ := o.Summary(phoneMAC(1)); s.Accounts[0].LineID != l.ID || s.Enrolled.IsZero() || s.Accounts[0].Location != "Hall" {
		t.Errorf("%+v", s)
	}
}

// TestSheetRoundTrip downloads what is there, and uploads it again.
func TestSheetRoundTrip(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	formula := o.line(t, Line{AOR: "sip:f@example.com", User: "=cmd|'/C"})
	plus := o.line(t, Line{AOR: "sip:p@example.com", Number: "+4930123"})
	if _, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(1), Slots: 2}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Assign(ctx, slot(1, 1), formula.ID), o.Assign(ctx, slot(1, 2), plus.ID), o.SetLocation(ctx, slot(1, 1), "@SUM(A1)"), o.SetLocation(ctx, slot(1, 2), "'-1")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.IssueCodes(ctx, []mac.Addr{phoneMAC(2)}, 0); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteSheet(&b, EnrolHeader, o.PhoneSheet(false)); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(b.String(), "\ufeff"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, cell := range slices.Concat(records...) {
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			t.Errorf("cell %q would be taken for a formula", cell)
		}
	}
	if records[1][1]+records[3][1] != "" {
		t.Error("a code is told")
	}
	rep, err := o.EnrolSheet(ctx, b.Bytes(), true)
	if err != nil {
		t.Fatal(err)
	}
	var got []Reason
	for _, r := range rep.Rows {
		got = append(got, r.Reason)
	}
	if diff := gocmp.Diff([]Reason{Unchanged, Unchanged, WillEnrol}, got); diff != "" {
		t.Errorf("uploaded again (-want +got):\n%s", diff)
	}
}

// TestThousandRows: a sheet of 1,000 rows is one write.
func TestThousandRows(t *testing.T) {
	o := newOffice(t)
	text := "MAC ID,Verification Code,Assigned,Location\n"
	for n := range 1000 {
		text += fmt.Sprintf("00-00-5E-01-%02X-%02X,,,Room %d\n", n>>8, n&255, n)
	}
	begun := time.Now()
	rep, err := o.EnrolSheet(t.Context(), []byte(text), false)
	if err != nil || !rep.Applied || o.Len() != 1000 || o.store.writes != 1 {
		t.Errorf("%d faults, %v, %d phones, %d writes", rep.Faults, err, o.Len(), o.store.writes)
	}
	t.Logf("1,000 rows took %v", time.Since(begun))
}

// there is a Presence in which everything is online but what is said.
type there struct {
	away map[mac.Account]bool
	two  map[mac.Account][]string
}

func (p there) Online(a mac.Account) bool      { return !p.away[a] }
func (p there) Sources(a mac.Account) []string { return p.two[a] }

func TestSignInReasons(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	hall := o.line(t, Line{AOR: "sip:hall@example.com", Extension: "31", User: "hall@example.com"})
	o.line(t, Line{AOR: "sip:lift@example.com", Extension: "32", User: "lift@example.com"})
	o.line(t, Line{AOR: "sip:mute@example.com", User: "mute@example.com"})
	o.line(t, Line{AOR: "sip:no@example.com", Extension: "33", User: "no@example.com", Policy: Policy{SIPDevices: Denied}})
	for n := range byte(6) {
		if _, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(n + 1), Slots: 2}); err != nil {
			t.Fatal(err)
		}
	}
	o.pass(31 * 24 * time.Hour)
	for n := range byte(5) {
		o.Saw(phoneMAC(n + 1)) // all but the sixth
	}
	if err := errors.Join(o.Assign(ctx, slot(2, 1), hall.ID), o.Assign(ctx, slot(3, 1), hall.ID)); err != nil {
		t.Fatal(err)
	}
	p := there{map[mac.Account]bool{slot(4, 1): true}, map[mac.Account][]string{slot(5, 1): {"192.0.2.5", "192.0.2.6"}}}
	for _, tc := range []struct {
		row  string
		want Reason
	}{
		{"lift@example.com,00-00-5e-00-53-01", WillSignIn},
		{"LIFT@EXAMPLE.COM,00-00-5e-00-53-01:002", WillSignIn},
		{"hall@example.com,00-00-5e-00-53-02", Unchanged},
		{"lift@example.com,00-00-5e-00-53-03", SomebodySignedIn},
		{"lift@example.com,00-00-5e-00-53-04", WhenBack},
		{"lift@example.com,00-00-5e-00-53-05", DuplicateDevice},
		{"lift@example.com,00-00-5e-00-53-06", DeadlineExpired},
		{"lift@example.com,00-00-5e-00-53-07", DeviceUnknown},
		{"lift@example.com,00-00-5e-00-53-01:007", SlotUnknown},
		{"lift@example.com,phone", HardwareInvalid},
		{"lift@example.com,", HardwareInvalid},
		{",00-00-5e-00-53-01", UserMissing},
		{"x@example.com,00-00-5e-00-53-01", LineUnknown},
		{"mute@example.com,00-00-5e-00-53-01", LineNoNumber},
		{"no@example.com,00-00-5e-00-53-01", LineNotAllowed},
	} {
		rep, err := o.SignInSheet(ctx, []byte("Username,HardwareId\n"+tc.row+"\n"), p, true)
		if err != nil || len(rep.Rows) != 1 || rep.Rows[0].Reason != tc.want {
			t.Errorf("%s: %+v, %v, want %s", tc.row, rep.Rows, err, tc.want)
		}
	}
	rep, err := o.SignInSheet(ctx, []byte("Username,HardwareId\nlift,00-00-5e-00-53-01\nlift,0000.5e00.5301\n"), p, false)
	if err != nil || rep.Applied || rep.Rows[1].Reason != DuplicateRow {
		t.Errorf("a device twice: %+v, %v", rep, err)
	}
	rep, err = o.SignInSheet(ctx, []byte("Username;HardwareId\r\nlift;00-00-5e-00-53-01:001\r\nlift;00-00-5e-00-53-04:002\r\n"), p, false)
	if err != nil || !rep.Applied || len(o.OnLine(2)) != 2 {
		t.Errorf("sign in: %+v, %v", rep, err)
	}
	if s, _ := o.Summary(phoneMAC(4)); s.Enrolled.IsZero() {
		t.Error("a phone that an administrator signed in still waits")
	}
}

func FuzzSheet(f *testing.F) {
	f.Add([]byte("MAC ID,Verification Code,Assigned,Location\n00:00:5e:00:53:01,,,\"x\"\n"))
	f.Add([]byte("\ufeffUsername;HardwareId\r\na;00-00-5e-00-53-01:001\r\n"))
	f.Add([]byte(utf16le("sep=\t\r\nMAC ID\tLocation\r\n")))
	f.Add([]byte("MAC ID\n\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := readSheet(text, enrolColumns)
		if err != nil {
			if !errors.Is(err, ErrSheet) {
				t.Errorf("%v is no fault of a sheet", err)
			}
			return
		}
		for _, r := range s.rows {
			if r.number < 2 {
				t.Errorf("row %d", r.number)
			}
			if a, err := parseHardware(r.fields["macid"]); err == nil && a.Slot == 0 {
				t.Errorf("%q has slot 0", r.fields["macid"])
			}
		}
	})
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"", "=1", "'=1", "''", "+49", "@", "x'", "'x", "'''-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g := guard(s)
		if unguard(g) != s {
			t.Errorf("%q becomes %q and %q", s, g, unguard(g))
		}
		if g != "" && strings.ContainsRune("=+-@\t\r", rune(g[0])) {
			t.Errorf("%q is a formula", g)
		}
	})
}
