package sipedge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// oddPhone is a phone of a script in testdata/phones.
type oddPhone struct {
	*agent
	d       *dialog
	fork    *dialog        // its other answer to the same INVITE
	changed *sip.Request   // a re-INVITE that it got
	to      netip.AddrPort // where it sends audio to
	before  *net.UDPConn   // where audio is still sent to after it moved
}

// oddCall is what a script goes on in.
type oddCall struct {
	t      *testing.T
	rig    *callRig
	phones map[byte]*oddPhone
	ended  int
}

// TestOddPhones plays what phones do that a standard does not expect, or that
// few test. The scripts are data; each line is a phone and what it does.
func TestOddPhones(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/phones/*.txt")
	if err != nil || len(scripts) < 12 {
		t.Fatalf("scripts: %d, %v", len(scripts), err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			hurry := func(times *callTimes) {
				if strings.Contains(string(text), "\nhurry ack\n") {
					times.ack = time.Second
				}
			}
			o := &oddCall{t: t, rig: newCallRig(t, false, nil, hurry), phones: map[byte]*oddPhone{}}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if line == "" || line[0] == '#' || line == "hurry ack" {
					continue
				}
				if err := o.play(line); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			until(t, "nothing is left", func() bool {
				open, _ := o.rig.server.cfg.Ports.Usage()
				return open == 0 && len(o.rig.server.Calls()) == 0
			})
		})
	}
}

// phone is the one of a number; it is made when it is named first.
func (o *oddCall) phone(n byte) *oddPhone {
	p := o.phones[n]
	if p == nil {
		p = &oddPhone{agent: newPhoneAgent(o.t, o.rig, "udp", n-'0')}
		o.phones[n] = p
	}
	return p
}

var errNoVerb = errors.New("no such thing")

// play carries one line out.
func (o *oddCall) play(line string) error {
	if status, ok := strings.CutPrefix(line, "ends "); ok {
		o.ended++
		if rec := o.rig.ended(o.ended); strconv.Itoa(rec.Status) != status {
			return fmt.Errorf("ended with %d %s", rec.Status, rec.Reason)
		}
		return nil
	}
	p, rest := o.phone(line[0]), line[2:]
	if codecs := ""; strings.Contains(rest, " speaking ") {
		rest, codecs, _ = strings.Cut(rest, " speaking ")
		return o.call(p, rest, strings.Split(codecs, ", "))
	}
	for _, f := range []func(*oddPhone, string) error{o.registrar, o.sound, o.inCall} {
		if err := f(p, rest); !errors.Is(err, errNoVerb) {
			return err
		}
	}
	return o.call(p, rest, nil)
}

func (o *oddCall) registrar(p *oddPhone, what string) error {
	switch what {
	case "registers":
		p.register(o.rig.ep.Addrs()[0])
	case "reboots":
		_ = p.close()
		p.agent = newPhoneAgent(o.t, o.rig, "udp", p.local.Addr().As4()[3]-10)
	default:
		return errNoVerb
	}
	return nil
}

// call begins calls and takes them.
func (o *oddCall) call(p *oddPhone, what string, codecs []string) error {
	verb, rest, _ := strings.Cut(what, " ")
	body := p.sdp("", codecs...)
	reply := func(d *dialog, status int, phrase, body string, more ...sip.Header) *sip.Response {
		res := p.reply(d.taken, status, phrase, d.tag(), body)
		for _, h := range more {
			res.AppendHeader(h)
		}
		return res
	}
	switch {
	case strings.HasPrefix(what, "dials and cancels "):
		d := p.invite(strings.TrimPrefix(what, "dials and cancels "), body)
		res := p.response(407, sip.INVITE)
		d.invite = p.authorize(d.invite, res)
		p.send(d.invite)
		p.d = d
		d.cancel()
	case verb == "dials":
		p.d = p.dial(rest, body)
	case what == "takes":
		p.d = p.take()
		p.to = audioOf(o.t, p.d.taken.Body()).RTP()
	case what == "rings":
		p.d.ring()
	case strings.HasPrefix(what, "rings with "):
		var more []sip.Header
		for h := range strings.SplitSeq(strings.TrimPrefix(what, "rings with "), " + ") {
			name, value, _ := strings.Cut(h, ": ")
			more = append(more, sip.NewHeader(name, value))
		}
		p.send(reply(p.d, 180, "Ringing", "", more...))
	case what == "rings and answers":
		p.d.ring()
		p.send(reply(p.d, 200, "OK", body))
	case what == "answers":
		p.send(reply(p.d, 200, "OK", body))
	case what == "answers as another":
		p.fork = &dialog{a: p.agent, callID: p.d.callID, taken: p.d.taken, remote: p.d.remote, local: p.d.taken.To().AsFrom()}
		p.fork.local.Params.Add("tag", sip.GenerateTagN(8))
		p.send(reply(p.fork, 200, "OK", body))
	default:
		return errNoVerb
	}
	return nil
}

// inCall is what goes on within a call.
func (o *oddCall) inCall(p *oddPhone, what string) error {
	words := strings.Fields(what)
	switch {
	case what == "connects", what == "picks up without ACK", what == "picked up":
		if what != "picked up" {
			p.d.established(p.response(200, sip.INVITE))
		}
		p.to = audioOf(o.t, p.d.res.Body()).RTP()
		if what == "connects" {
			p.d.ack("")
		}
	case what == "acks", what == "acks again":
		p.d.ack("")
	case what == "cancels":
		p.d.cancel()
	case what == "hangs up":
		p.d.hangUp()
	case words[0] == "changes":
		p.d.lastInviteCSeq = p.d.request(sip.INVITE, p.held(words[2])).CSeq().SeqNo
	case what == "takes the change":
		p.changed = p.request(sip.INVITE)
		p.send(p.reply(p.changed, 200, "OK", "", p.sdp("")))
		p.request(sip.ACK)
	case words[0] == "hears" && len(words) == 3:
		status, _ := strconv.Atoi(words[1])
		res := p.response(status, sip.RequestMethod(words[2]))
		if status == 487 {
			p.ackRefusal(p.d.invite, res)
		} else if words[2] == "INVITE" && status == 200 {
			p.d.established(res)
		}
	case strings.HasPrefix(what, "is asked "):
		req := p.request(sip.RequestMethod(words[2]))
		if words[2] == "BYE" {
			p.send(p.reply(req, 200, "OK", "", ""))
		}
		if tag, _ := req.To().Params.Get("tag"); len(words) == 5 && tag != p.fork.tag() {
			return fmt.Errorf("%s went to the answer that stays", words[2])
		}
	default:
		return errNoVerb
	}
	return nil
}

// held is a description that holds or resumes.
func (p *oddPhone) held(direction string) string {
	if direction != "0.0.0.0" {
		return p.sdp(direction)
	}
	return strings.Replace(p.sdp(""), "c=IN IP4 "+p.local.Addr().String(), "c=IN IP4 0.0.0.0", 1)
}

// sound is audio.
func (o *oddCall) sound(p *oddPhone, what string) error {
	words := strings.Fields(what)
	switch {
	case strings.HasPrefix(what, "speaks to the old port of "):
		q := o.phone(words[6][0])
		hears(o.t, p.rtp, p.to, q.before, "still here")
	case words[0] == "speaks":
		q := o.phone(words[2][0])
		hears(o.t, p.rtp, p.to, q.rtp, "hello from "+p.name)
	case what == "moves its audio":
		p.before = p.rtp
		p.rtp = listenRTP(o.t, p.local.Addr())
	case strings.HasPrefix(what, "is not heard by "):
		return o.unheard(p, o.phone(words[4][0]))
	case words[0] == "presses":
		pt, _ := strconv.Atoi(words[1])
		want, _ := strconv.Atoi(words[5])
		return o.digit(p, uint8(pt), o.phone(words[3][0]), uint8(want))
	default:
		return errNoVerb
	}
	return nil
}

// unheard sends what must not arrive.
func (o *oddCall) unheard(p, q *oddPhone) error {
	buf := make([]byte, 2048)
	for seq := range 20 {
		_, _ = p.rtp.WriteToUDPAddrPort(rtpPacket(seq, "from elsewhere"), p.to)
		_ = q.rtp.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		for {
			n, err := q.rtp.Read(buf)
			if err != nil {
				break
			}
			if strings.Contains(string(buf[:n]), "from elsewhere") {
				return errors.New("it was heard")
			}
		}
	}
	return nil
}

// digit sends a telephone event under one number and wants it under another.
func (o *oddCall) digit(p *oddPhone, pt uint8, q *oddPhone, want uint8) error {
	buf := make([]byte, 2048)
	for seq, end := 1, time.Now().Add(patience); time.Now().Before(end); seq++ {
		packet := []byte{0x80, pt, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 5, 0x0a, 0, 160}
		binary.BigEndian.PutUint16(packet[2:], uint16(seq))
		binary.BigEndian.PutUint32(packet[4:], 4711)
		if _, err := p.rtp.WriteToUDPAddrPort(packet, p.to); err != nil {
			return err
		}
		_ = q.rtp.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		for {
			n, err := q.rtp.Read(buf)
			if err != nil {
				break
			}
			if n == 16 && buf[12] == 5 {
				if got := buf[1] & 0x7f; got != want {
					return fmt.Errorf("the digit came as %d", got)
				}
				return nil
			}
		}
	}
	return errors.New("no digit came")
}
