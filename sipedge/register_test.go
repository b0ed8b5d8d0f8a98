package sipedge

import (
	"strings"
	"testing"
)

func TestRegister(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		s := newSite()
		e := s.start(t, nil)
		p := dialPeer(t, network, e)
		msg := p.register(1, 1, "reg-1")
		if !strings.HasPrefix(msg, "SIP/2.0 200 ") {
			t.Fatalf("got:\n%s", msg)
		}
		t.Log(msg)
	})
}
