package provision

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func BenchmarkServe(b *testing.B) {
	r := newRig(b, false, nil)
	for _, bench := range []struct {
		name, path, agent string
		from              mac.Addr
	}{
		{"phone", "/001565005301.cfg", yealinkUA, yealink},
		{"common", "/y000000000108.cfg", yealinkUA, yealink},
		{"refused", "/001565005301.cfg", "", poly},
		{"unknown", "/no-such-file", "", poly},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			q := query{door: story.HTTP, path: bench.path, agent: bench.agent, local: netip.MustParseAddr("192.0.2.1"), remote: home(bench.from)}
			for b.Loop() {
				r.told.forget()
				r.answer(context.Background(), q)
			}
		})
	}
}

func BenchmarkHTTP(b *testing.B) {
	r := newRig(b, true, nil)
	r.stopClock()
	tr := &http.Transport{DialContext: (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(home(yealink), 0))}).DialContext}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.http.String()+"/001565005301.cfg", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("User-Agent", yealinkUA)
	b.ReportAllocs()
	for b.Loop() {
		r.told.forget()
		r.limit.forget()
		resp, err := tr.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(err, resp)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
