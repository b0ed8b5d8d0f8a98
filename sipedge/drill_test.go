package sipedge

import (
	"errors"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"
)

// drillRig is a site whose drills are short.
func drillRig(t *testing.T, change func(*ServerConfig)) *callRig {
	t.Helper()
	rig := newCallRig(t, true, func(c *ServerConfig) {
		c.Prompts = noises{}
		if change != nil {
			change(c)
		}
	}, func(times *callTimes) { times.drill = 5 * time.Second })
	up(t, rig)
	until(t, "all lines are registered", func() bool { return rig.server.signedLines() == 3 })
	return rig
}

func TestDrill(t *testing.T) {
	t.Parallel()
	trunk, cfg := newStreamTrunk(t, "tcp")
	_ = trunk
	rig := drillRig(t, func(c *ServerConfig) { c.Trunk, c.Emergency.OnSite = cfg, []string{"105"} })
	registered(t, rig, 5)
	until(t, "the trunk is up", func() bool { return rig.server.Trunk().Up })
	d, err := rig.server.Rehearse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("measured: %+v", d)
	if d.Score != 100 || d.Broken || d.Skipped != "" || d.Lines != 3 {
		t.Errorf("%+v", d)
	}
	if diff := cmp.Diff([]string{WayTrunk, WayOnSite}, d.Ways); diff != "" {
		t.Error(diff)
	}
	if d.Noticed < 2*time.Second || d.Local < d.Noticed {
		t.Errorf("noticed after %v, called after %v", d.Noticed, d.Local)
	}
	rig.mu.Lock()
	rows := rig.rows
	rig.mu.Unlock()
	if rows != 0 {
		t.Errorf("%d records of a drill", rows)
	}
	until(t, "nothing is left", func() bool {
		open, _ := rig.server.cfg.Ports.Usage()
		return open == 0 && len(rig.server.Calls()) == 0
	})
}

// Without any way out the score says so.
func TestDrillWithoutAWay(t *testing.T) {
	t.Parallel()
	rig := drillRig(t, func(c *ServerConfig) { c.Emergency.OnSite = []string{"105"} }) // who is not there
	d, err := rig.server.Rehearse(t.Context())
	if err != nil || d.Score != 100-drillWay || len(d.Ways) != 0 {
		t.Errorf("%+v, error %v", d, err)
	}
}

// One who calls for help during a drill has the gateway.
func TestDrillGivesWay(t *testing.T) {
	t.Parallel()
	rig := drillRig(t, nil)
	done := make(chan Drill, 1)
	go func() {
		d, _ := rig.server.Rehearse(t.Context())
		done <- d
	}()
	until(t, "the gateway is away", func() bool { return !rig.uplink.Up() })
	if _, err := rig.server.Rehearse(t.Context()); !errors.Is(err, ErrDrill) {
		t.Errorf("a second drill: %v", err)
	}
	one := newPhoneAgent(t, rig, "udp", 1)
	dialled := time.Now()
	out := one.dial("112", one.sdp(""))
	in := rig.gw.take()
	t.Logf("measured: the call for help is at the gateway after %v", time.Since(dialled).Round(time.Millisecond))
	audio := newSecureAudio(t, rig.gw)
	in.answer(audio.sdp(1))
	out.connected()
	out.hangUp()
	rig.gw.leaves()
	if d := <-done; !d.Broken {
		t.Errorf("%+v", d)
	}
	rig.ended(1)
}

// Nobody's call is put at risk.
func TestDrillWaits(t *testing.T) {
	t.Parallel()
	rig := drillRig(t, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dial("102", one.sdp(""))
	in := two.take()
	in.answer(two.sdp(""))
	out.connected()
	d, err := rig.server.Rehearse(t.Context())
	if err != nil || d.Skipped == "" || d.Score != 0 || !rig.uplink.Up() {
		t.Errorf("%+v, error %v, up %v", d, err, rig.uplink.Up())
	}
	out.hangUp()
	two.leaves()
	rig.ended(1)
}

// Nobody but the drill calls without a password, and not after it.
func TestBotIsOneOfUs(t *testing.T) {
	rig := newCallRig(t, false, func(c *ServerConfig) { c.Prompts = noises{} })
	run := &drilling{ended: make(chan struct{})}
	rig.server.mu.Lock()
	rig.server.drill = run
	rig.server.mu.Unlock()
	if err := rig.server.callOurselves(t.Context(), run); err != nil {
		t.Errorf("the box can't call itself: %v", err)
	}
	one := newPhoneAgent(t, rig, "udp", 1)
	d := one.invite("drill", one.sdp(""))
	one.ackRefusal(d.invite, one.response(407, sip.INVITE))
}
