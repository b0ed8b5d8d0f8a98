package sipedge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// errMute is why a call of ours to ourselves was no good.
var errMute = errors.New("the call was answered, and nothing was heard")

// bot is the telephone of a drill: a socket that calls the box.
type bot struct {
	sip, rtp *net.UDPConn
	box      netip.AddrPort
}

// callOurselves calls the echo test as a phone does: over the network, with
// ports and audio of its own. Nobody rings, and no record is written.
func (s *Server) callOurselves(ctx context.Context, run *drilling) error {
	all := s.ep.Addrs()
	if len(all) == 0 {
		return errors.New("no listener")
	}
	b := bot{box: all[0]}
	var err error
	at := &net.UDPAddr{IP: b.box.Addr().AsSlice()}
	if b.sip, err = net.ListenUDP("udp", at); err != nil {
		return err
	}
	defer b.sip.Close()
	if b.rtp, err = net.ListenUDP("udp", at); err != nil {
		return err
	}
	defer b.rtp.Close()
	s.mu.Lock()
	run.bot = addrPortOf(b.sip.LocalAddr())
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { // ends what reads
		_ = b.sip.SetReadDeadline(time.Unix(1, 0))
		_ = b.rtp.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	return b.call()
}

// call makes the call, listens, and hangs up.
func (b bot) call() error {
	own := addrPortOf(b.sip.LocalAddr())
	from := party{"", sip.Uri{Scheme: "sip", User: "drill", Host: own.Addr().String(), Port: int(own.Port())}}
	to := party{"", sip.Uri{Scheme: "sip", User: "drill", Host: b.box.Addr().String(), Port: int(b.box.Port())}}
	id, tag, cseq := sip.CallIDHeader(sip.GenerateTagN(20)), sip.GenerateTagN(10), uint32(1)
	build := func(method sip.RequestMethod, target sip.Uri, remote string) *sip.Request {
		req := sip.NewRequest(method, target)
		via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: own.Addr().String(), Port: int(own.Port())}
		via.Params.Add("branch", sip.GenerateBranchN(16))
		req.AppendHeader(via)
		req.AppendHeader(from.from(tag))
		req.AppendHeader(to.to(remote))
		req.AppendHeader(&id)
		req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
		hops := sip.MaxForwardsHeader(70)
		req.AppendHeader(&hops)
		req.AppendHeader(&sip.ContactHeader{Address: from.uri})
		req.SetBody(nil)
		return req
	}
	invite := build(sip.INVITE, to.uri, "")
	rtp := addrPortOf(b.rtp.LocalAddr())
	setSDP(invite, media.Offer(media.Own(nil), media.Anchor{Addr: rtp.Addr(), Port: rtp.Port(), Session: randomSession(), Version: 1}).Bytes())
	res, err := b.ask(invite)
	if err != nil {
		return err
	}
	if !res.IsSuccess() {
		return fmt.Errorf("refused with %d %s", res.StatusCode, res.Reason)
	}
	remote, _ := res.To().Params.Get("tag")
	target := to.uri
	if c := res.Contact(); c != nil {
		target = c.Address
	}
	if err := b.write(build(sip.ACK, target, remote)); err != nil {
		return err
	}
	heard := b.listen()
	cseq++
	if _, err := b.ask(build(sip.BYE, target, remote)); err != nil {
		return err
	}
	return heard
}

func (b bot) write(req *sip.Request) error {
	_, err := b.sip.WriteToUDPAddrPort([]byte(req.String()), b.box)
	return err
}

// ask sends a request until a final answer to it is there (RFC 3261 §17.1).
func (b bot) ask(req *sip.Request) (*sip.Response, error) {
	buf := make([]byte, 65536)
	parser := sip.NewParser()
	for wait := sip.T1; wait <= 8*sip.T1; wait *= 2 {
		if err := b.write(req); err != nil {
			return nil, err
		}
		for until := time.Now().Add(wait); time.Now().Before(until); {
			_ = b.sip.SetReadDeadline(until)
			n, err := b.sip.Read(buf)
			if err != nil {
				break
			}
			m, err := parser.ParseSIP([]byte(strings.Clone(string(buf[:n]))))
			res, ok := m.(*sip.Response)
			if err != nil || !ok || res.CSeq() == nil || res.CSeq().MethodName != req.Method || res.IsProvisional() {
				continue
			}
			return res, nil
		}
	}
	return nil, fmt.Errorf("no answer to %s", req.Method)
}

// listen waits for a fifth of a second of audio.
func (b bot) listen() error {
	buf := make([]byte, 2048)
	_ = b.rtp.SetReadDeadline(time.Now().Add(3 * time.Second))
	for range 10 {
		if _, err := b.rtp.Read(buf); err != nil {
			return errMute
		}
	}
	return nil
}
