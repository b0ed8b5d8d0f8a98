package lab

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestYealinkConfig(t *testing.T) {
	const head = "#!version:1.0.0.1\n"
	const line = "account.1.enable=1\naccount.1.user_name = 101\naccount.1.sip_server.1.address=192.0.2.1\n"
	base := Account{Slot: 1, Server: "192.0.2.1", Port: 5060, Transport: "udp", User: "101", AuthUser: "101", Label: "101", Expires: time.Hour}
	with := func(change func(*Account)) []Account {
		a := base
		change(&a)
		return []Account{a}
	}
	for _, tc := range []struct {
		name  string
		files []string
		want  []Account
		err   bool
	}{
		{name: "defaults", files: []string{head + line}, want: []Account{base}},
		{name: "everything", files: []string{head + line + `
# a comment
account.1.auth_name = a101
account.1.password = p = w
account.1.label = Anna
account.1.display_name = Anna Albers
account.1.sip_server.1.port = 5070
account.1.sip_server.1.transport_type = 1
account.1.sip_server.1.expires = 600
account.1.outbound_proxy_enable = 1
account.1.outbound_proxy.1.address = 192.0.2.2
`}, want: []Account{{
			Slot: 1, Server: "192.0.2.1", Port: 5070, Transport: "tcp", Proxy: "192.0.2.2:5060", User: "101", AuthUser: "a101",
			Password: "p = w", Label: "Anna", Display: "Anna Albers", Expires: 10 * time.Minute,
		}}},
		{name: "a later file wins, NULL clears", files: []string{
			head + "account.1.label = common\naccount.1.display_name=X\n", head + line + "account.1.label = own\naccount.1.display_name = %NULL%\n",
		}, want: with(func(a *Account) { a.Label = "own" })},
		{name: "switched off", files: []string{head + line + "account.1.enable = 0\n"}},
		{name: "CRLF", files: []string{strings.ReplaceAll(head+line, "\n", "\r\n")}, want: []Account{base}},
		{name: "NAPTR with an address", files: []string{head + line + "account.1.sip_server.1.transport_type=3\n"}, want: []Account{base}},
		{name: "TLS is not for the lab", files: []string{head + line + "account.1.sip_server.1.transport_type=2\n"}, err: true},
		{name: "no version", files: []string{line}, err: true},
		{name: "comment before the version", files: []string{"# hello\n" + head + line}, err: true},
		{name: "byte order mark", files: []string{"\xef\xbb\xbf" + head + line}, err: true},
		{name: "a page that says 404", files: []string{"<html>not found</html>"}, err: true},
		{name: "no server", files: []string{head + "account.1.enable=1\naccount.1.user_name=1\n"}, err: true},
		{name: "port out of range", files: []string{head + line + "account.1.sip_server.1.port = 70000\n"}, err: true},
		{name: "binary", files: []string{head + "\x00"}, err: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values := make(map[string]string)
			var err error
			for _, file := range tc.files {
				err = errors.Join(err, parseYealink([]byte(file), values))
			}
			got, err2 := yealinkAccounts(values)
			check(t, tc.want, got, errors.Join(err, err2), tc.err)
		})
	}
	if diff := cmp.Diff([]string{"a.cfg", "http://192.0.2.1/b.cfg"}, includesOf([]byte("#!version:1.0.0.1\ninclude:config \"a.cfg\"\ninclude:config <http://192.0.2.1/b.cfg>\noverwrite_mode = 1\n"))); diff != "" {
		t.Errorf("includes (-want +got):\n%s", diff)
	}
}

func check(t *testing.T, want, got []Account, err error, bad bool) {
	t.Helper()
	if bad {
		if err == nil {
			t.Fatalf("accounts %+v, want an error", got)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPolyConfig(t *testing.T) {
	const reg = `reg.1.address="101" reg.1.server.1.address="192.0.2.1"`
	base := Account{Slot: 1, Server: "192.0.2.1", Port: 5060, Transport: "udp", User: "101", AuthUser: "101", Label: "101", Expires: time.Hour}
	for _, tc := range []struct {
		name string
		in   string
		want []Account
		err  bool
	}{
		{name: "defaults", in: `<polycomConfig ` + reg + `/>`, want: []Account{base}},
		{
			name: "nested, with schema and host", in: `<?xml version="1.0"?><PHONE_CONFIG xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="p.xsd">
<ALL reg.1.address="101@192.0.2.9" reg.1.label="Anna &amp; Co" reg.1.displayName="Anna" reg.1.auth.userId="a" reg.1.auth.password="&lt;p&gt;"
 reg.1.outboundProxy.address="192.0.2.2" reg.1.outboundProxy.port="5062"><b voIpProt.server.1.address="192.0.2.1" voIpProt.server.1.port="5070" voIpProt.server.1.transport="TCPOnly" voIpProt.server.1.expires="300"/></ALL></PHONE_CONFIG>`,
			want: []Account{{
				Slot: 1, Server: "192.0.2.1", Port: 5070, Transport: "tcp", Proxy: "192.0.2.2:5062", User: "101", AuthUser: "a",
				Password: "<p>", Label: "Anna & Co", Display: "Anna", Expires: 5 * time.Minute,
			}},
		},
		{name: "does not register", in: `<a ` + reg + ` reg.1.server.1.register="0"/>`},
		{name: "port 0 means the default", in: `<a ` + reg + ` reg.1.server.1.port="0"/>`, want: []Account{base}},
		{name: "a name needs DNS", in: `<a reg.1.address="1" reg.1.server.1.address="sip.example.com"/>`, err: true},
		{name: "unknown transport", in: `<a ` + reg + ` reg.1.server.1.transport="SCTP"/>`, err: true},
		{name: "not XML", in: "account.1.enable = 1", err: true},
		{name: "cut off", in: `<a ` + reg, err: true},
		{name: "binary", in: "<a\x00/>", err: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := parsePoly([]byte(tc.in), strings.ToUpper)
			got, err2 := polyAccounts(file.values)
			check(t, tc.want, got, errors.Join(err, err2), tc.err)
		})
	}
	got, err := parsePoly([]byte(`<APPLICATION APP_FILE_PATH="sip.ld" CONFIG_FILES="a.cfg, [MAC].cfg,," OVERRIDES_DIRECTORY="o"/>`),
		func(s string) string { return strings.ReplaceAll(s, "[MAC]", "m") })
	want := polyMaster{present: true, firmware: "sip.ld", files: []string{"a.cfg", "m.cfg"}, override: "o"}
	if diff := cmp.Diff(want, got.master, cmp.AllowUnexported(polyMaster{})); diff != "" || err != nil {
		t.Errorf("master, %v (-want +got):\n%s", err, diff)
	}
}

func TestCiscoConfig(t *testing.T) {
	const line = `<User_ID_1_>101</User_ID_1_><Proxy_1_>192.0.2.1</Proxy_1_>`
	base := Account{Slot: 1, Server: "192.0.2.1", Port: 5060, Transport: "udp", User: "101", AuthUser: "101", Label: "101", Expires: time.Hour}
	with := func(change func(*Account)) []Account {
		a := base
		change(&a)
		return []Account{a}
	}
	for _, tc := range []struct {
		name string
		in   string
		want []Account
		err  bool
	}{
		{name: "defaults", in: line, want: []Account{base}},
		{name: "everything", in: `<group>` + line + `</group><Auth_ID_1_ ua="na"> a101 </Auth_ID_1_><Use_Auth_ID_1_>Yes</Use_Auth_ID_1_><Password_1_>p&amp;w</Password_1_>
<Display_Name_1_>Anna Albers</Display_Name_1_><Short_Name_1_>Anna $USER</Short_Name_1_><Proxy_1_>192.0.2.1:5070</Proxy_1_><Outbound_Proxy_1_>192.0.2.2</Outbound_Proxy_1_>
<SIP_Transport_1_>tcp</SIP_Transport_1_><Register_Expires_1_>600</Register_Expires_1_>`, want: []Account{{
			Slot: 1, Server: "192.0.2.1", Port: 5070, Transport: "tcp", Proxy: "192.0.2.2:5060", User: "101", AuthUser: "a101",
			Password: "p&w", Label: "Anna 101", Display: "Anna Albers", Expires: 10 * time.Minute,
		}}},
		{name: "an ATA that does not use it", in: line + `<Auth_ID_1_>a</Auth_ID_1_><Use_Auth_ID_1_>No</Use_Auth_ID_1_>`, want: []Account{base}},
		{name: "disabled line", in: line + `<Line_Enable_1_>No</Line_Enable_1_>`},
		{name: "a line without a user", in: line + `<User_ID_2_></User_ID_2_>`, want: []Account{base}},
		{name: "label from the display name", in: line + `<Display_Name_1_>A</Display_Name_1_>`, want: with(func(a *Account) { a.Label, a.Display = "A", "A" })},
		{name: "no proxy", in: `<User_ID_1_>1</User_ID_1_>`, err: true},
		{name: "bad port", in: line + `<Proxy_1_>192.0.2.1:x</Proxy_1_>`, err: true},
		{name: "bad transport", in: line + `<SIP_Transport_1_>QUIC</SIP_Transport_1_>`, err: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values := make(map[string]string)
			err := parseCisco([]byte("<flat-profile>"+tc.in+"</flat-profile>"), values)
			got, err2 := ciscoAccounts(values)
			check(t, tc.want, got, errors.Join(err, err2), tc.err)
		})
	}
	for _, bad := range []string{"", "#!version:1.0.0.1", "<device></device>", "<flat-profile>", "<flat-profile></x></flat-profile>"} {
		if err := parseCisco([]byte(bad), map[string]string{}); !errors.Is(err, errConfig) {
			t.Errorf("parseCisco(%q) = %v, want errConfig", bad, err)
		}
	}
}

func TestCiscoMacros(t *testing.T) {
	f := fetcher{p: CiscoCP8841()}
	for in, want := range map[string]string{
		"http://192.0.2.1/$PSN.xml":        "http://192.0.2.1/8841-3PCC.xml",
		"/$MA.xml":                         "/00562b884104.xml",
		"$MAU-$MAC-$(MA)$PN":               "00562B884104-00:56:2b:88:41:04-00562b884104CP-8841-3PCC",
		"plain $ and $$ and $UNKNOWN stay": "plain $ and $$ and $UNKNOWN stay",
	} {
		if got := f.macros().expand(in); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"http://192.0.2.1/a.xml":                             "http://192.0.2.1/a.xml",
		" [--key $SA] [--uid a --pwd b] http://192.0.2.1/a ": "http://192.0.2.1/a",
		"": "",
	} {
		if got, err := ruleURL(in); got != want || err != nil {
			t.Errorf("ruleURL(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"[--key x http://192.0.2.1/", "($SWVER lt 11.0)? http://192.0.2.1/"} {
		if got, err := ruleURL(bad); err == nil {
			t.Errorf("ruleURL(%q) = %q, want an error", bad, got)
		}
	}
}

func TestResyncPolicy(t *testing.T) {
	type m = map[string]string
	for _, tc := range []struct {
		name string
		got  resyncPolicy
		want resyncPolicy
	}{
		{"Yealink from the factory", yealinkResync(m{}, false), resyncReboot},
		{"Yealink, as the event says: no", yealinkResync(m{"sip.notify_reboot_enable": "0"}, false), resyncFetch},
		{"Yealink, as the event says: yes", yealinkResync(m{"sip.notify_reboot_enable": "0"}, true), resyncReboot},
		{"Yealink, never", yealinkResync(m{"sip.notify_reboot_enable": "2"}, true), resyncIgnore},
		{"Poly, nothing new", polyResync(m{}, false), resyncFetch},
		{"Poly, something new", polyResync(m{}, true), resyncReboot},
		{"Poly, always", polyResync(m{"voIpProt.SIP.specialEvent.checkSync.alwaysReboot": "1"}, false), resyncReboot},
		{"Cisco", ciscoResync(m{}, false), resyncFetch},
		{"Cisco, reboot", ciscoResync(m{}, true), resyncReboot},
		{"Cisco, not by SIP", ciscoResync(m{"Resync_From_SIP": "No"}, true), resyncIgnore},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, tc.got, tc.want)
		}
	}
	if !ciscoChallenges(m{}, 1) || ciscoChallenges(m{"Auth_Resync-Reboot_1_": "No"}, 1) {
		t.Error("Cisco challenges unless it is told not to")
	}
}

func TestBootURL(t *testing.T) {
	for _, tc := range []struct {
		phone Personality
		raw   string
		want  string // of a file under it; empty: refused
	}{
		{YealinkT46U(), "http://192.0.2.1/", "http://192.0.2.1/a.cfg"},
		{YealinkT46U(), "http://192.0.2.1", "http://192.0.2.1/a.cfg"},
		{YealinkT46U(), "http://192.0.2.1:8080/lang_de", "http://192.0.2.1:8080/lang_de/a.cfg"},
		{PolyEdgeE450(), "http://192.0.2.1/p/master.cfg", "http://192.0.2.1/p/a.cfg"},
		{PolyEdgeE450(), "192.0.2.1", ""}, // FTP
		{YealinkT46U(), "192.0.2.1", ""},  // TFTP
		{CiscoATA191(), "192.0.2.1", ""},  // HTTPS
		{CiscoCP8841(), "https://192.0.2.1/$PSN.xml", ""},
		{CiscoCP8841(), "http://", ""},
	} {
		u, err := bootURL(tc.phone, tc.raw)
		if (err == nil) != (tc.want != "") {
			t.Errorf("%v: bootURL(%q) = %v, %v", tc.phone, tc.raw, u, err)
			continue
		}
		if err == nil {
			if got := (&fetcher{base: u}).at("a.cfg"); got != tc.want {
				t.Errorf("%v: a file under %q is %s, want %s", tc.phone, tc.raw, got, tc.want)
			}
		}
	}
}

// Whatever a file holds, a parser ends, and an account that it makes is one
// that a phone could register.
func fuzzAccounts(f *testing.F, parse func([]byte) ([]Account, error), seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		accounts, err := parse(b)
		if err != nil {
			return
		}
		slot := 0
		for _, a := range accounts {
			if err := a.validate(); err != nil || a.Port == 0 || a.Expires <= 0 || a.AuthUser == "" || a.Slot <= slot {
				t.Errorf("%q: account %+v: %v", b, a, err)
			}
			slot = a.Slot
		}
	})
}

func FuzzYealink(f *testing.F) {
	fuzzAccounts(f, func(b []byte) ([]Account, error) {
		values := make(map[string]string)
		if err := parseYealink(b, values); err != nil {
			return nil, err
		}
		return yealinkAccounts(values)
	}, "#!version:1.0.0.1\naccount.1.enable=1\naccount.1.user_name=1\naccount.1.sip_server.1.address=192.0.2.1\naccount.1.sip_server.1.port=0\n")
}

func FuzzPoly(f *testing.F) {
	fuzzAccounts(f, func(b []byte) ([]Account, error) {
		file, err := parsePoly(b, func(s string) string { return s })
		if err != nil {
			return nil, err
		}
		return polyAccounts(file.values)
	}, `<a reg.1.address="1@b" reg.1.server.1.address="192.0.2.1" reg.2.address="2"/>`, `<APPLICATION CONFIG_FILES="a,b"/>`)
}

func FuzzCisco(f *testing.F) {
	fuzzAccounts(f, func(b []byte) ([]Account, error) {
		values := make(map[string]string)
		if err := parseCisco(b, values); err != nil {
			return nil, err
		}
		if _, err := ruleURL(values["Profile_Rule"]); err != nil {
			return nil, err
		}
		return ciscoAccounts(values)
	}, `<flat-profile><User_ID_1_>1</User_ID_1_><Proxy_1_>192.0.2.1:5060</Proxy_1_><Profile_Rule>[--key x] http://192.0.2.1/$MA.xml</Profile_Rule></flat-profile>`)
}
