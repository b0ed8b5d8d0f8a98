package mdns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/miekg/dns"
)

// Lives of records in seconds (RFC 6762 §10): what has a host name in it is
// short.
const (
	hostTTL    = 120
	serviceTTL = 4500
	legacyTTL  = 10 // RFC 6762 §6.7
	cacheFlush = 1 << 15
	domain     = "local."
	enumerate  = "_services._dns-sd._udp." + domain
)

// Service is one that the box offers, such as _https._tcp.
type Service struct {
	Type string
	Port uint16
	Text []string // key=value; RFC 6763 §6
}

// claim is one name that the box wants, and how often it had to give way.
type claim struct {
	label  string // as people write it
	host   bool   // or else the instance of the services
	giveUp int    // 0: the name itself, 1: the second of that name, and so on
}

// text is the label that is claimed now (RFC 6762 §9, RFC 6763 appendix D).
func (c claim) text() string {
	switch {
	case c.giveUp == 0:
		return c.label
	case c.host:
		suffix := fmt.Sprintf("-%d", c.giveUp+1)
		return cut(c.label, 63-len(suffix)) + suffix
	}
	suffix := fmt.Sprintf(" (%d)", c.giveUp+1)
	return cut(c.label, 63-len(suffix)) + suffix
}

// cut shortens a text to so many bytes, at a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// HostLabel makes a host name of a text: small letters, digits and hyphens.
// It is empty if nothing is left.
func HostLabel(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(cut(strings.Trim(b.String(), "-"), 63), "-")
}

// escape writes a label so that any byte stands for itself.
func escape(label string) string {
	var b strings.Builder
	for i := range len(label) {
		c := label[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return b.String()
}

// wireForm is a name as the library reads it from a packet, with a small set of
// escapes of its own, so that names can be compared.
func wireForm(name string) string {
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		return name
	}
	if out, _, err := dns.UnpackDomainName(buf[:n], 0); err == nil {
		return out
	}
	return name
}

// zone is all records of the box under the names that it claims now.
type zone struct {
	unique []dns.RR // ours alone: A, SRV, TXT
	shared []dns.RR // PTR
}

func makeZone(claims []claim, services []Service, ip netip.Addr) zone {
	var z zone
	var host, instance string
	for _, c := range claims {
		if !c.host {
			instance = c.text()
			continue
		}
		name := wireForm(escape(c.text()) + "." + domain)
		if host == "" {
			host = name
		}
		z.unique = append(z.unique, &dns.A{Hdr: header(name, dns.TypeA, hostTTL, true), A: ip.AsSlice()})
	}
	for _, s := range services {
		kind := wireForm(s.Type + "." + domain)
		name := wireForm(escape(instance) + "." + s.Type + "." + domain)
		text := s.Text
		if len(text) == 0 {
			text = []string{""} // RFC 6763 §6.1
		}
		z.unique = append(z.unique,
			&dns.SRV{Hdr: header(name, dns.TypeSRV, hostTTL, true), Port: s.Port, Target: host},
			&dns.TXT{Hdr: header(name, dns.TypeTXT, serviceTTL, true), Txt: text},
		)
		z.shared = append(z.shared,
			&dns.PTR{Hdr: header(kind, dns.TypePTR, serviceTTL, false), Ptr: name},
			&dns.PTR{Hdr: header(wireForm(enumerate), dns.TypePTR, serviceTTL, false), Ptr: kind},
		)
	}
	return z
}

func header(name string, kind uint16, ttl uint32, unique bool) dns.RR_Header {
	h := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	if unique {
		h.Class |= cacheFlush
	}
	return h
}

// all returns copies of every record, which may be changed.
func (z zone) all() []dns.RR {
	out := make([]dns.RR, 0, len(z.unique)+len(z.shared))
	for _, rr := range z.unique {
		out = append(out, dns.Copy(rr))
	}
	for _, rr := range z.shared {
		out = append(out, dns.Copy(rr))
	}
	return out
}

// find returns what answers a question, and what belongs to it (RFC 6763 §12).
func (z zone) find(q dns.Question) (answers, extra []dns.RR) {
	if class := q.Qclass &^ cacheFlush; class != dns.ClassINET && class != dns.ClassANY {
		return nil, nil
	}
	owned := false
	for _, rr := range z.all() {
		h := rr.Header()
		if !strings.EqualFold(h.Name, q.Name) {
			continue
		}
		owned = owned || h.Class&cacheFlush != 0
		if q.Qtype == h.Rrtype || q.Qtype == dns.TypeANY {
			answers = append(answers, rr)
		}
	}
	if len(answers) == 0 && owned {
		// RFC 6762 §6.1: there is no such record, and nobody need wait for it.
		return []dns.RR{z.denial(q.Name)}, nil
	}
	for _, rr := range answers {
		extra = append(extra, z.belonging(rr)...)
	}
	return answers, extra
}

// denial is the NSEC record of a name of ours.
func (z zone) denial(name string) dns.RR {
	n := &dns.NSEC{NextDomain: name}
	for _, rr := range z.unique {
		if h := rr.Header(); strings.EqualFold(h.Name, name) {
			n.Hdr = header(h.Name, dns.TypeNSEC, hostTTL, true)
			n.TypeBitMap = append(n.TypeBitMap, h.Rrtype)
			name = h.Name
		}
	}
	n.NextDomain = name
	slices.Sort(n.TypeBitMap) // as it is on the wire
	return n
}

// belonging returns the records that whoever got rr will ask for next.
func (z zone) belonging(rr dns.RR) (extra []dns.RR) {
	var target string
	switch rr := rr.(type) {
	case *dns.PTR:
		target = rr.Ptr
	case *dns.SRV:
		target = rr.Target
	default:
		return nil
	}
	for _, more := range z.unique {
		if strings.EqualFold(more.Header().Name, target) {
			extra = append(extra, dns.Copy(more))
			extra = append(extra, z.belonging(more)...)
		}
	}
	return extra
}

// without leaves out what the asker knows (RFC 6762 §7.1), and what is there
// twice.
func without(list, known []dns.RR) []dns.RR {
	var out []dns.RR
next:
	for _, rr := range list {
		for _, k := range known {
			if same(rr, k) && k.Header().Ttl >= rr.Header().Ttl/2 {
				continue next
			}
		}
		for _, o := range out {
			if same(rr, o) {
				continue next
			}
		}
		out = append(out, rr)
	}
	return out
}

// same compares name, type and content.
func same(a, b dns.RR) bool {
	return a.Header().Rrtype == b.Header().Rrtype && strings.EqualFold(a.Header().Name, b.Header().Name) && compareData(a, b) == 0
}

// compareData orders two records of one name as RFC 6762 §8.2 does: by class,
// type and the bytes of the content.
func compareData(a, b dns.RR) int {
	if d := int(a.Header().Class&^cacheFlush) - int(b.Header().Class&^cacheFlush); d != 0 {
		return d
	}
	if d := int(a.Header().Rrtype) - int(b.Header().Rrtype); d != 0 {
		return d
	}
	return strings.Compare(data(a), data(b))
}

// data is the content of a record as bytes, uncompressed (RFC 6762 §8.2).
func data(rr dns.RR) string {
	name := make([]byte, 256)
	start, err := dns.PackDomainName(rr.Header().Name, name, 0, nil, false)
	if err != nil {
		return ""
	}
	buf := make([]byte, dns.Len(rr)+512)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return ""
	}
	return string(buf[start+10 : n]) // behind name, type, class, TTL and length
}

// sortRecords orders as compareData does.
func sortRecords(list []dns.RR) { slices.SortFunc(list, compareData) }
