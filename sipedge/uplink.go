package sipedge

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// errUplinkDown is wrapped by what [Uplink.Send] and [Uplink.Write] return
// while there is no connection to the gateway.
var errUplinkDown = errors.New("the gateway can't be reached")

// Uplink is the way to the gateway. It is also the only way by which requests
// of the gateway reach us: behind NAT nothing but the connection that we
// opened leads here. All methods may be called from any goroutine.
type Uplink interface {
	// Up says whether the gateway answered lately.
	Up() bool
	// State is Up with the number of the connection, which counts up with
	// each new one, and a channel that is closed when either changes.
	State() (up bool, flow uint64, changed <-chan struct{})
	// Hurry asks for an attempt now where the next one is seconds away, and
	// waits until the uplink is up or ctx ends.
	Hurry(ctx context.Context) error

	// Send starts a client transaction on the connection; it adds Via and
	// what else is missing. The caller must end the transaction with Terminate.
	Send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error)
	// Write sends a request without a transaction: the ACK of a 2xx answer.
	Write(req *sip.Request) error
	// Handle registers the handler of a method for requests of the gateway.
	// It must be called before Run.
	Handle(method string, h Handler)
	// Way is what a dialog talks over: the connection that a request came by,
	// or for a dialog of ours, with r nil, that to the gateway of now.
	Way(r *Request) signaling
	// Authorized answers a challenge of the gateway under a line.
	Authorized(req *sip.Request, res *sip.Response, l Line) (*sip.Request, error)
	// Contact is the address under which the gateway reaches us.
	Contact(user string) *sip.ContactHeader
	// Domain is that of the addresses of record at the gateway.
	Domain() string

	// OpenMedia opens a pair of ports towards the gateway, and says which
	// address the gateway must be told: behind NAT it is not that of the socket.
	OpenMedia(p *media.PortPool) (*media.Pair, netip.Addr, error)

	// MediaAddress is that address; zero while there is no connection.
	MediaAddress() netip.Addr

	// Rehearse takes the gateway away as if the line had been cut, or gives it
	// back at once.
	Rehearse(lost bool)

	Run(ctx context.Context) error
	String() string
}

// backoff counts failed attempts and says how long to wait before the next:
// doubled each time, with jitter so that many boxes do not come in step.
type backoff struct {
	first, most time.Duration
	tries       int
}

func (b *backoff) next() time.Duration {
	d := b.most
	if b.tries < 16 {
		d = min(b.most, b.first<<b.tries)
	}
	b.tries++
	return jitter(d)
}

func (b *backoff) reset() { b.tries = 0 }

// allowHeader lists what both sides of a call may ask of us.
func allowHeader() sip.Header {
	return sip.NewHeader("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER")
}

// supportedHeader lists the extensions that both sides of a call may use.
func supportedHeader() sip.Header {
	return sip.NewHeader("Supported", "100rel, timer, replaces, norefersub, tdialog")
}
