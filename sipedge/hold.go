package sipedge

import (
	"context"
	"sync"
	"time"

	"patchbay/media"
)

// holdSilence is how long a phone that holds somebody sends nothing before
// music is played in its place.
const holdSilence = time.Second

// music is what a party hears that waits.
type music struct {
	to   *leg // nil: nobody
	stop context.CancelFunc
	wait sync.WaitGroup
}

// playHold plays music on hold to whoever waits and hears nothing, and ends it
// when somebody speaks again. It costs little where nobody waits.
func (c *call) playHold(now time.Time) {
	to := c.waiting(now)
	if to == c.music.to {
		return
	}
	c.stopHold()
	if to == nil || c.s.cfg.Prompts == nil {
		return
	}
	loop := c.s.cfg.Prompts.Hold()
	if len(loop) == 0 {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	c.music.to, c.music.stop = to, stop
	player := media.NewPlayer(to.stream)
	c.music.wait.Go(func() {
		if err := player.Loop(ctx, loop); err != nil && ctx.Err() == nil {
			c.log.Info("no music on hold", "leg", to.who(), "err", err)
			<-ctx.Done() // asked once
		}
	})
}

func (c *call) stopHold() {
	if c.music.to != nil {
		c.music.stop()
		c.music.wait.Wait()
		c.music.to, c.music.stop = nil, nil
	}
}

// waiting is the side that is to hear music: who is parked, or somebody
// outside whom a phone holds without playing anything itself.
func (c *call) waiting(now time.Time) *leg {
	if c.ending || c.b == nil {
		return nil
	}
	if c.parked != "" && c.transfer != nil && !c.transfer.held.ended && c.transfer.held.stream != nil {
		return c.transfer.held
	}
	for _, l := range []*leg{c.a, c.b} {
		other := c.other(l)
		if !l.gateway && !l.trunk || l.ended || other.ended || l.sent == nil || other.stream == nil {
			continue
		}
		a, ok := l.sent.Audio()
		if !ok || a.Direction != media.SendOnly {
			continue
		}
		if now.Sub(other.stream.Stats().LastPacket) > holdSilence {
			return l
		}
	}
	return nil
}
