package web

import (
	"net/netip"
	"time"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// The phones of furnish.
var (
	yealink = mac.Addr{0x00, 0x15, 0x65, 0x4a, 0xa9, 0x37}
	poly    = mac.Addr{0x00, 0x04, 0xf2, 0x1c, 0x20, 0x11}
	cisco   = mac.Addr{0x00, 0x3a, 0x9c, 0x77, 0x10, 0x5e}
	static  = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x44}
	unborn  = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x45}
)

// furnish puts an office into the box: phones of several vendors in every
// state, lines, calls and problems.
func (f *fake) furnish() {
	now := f.now()
	f.shown = api.Certificate{
		Ordered: true, Tried: now.Add(-17 * time.Minute), Fault: "the name server 192.0.2.53:53 does not accept the key, or does not have the zone; look at key_name, key_algorithm, key_file and zone",
		Detail: "put _acme-challenge.phones.example.com into example.com: 192.0.2.53:53 says NOTAUTH (BADKEY)",
	}
	f.snapshot.Tunnel = api.Tunnel{
		Configured: true, Up: true, Gateway: "gw.example.com:5061", Since: now.Add(-2 * time.Hour),
		Registrations: []api.Registration{
			{Line: 1, Name: "Anna Beispiel", AOR: "sip:anna@example.com", OK: true, Since: now.Add(-2 * time.Hour)},
			{Line: 2, Name: "Reception", AOR: "sip:reception@example.com", Detail: "403 Forbidden: wrong password"},
		},
	}
	f.snapshot.Problems = api.Problems{
		{
			Code: "line-refused", Severity: health.Warning, Since: now.Add(-time.Hour),
			Text: "The gateway refuses the line Reception.", Fix: "Write its password at the gateway again, on the page of the line.",
		},
		{
			Code: "no-fallback", Severity: health.Critical,
			Text: "No fallback trunk is fitted: when the gateway can't be reached, emergency calls do not go out.",
			Fix:  "Fit one, or make sure that a mobile phone is at hand.",
		},
	}
	f.snapshot.Pools = []api.Pool{{
		Interface: "eth1", First: netip.MustParseAddr("192.0.2.100"), Last: netip.MustParseAddr("192.0.2.199"), Used: 23, Size: 100,
	}}
	f.snapshot.Interfaces = []api.Interface{
		{
			Name: "eth1", Mode: "serve", Address: netip.MustParsePrefix("192.0.2.1/24"), Stopped: true,
			Others: []api.OtherServer{{IP: netip.MustParseAddr("192.0.2.254"), MAC: mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0xfe}, Vendor: "Example Routers", Seen: now.Add(-4 * time.Minute)}},
		},
		{
			Name: "eth2", Mode: "inform", Address: netip.MustParsePrefix("198.51.100.9/25"),
			Others: []api.OtherServer{{IP: netip.MustParseAddr("198.51.100.1"), Seen: now.Add(-time.Minute)}},
		},
		{Name: "eth3", Mode: "relay", Address: netip.MustParsePrefix("203.0.113.1/24"), RelayTo: []netip.Addr{netip.MustParseAddr("198.51.100.1")}},
	}
	f.snapshot.Neighbors = []api.Neighbor{{
		Interface: "eth1", Chassis: "00:00:5e:00:53:f0", Port: "Gi1/0/7", PortText: "room 12, socket B", System: "core-1.example.com", SystemText: "Example Switch 24P, 9.3",
		Management: netip.MustParseAddr("192.0.2.250"), VLAN: 20, VLANName: "phones", Voice: &api.VoiceVLAN{VLAN: 30, Tagged: true}, Location: "second floor",
		Seen: now.Add(-10 * time.Second), Expires: now.Add(110 * time.Second),
	}}
	f.troubles = []api.Trouble{
		{MAC: static, Phone: true, Code: story.Nak, Words: "was told that it can't use 198.51.100.7: the address belongs to another subnet", First: now.Add(-3 * time.Minute), Last: now.Add(-3 * time.Minute), Times: 1},
		{MAC: mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x90}, Code: story.NoOffer, Words: "got no offer: every address of the pool is taken; enlarge the pool or shorten the lease", First: now.Add(-50 * time.Minute), Last: now.Add(-5 * time.Minute), Times: 12},
	}
	f.ended = endedCalls(now)
	f.snapshot.Calls = []api.Call{
		{
			ID: "c1", Via: "gateway", Start: now.Add(-190 * time.Second), Answered: now.Add(-183 * time.Second),
			From: api.Party{MAC: yealink, Number: "201", Name: "Anna Beispiel"}, To: api.Party{Number: "+493012345678"},
		},
		{
			ID: "c2", Via: "local", Start: now.Add(-8 * time.Second),
			From: api.Party{MAC: poly, Number: "202", Name: "Reception"}, To: api.Party{MAC: yealink, Number: "201", Name: "Anna Beispiel"},
		},
	}
	f.lines = map[int64]*api.Line{
		1: {ID: 1, Name: "Anna Beispiel", AOR: "sip:anna@example.com", Number: "+493012345671", Extension: "201", AuthUser: "anna", HasPassword: true},
		2: {ID: 2, Name: "Reception", AOR: "sip:reception@example.com", Number: "+493012345672", Extension: "202", AuthUser: "reception", HasPassword: true},
		3: {ID: 3, Name: "Site", AOR: "sip:site@example.com", Number: "+493012345670", AuthUser: "site", HasPassword: true, Site: true, Pinned: true},
	}
	f.nextLine = 3
	f.furnishPhones(now)
	f.furnishFirmware(now)
	f.furnishStories(now)
	f.furnishLeases(now)
}

func (f *fake) furnishPhones(now time.Time) {
	anna := &api.LineRef{ID: 1, Name: "Anna Beispiel", Number: "+493012345671", Extension: "201"}
	registered := func(slot uint8, line *api.LineRef, ip string) api.Account {
		return api.Account{
			Slot: slot, State: api.StateOf(true, true, line != nil), Line: line, Transport: "UDP",
			Source: netip.MustParseAddrPort(ip + ":5060"), Expires: now.Add(6 * time.Minute),
		}
	}
	for _, p := range []api.Phone{
		{
			MAC: yealink, Vendor: "Yealink", Model: "SIP-T46U", Firmware: "108.86.0.70", IP: netip.MustParseAddr("192.0.2.101"), Evidence: "own lease",
			Accounts:  []api.Account{registered(1, anna, "192.0.2.101"), registered(2, nil, "192.0.2.101")},
			FirstSeen: now.Add(-72 * time.Hour), LastSeen: now.Add(-20 * time.Second),
		},
		{
			MAC: poly, Vendor: "Poly", Model: "VVX 450", Firmware: "6.4.6.2453", IP: netip.MustParseAddr("192.0.2.102"), Evidence: "own lease",
			Accounts:  []api.Account{registered(1, nil, "192.0.2.102")},
			FirstSeen: now.Add(-72 * time.Hour), LastSeen: now.Add(-time.Minute),
		},
		{
			MAC: cisco, Vendor: "Cisco", Model: "CP-8851-3PCC", Firmware: "sip88xx.12-0-3", IP: netip.MustParseAddr("192.0.2.103"), Evidence: "own lease",
			Accounts:  []api.Account{{Slot: 1, State: api.Offline}},
			FirstSeen: now.Add(-72 * time.Hour), LastSeen: now.Add(-26 * time.Hour),
		},
		{
			MAC: static, Vendor: "Yealink", Model: "SIP-T42S", Accounts: []api.Account{{Slot: 1, State: api.Seen}},
			FirstSeen: now.Add(-10 * time.Minute), LastSeen: now.Add(-2 * time.Minute),
		},
		{MAC: unborn, Accounts: []api.Account{{Slot: 1, State: api.Seen}}},
	} {
		p.State = api.StateOfPhone(p.Accounts)
		f.phones[p.MAC] = &p
	}
	for i := range 57 {
		m := mac.Addr{0x80, 0x5e, 0xc0, 0x00, 0x53, byte(i)}
		f.phones[m] = &api.Phone{
			MAC: m, Vendor: "Yealink", Model: "SIP-T31P", State: api.Onboarded, LastSeen: now.Add(-time.Duration(i) * time.Minute),
			IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(110 + i)}), Evidence: "own lease", Accounts: []api.Account{registered(1, nil, "192.0.2.110")},
		}
	}
}

func (f *fake) furnishStories(now time.Time) {
	for i, e := range f.boot(yealink, netip.MustParseAddr("192.0.2.101")) {
		e.Time = now.Add(-41*time.Minute + time.Duration(i)*1300*time.Millisecond)
		f.record(yealink, e)
	}
	for i := range 230 {
		f.record(poly, story.Event{
			Time: now.Add(time.Duration(i-230) * 5 * time.Minute), Proto: story.SIP, Dir: story.In, Code: story.Refreshed,
			Args: story.Args{Account: mac.Account{MAC: poly, Slot: 1}},
		})
	}
	f.record(static, story.Event{Time: now.Add(-10 * time.Minute), Proto: story.Admin, Code: story.Enlisted, Args: story.Args{Vendor: "Yealink", Model: "SIP-T42S"}})
	f.record(static, story.Event{
		Time: now.Add(-2 * time.Minute), Proto: story.HTTP, Dir: story.In, Code: story.Refused,
		Args: story.Args{IP: netip.MustParseAddr("192.0.2.44"), File: "/00005e005344.cfg", Via: "http", Reason: story.AddressUnknown},
	})
}

// boot is what a phone does from power to its first call.
func (f *fake) boot(m mac.Addr, ip netip.Addr) []story.Event {
	a := mac.Account{MAC: m, Slot: 1}
	return []story.Event{
		{Proto: story.DHCP, Dir: story.In, Code: story.Discover, Args: story.Args{Vendor: "Yealink", Model: "SIP-T46U"}},
		{Proto: story.DHCP, Dir: story.Out, Code: story.Offer, Args: story.Args{IP: ip}},
		{Proto: story.DHCP, Dir: story.In, Code: story.Request, Args: story.Args{IP: ip}},
		{Proto: story.DHCP, Dir: story.Out, Code: story.Ack, Args: story.Args{IP: ip, Seconds: 43200, URL: "http://192.0.2.1/"}},
		{Proto: story.HTTP, Dir: story.Local, Code: story.Window, Args: story.Args{Duration: 5 * time.Minute, Reason: story.WindowByLease}},
		{Proto: story.HTTP, Dir: story.In, Code: story.NotFound, Args: story.Args{File: "/y000000000108.boot", Via: "http"}},
		{Proto: story.HTTP, Dir: story.Out, Code: story.Served, Args: story.Args{File: "/" + m.Hex() + ".cfg", Via: "http", Bytes: 3184, Evidence: mac.OwnLease}},
		{Proto: story.SIP, Dir: story.In, Code: story.Registered, Args: story.Args{Account: a, IP: ip, Via: "udp", Seconds: 600}},
		{Proto: story.Admin, Dir: story.Local, Code: story.LineAssigned, Args: story.Args{Account: a, Name: "Anna Beispiel", Number: "+493012345671"}},
		{Proto: story.SIP, Dir: story.In, Code: story.CallOut, Args: story.Args{Number: "+493012345678", Via: "gateway", Call: "c1"}},
		{Proto: story.SIP, Dir: story.Local, Code: story.CallAnswered, Args: story.Args{Number: "+493012345678", Call: "c1"}},
	}
}

// endedCalls is one call that sounded well, one that did not, and one that
// nobody took.
func endedCalls(now time.Time) []api.EndedCall {
	good := api.LegQuality{Side: "phone", Codec: "PCMA", Received: 3000, JitterMS: 1.2, RoundTrip: 0.6, MOS: 4.4}
	lossy := api.LegQuality{Side: "gateway", Codec: "PCMA", Received: 2800, Lost: 200, JitterMS: 55, RoundTrip: 48, MOS: 3.1, HeardBy: "rtcp", HeardLoss: 0.034}
	anna, bob := api.Party{MAC: yealink, Number: "201", Name: "Anna Beispiel"}, api.Party{MAC: poly, Number: "202"}
	call := func(ago, lasted time.Duration, from, to api.Party, a, b api.LegQuality) api.EndedCall {
		start := now.Add(-ago)
		return api.EndedCall{ID: "c" + ago.String(), From: from, To: to, Via: "local", Start: start, Answered: start.Add(4 * time.Second), End: start.Add(lasted), Status: 200, A: a, B: b}
	}
	out := call(12*time.Minute, 64*time.Second, anna, api.Party{Number: "+493055512345"}, good, lossy)
	out.Via = "gateway"
	missed := call(40*time.Minute, 20*time.Second, bob, anna, api.LegQuality{}, api.LegQuality{})
	missed.Answered, missed.Status, missed.Reason = time.Time{}, 480, "nobody answered"
	return []api.EndedCall{call(3*time.Minute, 5*time.Minute, anna, bob, good, good), out, missed}
}
