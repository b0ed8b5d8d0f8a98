package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
)

// TestSourceReachesPhone: a phone whose configuration comes from another service
// from now on is asked to fetch, gets what that service says with the outbound
// proxy put in, and what is made here again when that ends.
func TestSourceReachesPhone(t *testing.T) {
	box, places := fleetBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	phone := lab.NewPhone(lab.YealinkT46U(), lab.PhoneConfig{DHCP: places["en"].server, Retry: 50 * time.Millisecond})
	if err := phone.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	name := phone.MAC().Hex() + ".cfg"
	own, err := phone.Fetch(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	// The other service gives the same account, so that the phone registers
	// here all the same, and something of its own.
	var asked atomic.Int32
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/"+name) {
			http.NotFound(w, r)
			return
		}
		asked.Add(1)
		fmt.Fprintf(w, "%s\nphone_setting.far = 1\n", own)
	}))
	defer far.Close()
	admin := box.Backend()
	set := func(e api.SourceEdit, key, want string) {
		t.Helper()
		e.Scope = phone.MAC().String()
		s, err := admin.PutSource(ctx, e)
		if err != nil || s.Asked != 1 {
			t.Fatalf("%+v: %d phones are asked, %v", e, s.Asked, err)
		}
		if err := settles(ctx, phone, key, want); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if err := actionsDone(ctx, admin, phone); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
	host := places["en"].box.String()
	set(api.SourceEdit{Source: "proxy", Upstream: far.URL}, "phone_setting.far", "1")
	set(api.SourceEdit{Source: "proxy", Upstream: far.URL, Outbound: host + ":" + phone.Setting("account.1.sip_server.1.port")}, "account.1.outbound_proxy.1.address", host)
	set(api.SourceEdit{}, "phone_setting.far", "")
	if n := asked.Load(); n != 2 {
		t.Errorf("the other service was asked %d times for 2 fetches", n)
	}
	if _, err := admin.PutSource(ctx, api.SourceEdit{Scope: "site", Source: "redirect"}); err == nil {
		t.Error("a redirect to nowhere is accepted")
	}
}
