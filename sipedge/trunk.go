package sipedge

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TrunkConfig is a gateway to the telephone network on site: the way for calls
// to elsewhere, and for emergency calls, when the gateway in the cloud is away.
type TrunkConfig struct {
	Address      netip.AddrPort // invalid: there is no trunk
	Local        netip.AddrPort // our listener towards it, of UDP; invalid: the first
	Transport    string         // "udp", "tcp" or "tls"; empty: udp
	ServerName   string         // of its certificate; empty: the address
	CA           *x509.CertPool // that signed it; nil: those of the system
	AuthUser     string         // digest, where the trunk asks for it
	AuthPassword string
	E164         bool // numbers go out as E.164 with +; else as they were dialled
}

// trunk is that gateway. Over UDP it is reached from a listener of the LAN;
// over TCP and TLS by a connection of its own, which is kept and by which its
// calls come, too. Its audio is as that of a phone.
type trunk struct {
	s    *Server
	cfg  TrunkConfig
	flow Flow       // of UDP
	link *TLSUplink // of TCP and TLS; else nil
	up   atomic.Bool
}

// The trunk is asked whether it is there this often, over UDP.
const (
	trunkAsk   = 30 * time.Second
	trunkLimit = 5 * time.Second
)

func newTrunk(s *Server, cfg TrunkConfig) (*trunk, error) {
	t := &trunk{s: s, cfg: cfg, flow: Flow{Transport: "udp", Remote: cfg.Address, Local: cfg.Local}}
	if !t.flow.Local.IsValid() {
		addrs := s.ep.Addrs()
		if len(addrs) == 0 {
			return nil, fmt.Errorf("fallback trunk %v: no listener towards it", cfg.Address)
		}
		t.flow.Local = addrs[0]
	}
	if cfg.Transport != "tcp" && cfg.Transport != "tls" {
		return t, nil
	}
	var err error
	t.link, err = NewTLSUplink(UplinkConfig{
		Address: cfg.Address.String(), Plain: cfg.Transport == "tcp", ServerName: cfg.ServerName, CA: cfg.CA,
	}, s.log.With("trunk", cfg.Address.String()))
	return t, err
}

// way is how a new call gets to the trunk, and from which address of ours. On
// a connection that is down, what is sent fails.
func (t *trunk) way() (signaling, Flow) {
	if t.link == nil {
		return phoneWay{e: t.s.ep, flow: t.flow}, t.flow
	}
	if flow := t.link.present(); flow.Local.IsValid() {
		return t.link, flow
	}
	return t.link, t.flow
}

// number is how a dialled number goes to the trunk.
func (t *trunk) number(d Dialled) string {
	if t.cfg.E164 || d.Emergency {
		return d.Number
	}
	return d.Raw
}

// serves says whether a request comes from the trunk.
func (t *trunk) serves(f Flow) bool { return t != nil && f.Remote.Addr() == t.cfg.Address.Addr() }

// String names the task.
func (t *trunk) String() string { return "fallback trunk" }

// Run keeps the connection, or asks the trunk again and again whether it is there.
func (t *trunk) Run(ctx context.Context) error {
	if t.link != nil {
		return t.connect(ctx)
	}
	tick := time.NewTicker(trunkAsk)
	defer tick.Stop()
	if err := t.s.ep.ready(ctx, t.flow.Local); err != nil {
		return nil // the end came first
	}
	for {
		t.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// connect keeps the connection.
func (t *trunk) connect(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for {
			up, _, changed := t.link.State()
			t.up.Store(up)
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	// Until the calls are over: their BYEs go this way.
	return t.link.Run(t.s.ctx)
}

// ask sends OPTIONS (RFC 3261 §11); any answer is one.
func (t *trunk) ask(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, trunkLimit)
	defer stop()
	uri := sip.Uri{Scheme: "sip", Host: t.cfg.Address.Addr().String(), Port: int(t.cfg.Address.Port())}
	req := sip.NewRequest(sip.OPTIONS, uri)
	own := party{"", sip.Uri{Scheme: "sip", User: "patchbay", Host: t.flow.Local.Addr().String()}}
	req.AppendHeader(own.from(sip.GenerateTagN(8)))
	req.AppendHeader(party{"", uri}.to(""))
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	tx, err := t.s.ep.Send(ctx, t.flow, req)
	if err == nil {
		_, err = finalResponse(ctx, tx)
		tx.Terminate()
	}
	if t.up.Swap(err == nil) != (err == nil) {
		t.s.log.Info("fallback trunk", "address", t.cfg.Address.String(), "up", err == nil, "err", err)
	}
}

// TrunkStatus is the fallback trunk for the page.
type TrunkStatus struct {
	Configured bool
	Up         bool // it answered lately
	Address    netip.AddrPort
}

// Trunk tells how the fallback trunk is.
func (s *Server) Trunk() TrunkStatus {
	if s.trunk == nil {
		return TrunkStatus{}
	}
	return TrunkStatus{Configured: true, Up: s.trunk.up.Load(), Address: s.trunk.cfg.Address}
}

// byTrunk tries the fallback trunk.
func (c *call) byTrunk() error {
	t := c.newTry(c.a, c.offer, c.route)
	as := c.line
	if n := len(c.diverted); n > 0 {
		as = c.diverted[n-1].line // that pays
	}
	t.branches = append(t.branches, t.overTrunk(as))
	c.mu.Lock()
	c.record.Via = WayTrunk
	c.mu.Unlock()
	return c.ring(t, c.s.cfg.Ring)
}

// overTrunk makes the branch to the fallback trunk, with the number of a line.
func (t *try) overTrunk(as Line) *branch {
	c, tr := t.c, t.c.s.trunk
	way, flow := tr.way()
	target := sip.Uri{Scheme: "sip", User: tr.number(t.route.Dialled), Host: tr.cfg.Address.Addr().String(), Port: int(tr.cfg.Address.Port())}
	number, name := as.Number, as.DisplayName
	if t.route.Emergency {
		number = c.helpShown()
	}
	if number == "" {
		number = "anonymous"
	}
	if anonymous(c.r) && !t.route.Emergency {
		name = "Anonymous"
	}
	from := party{name, sip.Uri{Scheme: "sip", User: number, Host: flow.Local.Addr().String()}}
	l := newCaller(c, way, target, from, party{"", target})
	l.trunk, l.peer, l.shown = true, flow, t.to
	l.line = Line{AuthUser: tr.cfg.AuthUser, AuthPassword: tr.cfg.AuthPassword, Number: number, DisplayName: name}
	return t.branchTo(l)
}

// trunkHeaders are those of an INVITE to the trunk.
func (t *try) trunkHeaders(b *branch) []sip.Header {
	out := []sip.Header{sip.NewHeader("P-Asserted-Identity", b.leg.local.from("").Value())}
	if anonymous(t.c.r) && !t.route.Emergency {
		out = append(out, sip.NewHeader("Privacy", "id"))
	}
	if t.route.Emergency {
		out = append(out, sip.NewHeader("Priority", "emergency"))
	}
	return out
}
