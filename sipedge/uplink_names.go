package sipedge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// How long names are believed, whatever their records say.
const (
	leastTTL = 30 * time.Second
	mostTTL  = time.Hour
)

// gatewayHost is one server of a gateway: a host name or address and a port. The
// addresses of a name are looked up each time that it is connected to.
type gatewayHost struct {
	host   string
	port   uint16
	domain string // that was configured, and that the certificate is for (RFC 5922 §7.1)
}

func (t gatewayHost) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// locate finds the servers of a gateway in the order in which they are tried,
// and how long that holds (RFC 3263 §4): host and port stand for themselves; a
// bare name is looked up by NAPTR, then by SRV of SIP over TLS, and stands for
// itself on port 5061 where there is neither.
func locate(ctx context.Context, r *net.Resolver, address string) (out []gatewayHost, ttl time.Duration, err error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, 0, err
	}
	if _, err := netip.ParseAddr(host); err == nil || port != 0 {
		return []gatewayHost{{host, cmp.Or(port, 5061), host}}, mostTTL, nil
	}
	for _, name := range append(naptr(ctx, r, host), "_sips._tcp."+host) {
		if out, ttl = srv(ctx, r, name, host); len(out) > 0 {
			return out, max(leastTTL, min(ttl, mostTTL)), nil
		}
	}
	return []gatewayHost{{host, 5061, host}}, 5 * time.Minute, nil
}

// naptr finds the names of SRV records for SIP over TLS (RFC 3263 §4.1).
func naptr(ctx context.Context, r *net.Resolver, host string) []string {
	answers, err := query(ctx, r, host, dns.TypeNAPTR)
	if err != nil {
		return nil
	}
	var found []*dns.NAPTR
	for _, rr := range answers {
		if n, ok := rr.(*dns.NAPTR); ok && strings.EqualFold(n.Service, "SIPS+D2T") && strings.EqualFold(n.Flags, "s") && n.Replacement != "." {
			found = append(found, n)
		}
	}
	slices.SortStableFunc(found, func(a, b *dns.NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	var names []string
	for _, n := range found {
		names = append(names, n.Replacement)
	}
	return names
}

// srv finds the servers behind a name, by priority, and by chance according to
// weight within one (RFC 2782).
func srv(ctx context.Context, r *net.Resolver, name, domain string) (out []gatewayHost, ttl time.Duration) {
	answers, err := query(ctx, r, name, dns.TypeSRV)
	if err != nil {
		return nil, 0
	}
	var found []*dns.SRV
	ttl = mostTTL
	for _, rr := range answers {
		if s, ok := rr.(*dns.SRV); ok && s.Target != "." && s.Port != 0 {
			found = append(found, s)
			ttl = min(ttl, time.Duration(s.Hdr.Ttl)*time.Second)
		}
	}
	slices.SortStableFunc(found, func(a, b *dns.SRV) int { return cmp.Compare(a.Priority, b.Priority) })
	for len(found) > 0 {
		same := 1
		for same < len(found) && found[same].Priority == found[0].Priority {
			same++
		}
		i := weighed(found[:same])
		s := found[i]
		out = append(out, gatewayHost{strings.TrimSuffix(s.Target, "."), s.Port, domain})
		found = slices.Delete(found, i, i+1)
	}
	return out, ttl
}

func weighed(of []*dns.SRV) int {
	sum := 0
	for _, s := range of {
		sum += int(s.Weight) + 1
	}
	n := rand.IntN(sum)
	for i, s := range of {
		if n -= int(s.Weight) + 1; n < 0 {
			return i
		}
	}
	return 0
}

// query asks the name servers of the system, or those of the resolver, for
// one type of record. The resolver of the library knows neither NAPTR nor TTL.
func query(ctx context.Context, r *net.Resolver, name string, kind uint16) ([]dns.RR, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	q.SetEdns0(1232, false)
	servers := []string{""}
	if r == nil || r.Dial == nil {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(conf.Servers) == 0 {
			return nil, fmt.Errorf("no name server is set: %w", err)
		}
		servers = servers[:0]
		for _, s := range conf.Servers {
			servers = append(servers, net.JoinHostPort(s, conf.Port))
		}
	}
	fault := errors.New("no name server answers")
	for _, server := range servers {
		for _, network := range []string{"udp", "tcp"} {
			res, err := exchangeDNS(ctx, r, network, server, q)
			if err != nil {
				fault = err
				break
			}
			if res.Truncated {
				continue // again by TCP
			}
			if res.Rcode != dns.RcodeSuccess && res.Rcode != dns.RcodeNameError {
				fault = errors.New("the name server says " + dns.RcodeToString[res.Rcode])
				break
			}
			return res.Answer, nil
		}
	}
	return nil, fmt.Errorf("look up %s: %w", name, fault)
}

func exchangeDNS(ctx context.Context, r *net.Resolver, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	dial := new(net.Dialer).DialContext
	if r != nil && r.Dial != nil {
		dial = r.Dial
	}
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	res, _, err := (&dns.Client{Net: network}).ExchangeWithConn(q, &dns.Conn{Conn: conn, UDPSize: 1232})
	return res, err
}
