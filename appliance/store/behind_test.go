package store

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
	"patchbay/sipedge"
)

func binding(n byte) sipedge.Binding {
	return sipedge.Binding{
		Account: mac.Account{MAC: phoneMAC(n), Slot: 1 + n%4}, Contact: "<sip:u@192.0.2.9:5060;x=%22>", Transport: "udp",
		Source: netip.MustParseAddrPort("192.0.2.9:5060"), Local: netip.MustParseAddrPort("192.0.2.1:5060"),
		CallID: "abc@192.0.2.9", CSeq: 1<<32 - 1, Instance: "<urn:uuid:0>", UserAgent: "Yealink SIP-T46U 108.86.0.1", Expires: noon,
	}
}

func TestBindings(t *testing.T) {
	db := fresh(t)
	b := db.Bindings()
	moved := binding(1)
	moved.Source = netip.MustParseAddrPort("192.0.2.77:1024")
	b.Put(binding(1))
	b.Put(binding(2))
	b.Put(binding(3))
	b.Put(moved)
	b.Delete(binding(2).Account)
	if err := b.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Delete(binding(3).Account)
	if err := b.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := open2(t, db).Bindings().Bindings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sipedge.Binding{moved}, got, compare); diff != "" {
		t.Errorf("bindings after a restart (-want +got):\n%s", diff)
	}
}

// TestRunWritesBehindWithinASecond copies the files while the process lives,
// which is what kill -9 leaves.
func TestRunWritesBehindWithinASecond(t *testing.T) {
	db := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	ticks := make(chan struct{}, 100)
	wg.Go(func() {
		if err := db.Task(func() { ticks <- struct{}{} }).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-ticks
	live := func(n byte) sipedge.Binding { // tidy removes what expired long ago
		b := binding(n)
		b.Expires = time.Now().Add(time.Hour)
		return b
	}
	db.Bindings().Put(live(1))
	began := time.Now()
	for len(stored(t, db)) == 0 {
		if time.Since(began) > 30*time.Second {
			t.Fatal("never written")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if took := time.Since(began); took > 10*time.Second { // a second, and what a busy machine adds
		t.Errorf("took %v, want a second", took)
	}
	db.Bindings().Put(live(2))
	db.Calls().Add(sipedge.CallRecord{ID: "last", Start: noon})
	cancel()
	wg.Wait()
	if got := stored(t, db); len(got) != 2 {
		t.Errorf("%d bindings on disk after Run, want 2", len(got))
	}
}

func stored(t *testing.T, db *DB) []sipedge.Binding {
	t.Helper()
	got, err := db.Bindings().Bindings(t.Context()) // reads the file, not what is behind
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBindingsAreTidied(t *testing.T) {
	db := fresh(t)
	old, recent := binding(1), binding(2)
	old.Expires, recent.Expires = time.Now().Add(-bindingsKept-time.Hour), time.Now().Add(-bindingsKept+time.Hour)
	db.Bindings().Put(old)
	db.Bindings().Put(recent)
	if err := db.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, db); len(got) != 1 || got[0].Account != recent.Account {
		t.Errorf("left %v, want the one that expired less long ago", got)
	}
}

func TestBindingsBehindAreBounded(t *testing.T) {
	db := fresh(t)
	release := hold(t, db)
	defer release()
	for i := range maxBehind + 10 {
		v := binding(1)
		v.Account.MAC = mac.Addr{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		db.Bindings().Put(v)
		db.Bindings().Put(v) // the same account needs no place
	}
	if got := db.Stats().BindingsDropped; got != 20 {
		t.Errorf("%d dropped, want 20", got)
	}
}

func call(n int) sipedge.CallRecord {
	return sipedge.CallRecord{
		ID: fmt.Sprintf("call-%05d", n), Start: noon.Add(time.Duration(n) * time.Second), Answered: noon.Add(time.Hour), End: noon.Add(2 * time.Hour),
		From:    sipedge.Party{Account: mac.Account{MAC: phoneMAC(byte(n % 3)), Slot: 1}, Number: "+4930123", Name: "Ä \"B\""},
		To:      sipedge.Party{Number: "+49555"},
		Dialled: "0555", Via: "gateway", Status: 200, Reason: "", Emergency: n%2 == 0,
		A: sipedge.LegQuality{Received: 1 << 40, Lost: 3, Jitter: 4 * time.Millisecond, MOS: 4.2},
	}
}

func TestCalls(t *testing.T) {
	db := fresh(t)
	c := db.Calls()
	for n := range 10 {
		c.Add(call(n))
		if n == 5 { // what is on disk and what is not are one list
			if err := c.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		mac    mac.Addr
		before time.Time
		limit  int
		want   []int
	}{
		{"newest", mac.Addr{}, time.Time{}, 3, []int{9, 8, 7}},
		{"across the buffer", mac.Addr{}, call(8).Start, 4, []int{7, 6, 5, 4}},
		{"of one phone", phoneMAC(1), time.Time{}, 100, []int{7, 4, 1}},
		{"of one phone, next page", phoneMAC(1), call(4).Start, 100, []int{1}},
		{"of nobody", phoneMAC(9), time.Time{}, 100, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var want []sipedge.CallRecord
			for _, n := range tc.want {
				want = append(want, call(n))
			}
			got, err := c.List(t.Context(), tc.mac, tc.before, tc.limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCallReports has what phones say before their call is written and after,
// on disk and not.
func TestCallReports(t *testing.T) {
	db := fresh(t)
	c := db.Calls()
	heard := sipedge.Heard{By: "vq-rtcpxr", Loss: 0.07, Jitter: 9 * time.Millisecond, MOS: 3.9}
	said := call(1)
	said.To.Account = mac.Account{MAC: phoneMAC(7), Slot: 2}
	said.B = sipedge.LegQuality{Codec: "PCMA", Received: 5, RoundTrip: time.Millisecond, Reported: sipedge.Heard{By: "rtcp", Loss: 0.5}}
	report := func(a mac.Account) { c.Report(sipedge.PhoneReport{Call: said.ID, Account: a, At: noon, Heard: heard}) }
	want := said
	check := func(when string) {
		t.Helper()
		got, err := c.List(t.Context(), mac.Addr{}, time.Time{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]sipedge.CallRecord{want}, got, compare); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	report(said.From.Account)
	if err := c.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Add(said)
	want.A.Reported = heard
	check("a report before its call")
	if err := c.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	report(said.To.Account)
	report(mac.Account{MAC: phoneMAC(9), Slot: 1}) // had no part in it
	want.B.Reported = heard
	check("a report that is not written yet")
	if err := c.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("all on disk")
}

func TestCallsAreBounded(t *testing.T) {
	db := fresh(t)
	for n := range callsBuffer + 5 {
		db.Calls().Add(call(n))
	}
	if got := db.Stats().CallsDropped; got != 5 {
		t.Errorf("%d dropped, want 5", got)
	}
	if err := db.calls.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO calls SELECT 'x' || i, i, 0, 0, '', 0, '', '', '', 0, '', '', '', '', 0, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}' FROM n`, callsKept)
	if err := db.calls.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	var rows, oldest int
	if err := db.read.QueryRowContext(t.Context(), "SELECT count(*), sum(id LIKE 'call-%') FROM calls").Scan(&rows, &oldest); err != nil || rows != callsKept || oldest != 0 {
		t.Errorf("%d rows, %d of the oldest, %v; want %d and 0", rows, oldest, err, callsKept)
	}
}

// Who is called back, and where phones hang, is known after a restart.
func TestWhereabouts(t *testing.T) {
	db := fresh(t)
	w := db.Whereabouts()
	now := time.Now().Truncate(time.Microsecond)
	help := mac.Account{MAC: phoneMAC(1), Slot: 2}
	w.PutCallBack(sipedge.CallBack{Number: "+49301", Account: help, Until: now.Add(time.Minute)})
	w.PutCallBack(sipedge.CallBack{Number: "+49301", Account: help, Until: now.Add(time.Hour)})
	w.PutCallBack(sipedge.CallBack{Number: "+49302", Account: help, Until: now.Add(-time.Second)})
	w.PutSwitchPort(phoneMAC(1), "sw1 port 7")
	w.PutSwitchPort(phoneMAC(1), "sw1 port 8")
	w.PutSwitchPort(phoneMAC(2), "0003")
	if err := db.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := open2(t, db).Whereabouts()
	backs, err := again.CallBacks(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	if len(backs) != 1 || backs[0].Account != help || !backs[0].Until.Equal(now.Add(time.Hour)) {
		t.Errorf("call-backs after a restart: %+v", backs)
	}
	ports, err := again.SwitchPorts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[mac.Addr]string{phoneMAC(1): "sw1 port 8", phoneMAC(2): "0003"}, ports); diff != "" {
		t.Errorf("switch ports after a restart (-want +got):\n%s", diff)
	}
}
