package sipedge

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// Prompts is what this box says to people, such as a [prompt.Library].
//
// [prompt.Library]: patchbay/media/prompt.Library
type Prompts interface {
	// Say returns the audio for names of prompts, see [Outcome], in a
	// language (ISO 639-1). What it does not know it leaves out.
	Say(language string, names ...string) []media.Prompt
	// Hold is music for a party on hold, to be repeated.
	Hold() media.Prompt
}

// voice is this box as the other side of a call: it speaks, and hears digits.
type voice struct {
	c        *call
	language string
	player   *media.Player
	ear      *media.Listener
	digits   chan byte
	pressed  sync.Once
	events   chan struct{} // closed at the first digit that came as RTP
}

func (c *call) newVoice() *voice {
	v := &voice{
		c: c, language: c.s.languageOf(c.a.account), player: media.NewPlayer(c.a.stream),
		digits: make(chan byte, 64), events: make(chan struct{}),
	}
	v.ear = media.NewListener(c.a.stream, func(d byte) {
		v.pressed.Do(func() { close(v.events) })
		v.press(d)
	})
	return v
}

func (v *voice) press(d byte) {
	select {
	case v.digits <- d:
	default: // nobody wants so many
	}
}

// say plays prompts by their names; see [Outcome].
func (v *voice) say(ctx context.Context, names ...string) error {
	if v.c.s.cfg.Prompts == nil {
		return nil
	}
	// The first words would be lost while the phone switches its audio on.
	return v.player.Play(ctx, append([]media.Prompt{media.Silence(200 * time.Millisecond)}, v.c.s.cfg.Prompts.Say(v.language, names...)...)...)
}

// ask plays prompts and waits for up to n digits; # or a pause ends them. The
// first digit ends the prompts.
func (v *voice) ask(ctx context.Context, n int, names ...string) (string, error) {
	speaking, hush := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer hush()
	said := make(chan error, 1)
	wg.Go(func() {
		err := v.say(speaking, names...)
		said <- err
		if err == nil { // some phones end a call in which nothing comes
			_ = v.player.Loop(speaking, media.Silence(time.Second))
		}
	})
	var got []byte
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	for len(got) < n {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case err := <-said:
			if err != nil && speaking.Err() == nil {
				return "", err
			}
			pause.Reset(digitPause)
		case <-pause.C:
			return string(got), nil
		case d := <-v.digits:
			if d == '#' {
				return string(got), nil
			}
			hush()
			got = append(got, d)
			pause.Reset(digitPause)
		}
	}
	return string(got), nil
}

// prepare makes ready to speak to the caller: ports, and our side of the
// description. Without a description from the caller ours is the offer.
func (c *call) prepare() error {
	if c.ours != nil {
		return nil
	}
	if err := c.openLeg(c.a); err != nil {
		return err
	}
	var err error
	if c.offer == nil {
		c.ours, err = c.a.offer(media.Own(nil))
		return err
	}
	if c.ours, err = c.a.answer(c.offer, media.Own(c.offer)); err != nil {
		return err
	}
	if err = c.a.stream.Apply(c.ours, c.offer); err != nil {
		return err
	}
	c.a.sent = c.ours
	return nil
}

// answerOurselves answers the call and lets script speak. The call ends when
// the script does, or when the caller hangs up. display is shown as the name
// of the other party.
func (c *call) answerOurselves(display string, script func(context.Context, *voice) error) error {
	if err := c.prepare(); err != nil {
		return err
	}
	c.mu.Lock()
	if display != "" {
		c.record.To.Name = printable(display)
	}
	c.record.Answered = c.s.now()
	c.mu.Unlock()
	res := c.response(sip.StatusOK, "OK")
	setSDP(res, c.ours.Bytes())
	err := c.r.Send(res)
	switch {
	case context.Cause(c.r.Context()) == ErrCancelled:
		c.mu.Lock()
		c.record.Answered = time.Time{}
		c.mu.Unlock()
		return errCancelled
	case err != nil:
		return err
	}
	c.a.confirmed = true
	c.attended = true
	c.tell(c.a.account, story.Out, story.CallAnswered, story.Args{Number: c.record.To.Number, Name: c.record.To.Name})
	c.a.unacked = c.await(c.a, c.r, res, c.asked(), 0)
	return c.attend(script, c.a.sent != nil)
}

// asked is what the ACK of our answer has to bring: nothing, or the answer to
// our offer.
func (c *call) asked() *exchange {
	x := &exchange{asker: c.a}
	if c.a.sent == nil {
		x.lateSent = c.ours
	}
	return x
}

// announceEarly lets the caller hear why there is no call, before the refusal
// itself (early media, RFC 3960). Where that is not possible nothing is heard.
func (c *call) announceEarly(names ...string) error {
	if c.s.cfg.Prompts == nil || c.offer == nil || c.a.gateway || len(names) == 0 {
		return nil
	}
	if err := c.prepare(); err != nil {
		c.log.Info("announcement not heard", "err", err)
		return nil
	}
	res := c.response(sip.StatusSessionInProgress, "Session Progress")
	setSDP(res, c.ours.Bytes())
	c.sendProvisional(res)
	return c.attend(func(ctx context.Context, v *voice) error { return v.say(ctx, names...) }, true)
}

// attend runs a script and serves the caller's requests meanwhile. ready says
// that the media of the caller is known already; else it comes with the ACK.
func (c *call) attend(script func(context.Context, *voice) error, ready bool) error {
	v := c.newVoice()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		if err := v.ear.Run(ctx); err != nil {
			c.log.Error("listen", "err", err)
		}
	})
	done := make(chan error, 1)
	start := func() { wg.Go(func() { done <- script(ctx, v) }) }
	if ready {
		start()
	}
	repeat := time.NewTicker(sip.T1 / 2)
	defer repeat.Stop()
	for {
		select {
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return err
		case in := <-c.inbox:
			over, begin := c.attendRequest(v, in)
			if over {
				return nil
			}
			if begin && !ready {
				ready = true
				start()
			}
		case then := <-c.results:
			then()
		case <-repeat.C:
			c.repeat(time.Now())
		case <-c.gone():
			if context.Cause(c.r.Context()) == ErrCancelled || !c.a.confirmed {
				return errCancelled
			}
		case <-c.stopped:
			return errStopping
		}
		if c.ending {
			return c.verdict
		}
	}
}

// gone ends with the caller's INVITE as long as that is not answered.
func (c *call) gone() <-chan struct{} {
	if c.a.confirmed {
		return nil
	}
	return c.r.Context().Done()
}

// attendRequest serves a request of a caller that we answered ourselves. begin
// says that the caller's description has come at last.
func (c *call) attendRequest(v *voice, in *inbound) (over, begin bool) {
	if !c.a.confirmed {
		c.early(in)
		return false, false
	}
	switch in.r.Method {
	case sip.ACK:
		return c.attendAck(in)
	case sip.BYE:
		c.a.ended = true
		in.answer(sip.StatusOK, "OK")
		return true, false
	case sip.INFO:
		v.info(in)
	case sip.INVITE, sip.UPDATE:
		c.attendOffer(in)
	default:
		in.finish(&StatusError{Status: 603, Phrase: "Declined"})
	}
	return false, false
}

func (c *call) attendAck(in *inbound) (over, begin bool) {
	defer in.finish(nil)
	u := c.a.unacked
	if u == nil || u.r.CSeq().SeqNo != in.r.CSeq().SeqNo {
		return false, false
	}
	c.a.unacked = nil
	if u.in != nil {
		u.in.finish(nil)
	}
	if u.x.lateSent == nil {
		return false, false
	}
	theirs, err := sdpOf(in.r.Request)
	if err == nil && theirs != nil {
		err = c.a.stream.Apply(u.x.lateSent, theirs)
	}
	if err != nil || theirs == nil {
		c.log.Info("late answer not usable", "err", err)
		return true, false
	}
	c.a.sent = u.x.lateSent
	return false, true
}

// attendOffer answers a re-INVITE or UPDATE: hold, resume, a new address.
func (c *call) attendOffer(in *inbound) {
	c.a.retarget(in.r.Contact(), c.a.target)
	offer, err := sdpOf(in.r.Request)
	switch {
	case err != nil:
		in.finish(statusOf(err))
		return
	case c.a.unacked != nil && in.r.Method == sip.INVITE:
		in.finish(errGlare)
		return
	}
	var body []byte
	x := &exchange{asker: c.a}
	switch {
	case offer != nil:
		mine, err := c.a.answer(offer, media.Own(offer))
		if err == nil {
			err = c.a.stream.Apply(mine, offer)
		}
		if err != nil {
			in.finish(statusOf(err))
			return
		}
		c.a.sent, body = mine, mine.Bytes()
	case in.r.Method == sip.INVITE:
		if x.lateSent, err = c.a.offer(media.Own(nil)); err != nil {
			in.finish(statusOf(err))
			return
		}
		body = x.lateSent.Bytes()
	}
	res := c.agree(in, body)
	if in.r.Method == sip.INVITE {
		c.a.unacked = c.await(c.a, in.r, res, x, 0)
		c.a.unacked.in = in
	}
}

// info takes digits that come as INFO: application/dtmf-relay as Cisco wrote
// it, or application/dtmf. A phone that sends RTP events too is heard once.
func (v *voice) info(in *inbound) {
	in.answer(sip.StatusOK, "OK")
	select {
	case <-v.events:
		return
	default:
	}
	if d, ok := infoDigit(in.r.Request); ok {
		v.press(d)
	}
}

// infoDigit reads the digit of an INFO.
func infoDigit(req *sip.Request) (byte, bool) {
	h := req.ContentType()
	if h == nil {
		return 0, false
	}
	kind, _, _ := strings.Cut(strings.ToLower(h.Value()), ";")
	text := ""
	switch strings.TrimSpace(kind) {
	case "application/dtmf-relay":
		for line := range bytes.Lines(req.Body()) {
			name, value, ok := strings.Cut(string(line), "=")
			if ok && strings.EqualFold(strings.TrimSpace(name), "signal") {
				text = value
			}
		}
	case "application/dtmf":
		text = string(req.Body())
	}
	text = strings.ToUpper(strings.TrimSpace(text))
	switch text { // some write the number of the event
	case "10":
		text = "*"
	case "11":
		text = "#"
	}
	if len(text) != 1 || !strings.Contains("0123456789*#ABCD", text) {
		return 0, false
	}
	return text[0], true
}
