package sipedge

import (
	"slices"
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// maxRedirects is how often one INVITE follows a gateway elsewhere.
const maxRedirects = 4

// redirected sends the INVITE again to where the gateway or the trunk says
// that the called is now (RFC 3261 §8.1.3.4), over the connection to it: the
// only one that there is, and whoever is not reached over it is none of our
// gateways. It is false if there is no point in it. A phone that redirects
// forwards its calls, which is for the dial plan: see redirection.
func (b *branch) redirected(res *sip.Response) bool {
	if res.StatusCode < 300 || res.StatusCode > 302 || !b.leg.gateway && !b.leg.trunk || len(b.visited) >= maxRedirects {
		return false
	}
	b.visited = append(b.visited, b.invite.Recipient.String())
	for _, uri := range alternatives(res) {
		if slices.Contains(b.visited, uri.String()) {
			continue
		}
		req := b.invite.Clone()
		req.Recipient = uri
		for _, name := range []string{"Via", "Authorization", "Proxy-Authorization"} {
			req.RemoveHeader(name)
		}
		req.CSeq().SeqNo = b.leg.nextCSeq()
		b.leg.target, b.tries = uri, 0
		b.c.log.Info("gateway redirects the call", "leg", b.leg.who(), "to", uri.String())
		return b.send(req) == nil
	}
	return false
}

// alternatives are the Contacts of a 3xx that can be called, the one with the
// highest q first (RFC 3261 §20.10).
func alternatives(res *sip.Response) []sip.Uri {
	type choice struct {
		uri sip.Uri
		q   float64
	}
	var all []choice
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Wildcard || c.Address.Scheme != "sip" && c.Address.Scheme != "sips" || c.Address.Host == "" {
			continue
		}
		uri := *c.Address.Clone()
		uri.Headers = nil // §19.1.5: headers of a URI are somebody else's wish
		q := 1.0
		if v, ok := c.Params.Get("q"); ok {
			if n, err := strconv.ParseFloat(v, 64); err == nil {
				q = n
			}
		}
		all = append(all, choice{uri, q})
	}
	slices.SortStableFunc(all, func(a, b choice) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	out := make([]sip.Uri, len(all))
	for i, c := range all {
		out[i] = c.uri
	}
	return out
}
