package sipedge

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// usualPress is how long a key is held where nobody says.
const usualPress = 160 * time.Millisecond

// allowsInfo says whether a peer takes INFO (RFC 3261 §20.5), and whether it
// said so: no Allow tells nothing.
func allowsInfo(m interface{ GetHeaders(string) []sip.Header }) (takes, told bool) {
	all := m.GetHeaders("Allow")
	for _, h := range all {
		for name := range strings.SplitSeq(h.Value(), ",") {
			if strings.EqualFold(strings.TrimSpace(name), "INFO") {
				return true, true
			}
		}
	}
	return false, len(all) > 0
}

func (l *leg) hearAllow(m interface{ GetHeaders(string) []sip.Header }) {
	takes, told := allowsInfo(m)
	l.takesInfo, l.noInfo = takes, told && !takes
	l.replaces = l.replaces || hasOption(m, "Supported", "replaces")
}

// press turns a digit that came as INFO into a telephone event, where the
// other side agreed to those (RFC 4733). It is false if it did not, or if it
// is another INFO.
func (c *call) press(other *leg, in *inbound) bool {
	d, ok := infoDigit(in.r.Request)
	if !ok || other.stream == nil || !other.stream.Events() {
		return false
	}
	in.answer(sip.StatusOK, "OK")
	stream, held := other.stream, infoDuration(in.r.Body())
	c.s.loose.Go(func() { stream.SendDigit(c.s.ctx, d, held) })
	return true
}

// infoDuration reads the duration of application/dtmf-relay, in milliseconds.
func infoDuration(body []byte) time.Duration {
	for line := range bytes.Lines(body) {
		name, value, ok := strings.Cut(string(line), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "duration") {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16); err == nil && n > 0 {
			return time.Duration(n) * time.Millisecond
		}
	}
	return usualPress
}

// tellDigit tells a side that knows no telephone events of a digit of the
// other one by INFO. The relay calls it, so it must not wait for the call.
func (c *call) tellDigit(a, b *leg, from *media.Stream, d byte) {
	to := a
	if from == a.stream {
		to = b
	}
	c.s.loose.Go(func() {
		c.post(func() {
			if to.ended || !to.takesInfo {
				return
			}
			req := to.request(sip.INFO)
			req.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
			req.SetBody(fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", d, usualPress.Milliseconds()))
			c.transact(to, req, func(res *sip.Response, _ *sip.Request, err error) {
				if err != nil || !res.IsSuccess() {
					c.log.Info("digit not taken", "leg", to.who(), "err", err)
				}
			})
		})
	})
}
