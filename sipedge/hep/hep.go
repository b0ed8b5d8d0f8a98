// Package hep sends copies of SIP messages and figures of calls to a capture
// server, such as Homer, by HEP version 3 over UDP (the EEP chunks of the
// document "HEP3 Network Protocol Specification", revision 32).
//
// Secrets are covered before anything leaves: digest responses, bearer tokens
// and SRTP keys are overwritten with asterisks of the same length, so that the
// message keeps its form. What the capture server cannot be told in time is
// dropped and counted; no call waits for it.
package hep

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// The chunk types of vendor 0.
const (
	chunkFamily      = 1
	chunkProtocol    = 2
	chunkSource4     = 3
	chunkDest4       = 4
	chunkSource6     = 5
	chunkDest6       = 6
	chunkSourcePort  = 7
	chunkDestPort    = 8
	chunkSeconds     = 9
	chunkMicros      = 10
	chunkPayloadType = 11
	chunkAgent       = 12
	chunkKey         = 14
	chunkPayload     = 15
	chunkCorrelation = 17
	chunkNodeName    = 19
)

// The types of payloads.
const (
	typeSIP    = 1
	typeReport = 34 // JSON with the figures of a stream
)

// maxPayload keeps a packet within a UDP datagram.
const maxPayload = 60 << 10

// queued is how many packets may wait for the socket.
const queued = 1024

// Config says where copies go.
type Config struct {
	Address string // host and port of the capture server
	Agent   uint32 // number of this box there
	Name    string // its name there; may be empty
	Key     string // what the capture server knows it by; may be empty. Never logged.
}

// Exporter sends copies. Its methods may be called from any goroutine and
// never block.
type Exporter struct {
	cfg     Config
	log     *slog.Logger
	tick    func()
	out     chan []byte
	dropped atomic.Uint64
	sent    atomic.Uint64
}

// New makes an exporter whose Run must run. tick is called at least every two
// seconds by it; it may be nil.
func New(cfg Config, tick func(), log *slog.Logger) *Exporter {
	if tick == nil {
		tick = func() {}
	}
	return &Exporter{cfg: cfg, log: log.With("component", "hep"), tick: tick, out: make(chan []byte, queued)}
}

// String names the task.
func (e *Exporter) String() string { return "hep to " + e.cfg.Address }

// Counts returns how many packets were sent, and how many were not.
func (e *Exporter) Counts() (sent, dropped uint64) { return e.sent.Load(), e.dropped.Load() }

// Message copies a SIP message that came from or went to a peer. raw is not
// kept. transport is udp, tcp or tls.
func (e *Exporter) Message(at time.Time, from, to netip.AddrPort, transport string, raw []byte) {
	if len(raw) > maxPayload {
		e.dropped.Add(1)
		return
	}
	covered := append([]byte(nil), raw...)
	cover(covered)
	e.put(packet{
		at: at, from: from, to: to, protocol: protocolNumber(transport), kind: typeSIP, payload: covered, correlation: callID(covered),
	})
}

// Report copies the figures of one leg of a call.
type Report struct {
	At             time.Time
	CallID         string // what the figures are found under
	From, To       netip.AddrPort
	Direction      string // which side's audio it is
	Codec          string
	Packets, Lost  uint64
	Jitter, Trip   time.Duration
	MOS            float64
	ReportedLoss   float64 // share
	ReportedSource string
}

// Quality copies the figures of one leg of a call.
func (e *Exporter) Quality(r Report) {
	millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	body, err := json.Marshal(map[string]any{
		"CORRELATION_ID": r.CallID, "TYPE": "HANGUP", "STYPE": r.Direction, "CODEC_NAME": r.Codec,
		"TOTAL_PK": r.Packets, "PACKET_LOSS": r.Lost, "JITTER": millis(r.Jitter), "RTT": millis(r.Trip), "MOS": r.MOS,
		"REMOTE_LOSS": r.ReportedLoss, "REMOTE_SOURCE": r.ReportedSource,
	})
	if err != nil { // a number that is none
		e.dropped.Add(1)
		return
	}
	e.put(packet{at: r.At, from: r.From, to: r.To, protocol: 17, kind: typeReport, payload: body, correlation: r.CallID})
}

func protocolNumber(transport string) byte {
	if transport == "udp" {
		return 17
	}
	return 6
}

func (e *Exporter) put(p packet) {
	select {
	case e.out <- p.encode(e.cfg):
	default:
		e.dropped.Add(1)
	}
}

// Run sends until ctx ends. A capture server that is away costs packets, and
// is no failure.
func (e *Exporter) Run(ctx context.Context) error {
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	var conn net.Conn
	var tried time.Time
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			e.tick()
		case b := <-e.out:
			if conn == nil && time.Since(tried) > 10*time.Second {
				tried = time.Now()
				conn = e.dial(ctx)
			}
			if conn == nil {
				e.dropped.Add(1)
				continue
			}
			if _, err := conn.Write(b); err != nil { // nobody listens there now
				e.dropped.Add(1)
				continue
			}
			e.sent.Add(1)
		}
	}
}

func (e *Exporter) dial(ctx context.Context) net.Conn {
	ctx, stop := context.WithTimeout(ctx, time.Second) // the loop must tick
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", e.cfg.Address)
	if err != nil {
		e.log.Warn("capture server not found", "err", err)
		return nil
	}
	return conn
}

// packet is one HEP packet.
type packet struct {
	at          time.Time
	from, to    netip.AddrPort
	protocol    byte
	kind        byte
	payload     []byte
	correlation string
}

func (p packet) encode(cfg Config) []byte {
	b := append(make([]byte, 0, 128+len(p.payload)), "HEP3\x00\x00"...)
	from, to := p.from.Addr().Unmap(), p.to.Addr().Unmap()
	if from.Is4() && to.Is4() {
		b = chunk(b, chunkFamily, 2)
		b = chunk(b, chunkSource4, from.AsSlice()...)
		b = chunk(b, chunkDest4, to.AsSlice()...)
	} else {
		b = chunk(b, chunkFamily, 10)
		b = chunk(b, chunkSource6, sixteen(from)...)
		b = chunk(b, chunkDest6, sixteen(to)...)
	}
	b = chunk(b, chunkProtocol, p.protocol)
	b = chunk(b, chunkSourcePort, binary.BigEndian.AppendUint16(nil, p.from.Port())...)
	b = chunk(b, chunkDestPort, binary.BigEndian.AppendUint16(nil, p.to.Port())...)
	b = chunk(b, chunkSeconds, binary.BigEndian.AppendUint32(nil, uint32(p.at.Unix()))...)
	b = chunk(b, chunkMicros, binary.BigEndian.AppendUint32(nil, uint32(p.at.Nanosecond()/1000))...)
	b = chunk(b, chunkPayloadType, p.kind)
	b = chunk(b, chunkAgent, binary.BigEndian.AppendUint32(nil, cfg.Agent)...)
	for _, text := range []struct {
		kind uint16
		text string
	}{{chunkKey, cfg.Key}, {chunkNodeName, cfg.Name}, {chunkCorrelation, p.correlation}} {
		if text.text != "" {
			b = chunk(b, text.kind, []byte(text.text)...)
		}
	}
	b = chunk(b, chunkPayload, p.payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return b
}

func sixteen(a netip.Addr) []byte {
	if !a.IsValid() {
		return make([]byte, 16)
	}
	all := a.As16()
	return all[:]
}

// chunk appends vendor 0, type, length with this header, and the value.
func chunk(b []byte, kind uint16, value ...byte) []byte {
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(6+len(value)))
	return append(b, value...)
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address = %q: write host and port of the capture server, such as 192.0.2.9:9060", c.Address)
	}
	return nil
}
