package sipedge

import (
	"errors"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// TestSendAfterCloseOpensNothing: sipgo opens a socket of its own for a
// request that no listener is left for; goleak would find it.
func TestSendAfterCloseOpensNothing(t *testing.T) {
	e := newSite().start(t, nil)
	f := Flow{Transport: "udp", Remote: e.Addrs()[0], Local: e.Addrs()[0]}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: f.Remote.Addr().String(), Port: int(f.Remote.Port())})
	if _, err := e.Send(t.Context(), f, req); !errors.Is(err, ErrFlowLost) {
		t.Errorf("Send after Close: %v, want ErrFlowLost", err)
	}
	if err := e.Write(f, req); !errors.Is(err, ErrFlowLost) {
		t.Errorf("Write after Close: %v, want ErrFlowLost", err)
	}
}
