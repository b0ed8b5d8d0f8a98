package sipedge

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
)

// building knows where the phones of a test are.
type building map[mac.Account]Place

func (b building) Locate(a mac.Account, _ netip.Addr, reported string) Place {
	p := b[a]
	if reported != "" {
		p.How = "phone"
	}
	return p
}

// alarms collects what is told on site.
type alarms struct {
	mu   sync.Mutex
	told []EmergencyCall
}

func (a *alarms) tell(c EmergencyCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, c)
}

func (a *alarms) stages() (out []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.told {
		out = append(out, strings.TrimSpace(c.Stage+" "+c.Way))
	}
	return out
}

func helpRig(t *testing.T, withGateway bool, change func(*ServerConfig)) (*callRig, *alarms) {
	t.Helper()
	told := &alarms{}
	rig := newCallRig(t, withGateway, func(c *ServerConfig) {
		c.Prompts = noises{}
		c.Emergency.Alarm = told.tell
		c.Emergency.Locator = building{testAccount(3): {
			Name: "Room 3 <attic>", ELIN: "+4930123498", HasPoint: true, Latitude: 52.5, Longitude: 13.4,
			Civic: []CivicPart{{"country", "DE"}, {"A3", "Berlin"}, {"RD", "Weg & Steg"}, {"HNO", "7"}},
		}}
		if change != nil {
			change(c)
		}
	})
	if withGateway {
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		if err := rig.uplink.Hurry(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return rig, told
}

// newTrunkAgent is a gateway to the telephone network at an address of its own.
func newTrunkAgent(t *testing.T) (*agent, netip.AddrPort) {
	t.Helper()
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 9})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, name: "trunk", transport: "udp", in: make(chan sip.Message, 64), user: "trunk", local: addrPortOf(conn.LocalAddr())}
	a.rtp = listenRTP(t, ip)
	var mu sync.Mutex
	var box netip.AddrPort
	a.write = func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := conn.WriteToUDPAddrPort(b, box)
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			mu.Lock()
			box = from
			mu.Unlock()
			m, err := sip.NewParser().ParseSIP(bytes.Clone(buf[:n]))
			if err != nil {
				continue
			}
			if req, ok := m.(*sip.Request); ok && req.Method == sip.OPTIONS {
				_ = a.write([]byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String()))
				continue
			}
			a.deliver(m)
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return a, a.local
}

// parts takes the body of an emergency call apart.
func parts(t *testing.T, req *sip.Request) (sdp, pidf []byte, cid string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(req.ContentType().Value())
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("content type %v, error %v", req.ContentType(), err)
	}
	r := multipart.NewReader(bytes.NewReader(req.Body()), params["boundary"])
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			return sdp, pidf, cid
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(p)
		switch p.Header.Get("Content-Type") {
		case "application/sdp":
			sdp = b
		case "application/pidf+xml":
			pidf, cid = b, strings.Trim(p.Header.Get("Content-ID"), "<>")
		}
	}
}

func TestEmergencyTellsThePlace(t *testing.T) {
	rig, told := helpRig(t, true, nil)
	audio := newSecureAudio(t, rig.gw)
	phone := newPhoneAgent(t, rig, "udp", 3)
	phone.register(rig.ep.Addrs()[0])
	phone.user = "nobody-knows-me" // and no password is asked for
	out := phone.invite("112", phone.sdp(""))
	in := rig.gw.take()
	secret(t, in.taken)
	sdp, pidf, cid := parts(t, in.taken)
	if audioOf(t, sdp).Port == 0 {
		t.Error("no audio")
	}
	var doc struct {
		Pos   string `xml:"device>geopriv>location-info>Point>pos"`
		City  string `xml:"device>geopriv>location-info>civicAddress>A3"`
		Road  string `xml:"device>geopriv>location-info>civicAddress>RD"`
		Place string `xml:"device>geopriv>location-info>civicAddress>LOC"`
	}
	if err := xml.Unmarshal(pidf, &doc); err != nil {
		t.Fatalf("%v in\n%s", err, pidf)
	}
	if doc.Pos != "52.5 13.4" || doc.City != "Berlin" || doc.Road != "Weg & Steg" || doc.Place != "Room 3 <attic>" {
		t.Errorf("place %+v", doc)
	}
	for name, want := range map[string]string{
		"Geolocation": "<cid:" + cid + ">", "P-Asserted-Identity": "+4930123498@", "Priority": "emergency", "P-Access-Network-Info": "Room 3",
	} {
		if h := in.taken.GetHeader(name); h == nil || !strings.Contains(h.Value(), want) {
			t.Errorf("%s is %v, want %q", name, h, want)
		}
	}
	in.answer(audio.sdp(1))
	out.connected()
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
	if diff := cmp.Diff([]string{"dialled", "reached gateway"}, told.stages()); diff != "" {
		t.Error(diff)
	}

	// Within half an hour the number of the place rings at that phone.
	back := rig.gw.invite("+4930123498", audio.sdp(1))
	ringing := phone.take()
	if h := ringing.taken.GetHeader("Priority"); h == nil || h.Value() != "psap-callback" {
		t.Errorf("priority of the call back: %v", h)
	}
	ringing.answer(phone.sdp(""))
	back.connected()
	back.hangUp()
	phone.send(phone.reply(phone.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(2)
}

func TestCallBackPastDoNotDisturb(t *testing.T) {
	var settings *Settings
	rig, _ := helpRig(t, true, func(c *ServerConfig) {
		var err error
		settings, err = NewSettings(t.Context(), &settingsTable{rows: map[int64]LineSettings{2: {LineID: 2, DoNotDisturb: true}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Settings, c.Forward = settings, settings
	})
	audio := newSecureAudio(t, rig.gw)
	two, four := newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "udp", 4) // of one line
	two.register(rig.ep.Addrs()[0])
	four.register(rig.ep.Addrs()[0])
	// Before: nothing rings.
	in := rig.gw.invite("+4930123452", audio.sdp(1))
	rig.gw.ackRefusal(in.invite, rig.gw.response(486, sip.INVITE))
	rig.ended(1)

	out := four.dial("112", four.sdp(""))
	help := rig.gw.take()
	help.answer(audio.sdp(1))
	out.connected()
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(2)

	back := rig.gw.invite("+4930123452", audio.sdp(1))
	ringing := four.take()
	ringing.answer(four.sdp(""))
	back.connected()
	back.hangUp()
	four.send(four.reply(four.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(3)
}

// keptCallBacks is what a store would keep.
type keptCallBacks struct {
	mu  sync.Mutex
	all []CallBack
}

func (k *keptCallBacks) PutCallBack(b CallBack) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, b)
}

// The box restarts between the call for help and the call back.
func TestCallBackAfterRestart(t *testing.T) {
	kept := &keptCallBacks{}
	rig, _ := helpRig(t, true, func(c *ServerConfig) { c.CallBackStore = kept })
	audio := newSecureAudio(t, rig.gw)
	four := newPhoneAgent(t, rig, "udp", 4)
	four.register(rig.ep.Addrs()[0])
	out := four.dial("112", four.sdp(""))
	rig.gw.take().answer(audio.sdp(1))
	out.connected()
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)

	kept.mu.Lock()
	before := kept.all
	kept.mu.Unlock()
	rig, _ = helpRig(t, true, func(c *ServerConfig) { c.CallBacks = before })
	two, four := newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "udp", 4) // of one line
	two.register(rig.ep.Addrs()[0])
	four.register(rig.ep.Addrs()[0])
	back := rig.gw.invite("+4930123452", newSecureAudio(t, rig.gw).sdp(1))
	ringing := four.take()
	if h := ringing.taken.GetHeader("Priority"); h == nil || h.Value() != "psap-callback" {
		t.Errorf("priority of the call back: %v", h)
	}
	ringing.answer(four.sdp(""))
	two.quiet(50*time.Millisecond, "the call of the other phone of the line", func(m sip.Message) bool { return strings.HasPrefix(m.String(), "INVITE") })
	back.connected()
	back.hangUp()
	four.send(four.reply(four.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestEmergencyByTrunk(t *testing.T) {
	trunk, addr := newTrunkAgent(t)
	rig, told := helpRig(t, false, func(c *ServerConfig) { c.Trunk = TrunkConfig{Address: addr} })
	one := newPhoneAgent(t, rig, "udp", 1)
	for i, tc := range []struct{ dialled, sent string }{{"112", "112"}, {"030-111-2223", "0301112223"}} {
		out := one.dial(tc.dialled, one.sdp(""))
		in := trunk.take()
		if got := in.taken.Recipient.User; got != tc.sent {
			t.Errorf("%s goes out as %q", tc.dialled, got)
		}
		if got := in.taken.From().Address.User; got != "+4930123451" {
			t.Errorf("the caller is %q", got)
		}
		in.answer(trunk.sdp(""))
		out.connected()
		hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), trunk.rtp, "by the trunk")
		trunk.send(in.build(sip.BYE, 101, ""))
		trunk.response(200, sip.BYE)
		one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
		if rec := rig.ended(i + 1); rec.Via != "trunk" || rec.Status != 200 {
			t.Errorf("record: %+v", rec)
		}
	}
	if diff := cmp.Diff([]string{"dialled", "reached trunk"}, told.stages()); diff != "" {
		t.Error(diff)
	}
	until(t, "the trunk is up", func() bool { return rig.server.Trunk().Up })

	// A call that comes in by the trunk rings without a password.
	one.register(rig.ep.Addrs()[0])
	in := trunk.invite("+4930123451", trunk.sdp(""))
	ringing := one.take()
	ringing.answer(one.sdp(""))
	in.connected()
	in.hangUp()
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	if rec := rig.ended(3); rec.Via != "trunk" {
		t.Errorf("record: %+v", rec)
	}
}

func TestEmergencyFallsBackToTrunk(t *testing.T) {
	trunk, addr := newTrunkAgent(t)
	rig, told := helpRig(t, true, func(c *ServerConfig) { c.Trunk = TrunkConfig{Address: addr} })
	three := newPhoneAgent(t, rig, "udp", 3)
	three.invite("112", three.sdp(""))
	refused := rig.gw.take()
	rig.gw.send(rig.gw.reply(refused.taken, 503, "Service Unavailable", refused.tag(), ""))
	rig.gw.request(sip.ACK)
	in := trunk.take()
	_, pidf, _ := parts(t, in.taken)
	if !bytes.Contains(pidf, []byte("Berlin")) {
		t.Error("the trunk is not told the place")
	}
	trunk.send(trunk.reply(in.taken, 486, "Busy Here", in.tag(), ""))
	trunk.request(sip.ACK)
	three.response(486, sip.INVITE)
	rig.ended(1)
	if diff := cmp.Diff([]string{"dialled", "not-reached"}, told.stages()); diff != "" {
		t.Error(diff)
	}
}

func TestEmergencyOnSite(t *testing.T) {
	t.Parallel()
	rig, told := helpRig(t, false, func(c *ServerConfig) { c.Emergency.OnSite = []string{"102", "999"} })
	two, three := newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "udp", 3)
	two.register(rig.ep.Addrs()[0])
	out := three.invite("110", three.sdp(""))
	// The alert, which speaks, and the call itself.
	alert := two.take()
	if name := alert.taken.From().DisplayName; !strings.HasPrefix(name, "EMERGENCY") {
		t.Errorf("the alert shows %q", name)
	}
	alert.answer(two.sdp(""))
	two.listens(10)
	three.response(183, sip.INVITE)
	three.listens(10)
	call := two.take()
	for call.callID == alert.callID {
		call = two.take()
	}
	if name := call.taken.From().DisplayName; !strings.HasPrefix(name, "EMERGENCY") {
		t.Errorf("the call shows %q", name)
	}
	call.answer(two.sdp(""))
	out.connected()
	hears(t, three.rtp, audioOf(t, out.res.Body()).RTP(), two.rtp, "help")
	out.hangUp()
	rec := rig.ended(1)
	if rec.Via != "on-site" || !rec.Emergency {
		t.Errorf("record: %+v", rec)
	}
	if diff := cmp.Diff([]string{"dialled", "on-site on-site"}, told.stages()); diff != "" {
		t.Error(diff)
	}
}

func TestEmergencyWithoutAWay(t *testing.T) {
	rig, told := helpRig(t, false, func(c *ServerConfig) { c.Emergency.OnSite = []string{"102"} })
	three := newPhoneAgent(t, rig, "udp", 3)
	d := three.invite("112", three.sdp(""))
	three.response(183, sip.INVITE)
	three.listens(20)
	res := three.response(503, sip.INVITE)
	three.ackRefusal(d.invite, res)
	if res.Reason != "Emergency Services NOT Reached" {
		t.Errorf("phrase %q", res.Reason)
	}
	if rec := rig.ended(1); rec.Reason != string(story.NoEmergencyPath) || !rec.Emergency {
		t.Errorf("record: %+v", rec)
	}
	if diff := cmp.Diff([]string{"dialled", "not-reached"}, told.stages()); diff != "" {
		t.Error(diff)
	}
	view := rig.server.EmergencyView(testAccount(3))
	if len(view.Ways) != 1 || view.Ways[0] != WayOnSite || view.Shown != "+4930123498" || view.Place.Name != "Room 3 <attic>" {
		t.Errorf("view %+v", view)
	}
}

func TestEmergencyTakesPorts(t *testing.T) {
	rig, _ := helpRig(t, true, func(c *ServerConfig) {
		var err error
		if c.Ports, err = media.NewPortPool(32200, 32203, 0); err != nil {
			t.Fatal(err)
		}
	})
	audio := newSecureAudio(t, rig.gw)
	one, two, three := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "udp", 3)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	two.take().answer(two.sdp(""))
	out.connected()
	// The pool is empty, but for one who calls for help.
	help := three.invite("112", three.sdp(""))
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	if rec := rig.ended(1); rec.Reason != string(story.Preempted) {
		t.Errorf("record: %+v", rec)
	}
	in := rig.gw.take()
	in.answer(audio.sdp(1))
	help.connected()
	help.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(2)
}

func TestEmergencyTestCall(t *testing.T) {
	t.Parallel()
	rig, told := helpRig(t, true, func(c *ServerConfig) { c.Country = "US" })
	three := newPhoneAgent(t, rig, "udp", 3)
	d := three.dial("933", three.sdp(""))
	res := d.connected()
	three.listens(30)
	three.send(three.reply(three.request(sip.BYE), 200, "OK", "", ""))
	if h := res.GetHeader("P-Asserted-Identity"); h == nil || !strings.Contains(h.Value(), "Room 3") {
		t.Errorf("the phone shows %v", h)
	}
	rig.ended(1)
	if len(told.stages()) > 0 {
		t.Errorf("a test raised an alarm: %v", told.stages())
	}
}
