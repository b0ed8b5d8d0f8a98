package appliance

import (
	"net/netip"

	"patchbay/sipedge"
	"patchbay/sipedge/hep"
)

// HEP is where copies of SIP messages and the figures of calls go. An empty
// address means nowhere.
type HEP struct {
	Address string `toml:"address"`
	Agent   uint32 `toml:"agent"`
	Key     string `toml:"key"`
}

func (h HEP) validate() error {
	if h.Address == "" {
		return nil
	}
	return hep.Config{Address: h.Address}.Validate()
}

// buildCapture makes the exporter, if there is somewhere to send to.
func (a *Appliance) buildCapture() {
	if h := a.cfg.HEP; h.Address != "" {
		cfg := hep.Config{Address: h.Address, Agent: h.Agent, Name: a.cfg.Box.Name, Key: h.Key}
		a.hep = hep.New(cfg, a.watchdog.Loop("hep"), a.log)
	}
}

// tap is the exporter as the SIP sockets know it; nil if there is none.
func (a *Appliance) tap() sipedge.Tap {
	if a.hep == nil { // a nil pointer in the interface would not be nil
		return nil
	}
	return a.hep
}

// callStore is where calls are written, and told to the capture server.
func (a *Appliance) callStore() sipedge.CallStore {
	if a.hep == nil {
		return a.db.Calls()
	}
	return captured{a.db.Calls(), a}
}

type captured struct {
	sipedge.CallStore
	a *Appliance
}

// Add implements [sipedge.CallStore].
func (c captured) Add(r sipedge.CallRecord) {
	c.CallStore.Add(r)
	if r.Answered.IsZero() {
		return
	}
	box := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if len(c.a.cfg.LANs) > 0 {
		box = netip.AddrPortFrom(c.a.cfg.LANs[0].Address, c.a.cfg.SIP.Port)
	}
	for _, side := range []struct {
		name string
		q    sipedge.LegQuality
		id   string
	}{{"caller", r.A, r.CallIDs[0]}, {"called", r.B, r.CallIDs[1]}} {
		c.a.hep.Quality(hep.Report{
			At: r.End, CallID: side.id, From: box, To: box, Direction: side.name, Codec: side.q.Codec,
			Packets: side.q.Received, Lost: side.q.Lost, Jitter: side.q.Jitter, Trip: side.q.RoundTrip, MOS: side.q.MOS,
			ReportedLoss: side.q.Reported.Loss, ReportedSource: side.q.Reported.By,
		})
	}
}
