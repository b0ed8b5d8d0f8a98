package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// TestBootSequences fetches what each phone fetches, in its order.
func TestBootSequences(t *testing.T) {
	r := newRig(t, true, nil)
	type step struct {
		method, path string
		status       int
		holds        string // a part of the body
	}
	for _, tc := range []struct {
		name  string
		mac   mac.Addr
		agent string
		steps []step
		story []string
		phone Phone
	}{
		{
			"Yealink", yealink, yealinkUA,
			[]step{
				{"GET", "/001565005301.boot", 404, ""},
				{"GET", "/y000000000000.boot", 404, ""},
				{"GET", "/y000000000108.cfg", 200, "sip.notify_reboot_enable = 0"},
				{"GET", "/001565005301.cfg", 200, "account.1.password = Secret01of001565005301"},
				{"GET", "/001565005301-local.cfg", 404, ""},
			},
			[]string{"provision.identified", "provision.404", "provision.404", "provision.served", "provision.served", "provision.404"},
			Phone{Vendor: "yealink", Model: "T46U", Firmware: "108.86.0.45"},
		},
		{
			"Poly", poly, polyUA,
			[]step{
				{"PUT", "/0004f2005302-boot.log", 200, ""},
				{"GET", "/0004f2005302.cfg", 200, `reg.1.auth.password="Secret01of0004f2005302"`},
				{"GET", "/000000000000.cfg", 200, `CONFIG_FILES="[PHONE_MAC_ADDRESS].cfg"`},
				{"GET", "/3111-44500-001.sip.ld", 404, ""},
				{"GET", "/0004f2005302-phone.cfg", 404, ""},
				{"GET", "/0004f2005302-web.cfg", 404, ""},
				{"GET", "/000000000000-license.cfg", 404, ""},
				{"GET", "/0004f2005302-license.cfg", 404, ""},
				{"GET", "/0004f2005302-directory.xml", 404, ""},
				{"GET", "/000000000000-directory.xml", 404, ""},
				{"HEAD", "/0004f2005302-app.log", 404, ""},
				{"PUT", "/0004f2005302-app.log", 200, ""},
			},
			[]string{
				"provision.identified", "provision.uploaded", "provision.served", "provision.served", "provision.404", "provision.404", "provision.404",
				"provision.404", "provision.404", "provision.404", "provision.404", "provision.uploaded",
			},
			Phone{Vendor: "poly", Model: "VVX 500", Firmware: "5.9.7.47435"},
		},
		{
			"Cisco MPP", cisco, ciscoUA,
			[]step{
				{"GET", "/lang_de/8841-3PCC.xml", 200, "<Profile_Rule>http://127.0.0.1/lang_de/$MA.xml</Profile_Rule>"},
				{"GET", "/lang_de/00562b005303.xml", 200, "<Password_1_>Secret01of00562b005303</Password_1_>"},
			},
			[]string{"provision.identified", "provision.served", "provision.served"},
			Phone{Vendor: "cisco-mpp", Model: "8841", Firmware: "11.0"},
		},
		{
			"Cisco adapter", ata, ataUA,
			[]step{{"GET", "/00005e005304.xml", 200, "<Password_2_>Secret02of00005e005304</Password_2_>"}},
			[]string{"provision.identified", "provision.served"},
			Phone{Vendor: "cisco-mpp", Model: "ATA191", Firmware: "11-1-0-MSR4"},
		},
		{
			"Grandstream", grand, grandUA,
			[]step{{"GET", "/cfg000b82005307", 404, ""}, {"GET", "/cfg000b82005307.xml", 200, "<P34>Secret01of000b82005307</P34>"}, {"GET", "/cfggrp2614.xml", 404, ""}, {"GET", "/cfg.xml", 404, ""}},
			[]string{"provision.identified", "provision.404", "provision.served", "provision.404", "provision.404"},
			Phone{Vendor: "grandstream", Model: "GRP2614", Firmware: "1.0.5.15"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, s := range tc.steps {
				var body io.Reader
				if s.method == "PUT" {
					body = strings.NewReader("1106120000|cfg  |*|00|log\n")
				}
				got := r.ask(home(tc.mac), s.method, s.path, tc.agent, body)
				if got.Status != s.status || !strings.Contains(got.Body, s.holds) {
					t.Errorf("%s %s: %d, want %d and %q in\n%s", s.method, s.path, got.Status, s.status, s.holds, got.Body)
				}
			}
			if diff := cmp.Diff(tc.story, r.told.codes(tc.mac)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
			p, _ := r.phones.Phone(tc.mac)
			p.MAC, p.Accounts = mac.Addr{}, nil
			if diff := cmp.Diff(tc.phone, p); diff != "" {
				t.Error("inventory (-want +got)\n" + diff)
			}
		})
	}
}

func TestHeadAndConditional(t *testing.T) {
	r := newRig(t, true, nil)
	full := r.get(yealink, "/001565005301.cfg", yealinkUA)
	etag := full.Header.Get("ETag")
	if full.Status != 200 || etag == "" || full.Header.Get("Content-Length") != fmt.Sprint(len(full.Body)) {
		t.Fatalf("%d %v", full.Status, full.Header)
	}
	again := r.get(yealink, "/001565005301.cfg", yealinkUA)
	if diff := cmp.Diff(full, again); diff != "" {
		t.Error("second fetch differs (-first +second)\n" + diff)
	}
	head := r.ask(home(yealink), http.MethodHead, "/001565005301.cfg", yealinkUA, nil)
	if head.Status != 200 || head.Body != "" || head.Header.Get("Content-Length") != fmt.Sprint(len(full.Body)) || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: %+v", head)
	}
	for header, want := range map[string]int{
		etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, "": 200,
	} {
		r.told.forget()
		got := r.ask(home(yealink), http.MethodGet, "/001565005301.cfg", yealinkUA, nil, "If-None-Match", header)
		if got.Status != want || want == 304 && (got.Body != "" || got.Header.Get("ETag") != etag) {
			t.Errorf("If-None-Match %s: %+v", header, got)
		}
		if want == 304 {
			if diff := cmp.Diff([]string{"provision.304"}, r.told.codes(yealink)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
		}
	}
	r.Server.cache.age(-time.Hour)
	date := r.get(yealink, "/001565005301.cfg", yealinkUA).Header.Get("Last-Modified")
	for _, tc := range []struct {
		headers []string
		want    int
	}{
		{[]string{"If-Modified-Since", date}, 304},
		{[]string{"If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, 200}, // not ours
		{[]string{"If-Modified-Since", "yesterday"}, 200},
		{[]string{"If-Modified-Since", date, "If-None-Match", `"x"`}, 200}, // the tag counts (RFC 9110 §13.2.2)
		{[]string{"If-Modified-Since", "yesterday", "If-None-Match", etag}, 304},
		{[]string{"Range", "bytes=0-9"}, 200},
	} {
		if got := r.ask(home(yealink), http.MethodGet, "/001565005301.cfg", yealinkUA, nil, tc.headers...); date == "" || got.Status != tc.want {
			t.Errorf("%v: %d, want %d", tc.headers, got.Status, tc.want)
		}
	}
	refused := r.ask(home(poly), http.MethodGet, "/001565005301.cfg", "", nil, "If-None-Match", etag)
	if refused.Status != 404 {
		t.Errorf("another phone learns by If-None-Match: %+v", refused)
	}
	p, _ := r.phones.Phone(yealink)
	p.Accounts = accounts(yealink, 1)
	p.Accounts[0].Label = "Anna"
	r.phones.put(p)
	if changed := r.get(yealink, "/001565005301.cfg", yealinkUA); changed.Header.Get("ETag") == etag {
		t.Error("another name, the same ETag")
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t, true, nil)
	for _, method := range []string{"DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "MKCOL"} {
		got := r.ask(home(yealink), method, "/001565005301.cfg", yealinkUA, nil)
		if got.Status != 405 || got.Header.Get("Allow") == "" {
			t.Errorf("%s: %+v", method, got)
		}
	}
	for _, path := range []string{"/001565005301.cfg", "/y000000000028.cfg", "/", "/etc/passwd"} {
		if got := r.ask(home(yealink), "PUT", path, yealinkUA, strings.NewReader("x")); got.Status != 405 {
			t.Errorf("PUT %s: %+v", path, got)
		}
	}
}

func TestUploads(t *testing.T) {
	r := newRig(t, true, nil)
	unknown := r.get(laptop, "/no-such-file.cfg", "curl/7.88.1")
	for _, tc := range []struct {
		name   string
		from   mac.Addr
		path   string
		body   io.Reader
		status int
		story  []string
	}{
		{"its own log", poly, "/0004f2005302-app.log", strings.NewReader("log"), 200, []string{"provision.identified", "provision.uploaded"}},
		{"its overrides", poly, "/0004f2005302-phone.cfg", strings.NewReader("<x/>"), 200, []string{"provision.uploaded"}},
		{"without a length", poly, "/0004f2005302-app.log", io.MultiReader(strings.NewReader("log")), 200, []string{"provision.uploaded"}},
		{"another's log", poly, "/0004f2005399-app.log", strings.NewReader("log"), 404, []string{"provision.refused address-of-other"}},
		{"a stranger's", mac.Addr{}, "/0004f2005302-app.log", strings.NewReader("log"), 404, []string{"provision.refused address-unknown"}},
		{"too large", poly, "/0004f2005302-app.log", bytes.NewReader(make([]byte, uploadLimit+1)), 413, []string{"provision.refused upload-too-large"}},
		{"another's, too large", poly, "/0004f2005399-app.log", bytes.NewReader(make([]byte, uploadLimit+1)), 404, []string{"provision.refused address-of-other"}},
		{"too large without a length", poly, "/0004f2005302-app.log", io.MultiReader(bytes.NewReader(make([]byte, uploadLimit+1))), 413, []string{"provision.refused upload-too-large"}},
		{"as large as may be", poly, "/0004f2005302-app.log", bytes.NewReader(make([]byte, uploadLimit)), 200, []string{"provision.uploaded"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.told.forget()
			got := r.ask(home(tc.from), http.MethodPut, tc.path, polyUA, tc.body)
			if got.Status != tc.status {
				t.Errorf("%+v, want %d", got, tc.status)
			}
			if tc.status == 404 {
				if diff := cmp.Diff(unknown, got); diff != "" {
					t.Error("not the answer of an unknown file (-unknown +got)\n" + diff)
				}
			}
			if diff := cmp.Diff(tc.story, r.told.codes(poly)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
		})
	}
}

// TestInventoryFails: a phone that is known comes up although nothing can be
// written; a new one is told to come back.
func TestInventoryFails(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Model: "T46U", Accounts: accounts(yealink, 1)})
	r.phones.breakDown(errors.New("disk is full"))
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 || !strings.Contains(got.Body, "Secret01") {
		t.Errorf("known phone: %+v", got)
	}
	if got := r.get(poly, "/0004f2005302.cfg", polyUA); got.Status != 503 {
		t.Errorf("new phone: %+v", got)
	}
	if diff := cmp.Diff([]string{"provision.refused render-failed"}, r.told.codes(poly)); diff != "" {
		t.Error("story (-want +got)\n" + diff)
	}
}

func TestBadAddress(t *testing.T) {
	r := newRig(t, true, nil)
	site := func(netip.Addr) *Site { return new(berlin()) }
	for _, cfg := range []Config{
		{Site: site, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), r.http}},
		{Site: site, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, TFTP: []netip.AddrPort{r.tftp}},
		{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}},
	} {
		if _, err := New(cfg, r.catalog, r.phones, homes, r.windows, r.told.record, quiet); err == nil {
			t.Error("no error for an address in use or a missing site")
		}
	}
}

func TestTicks(t *testing.T) {
	r := newRig(t, true, nil)
	limit := time.Now().Add(30 * time.Second)
	for r.ticks.Load() < 4 { // two loops, idle
		if time.Now().After(limit) {
			t.Fatalf("%d ticks", r.ticks.Load())
		}
		time.Sleep(20 * time.Millisecond)
	}
	names := []string{}
	for _, task := range r.Tasks() {
		names = append(names, task.String())
	}
	if diff := cmp.Diff([]string{"provision repeats", "provision http " + r.http.String(), "provision tftp " + r.tftp.String()}, names); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}
