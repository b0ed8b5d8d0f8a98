package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// Zone is where records are put by dynamic updates.
type Zone struct {
	Name   string // such as example.com
	Server string // host and port of its primary name server
	Key    TSIG

	pause time.Duration // before an update is sent again, and then twice that; 0: a second
}

// TSIG is the key that updates are signed with (RFC 8945). Without a name they
// are not signed.
type TSIG struct {
	Name      string
	Algorithm string // one of [Algorithms]
	Secret    string // base64
}

// Algorithms are those of RFC 8945 §6 that are not deprecated.
var Algorithms = []string{"hmac-sha256", "hmac-sha384", "hmac-sha512"}

// recordTTL is short, for records live for a minute.
const recordTTL = 60

// updateTries is how often an update is sent to a name server that does not
// answer, or says that it can't at present: one that reloads its zones or is
// started anew is back within a minute, and the next order is far off.
const updateTries = 6

// fudge is how far the clocks of box and name server may be apart, in seconds
// (RFC 8945 §10).
const fudge = 300

// add puts a TXT record beside others of the same name, and returns when the
// name server shows it.
func (z Zone) add(ctx context.Context, name, value string) error {
	if err := z.update(ctx, func(m *dns.Msg) { m.Insert([]dns.RR{txt(name, value)}) }); err != nil {
		return fmt.Errorf("put %s into %s: %w", name, z.Name, err)
	}
	for {
		shown, err := z.shows(ctx, name, value)
		if shown {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return fmt.Errorf("%s does not show %s: %w", z.Server, name, err)
		}
	}
}

func (z Zone) remove(ctx context.Context, name, value string) error {
	if err := z.update(ctx, func(m *dns.Msg) { m.Remove([]dns.RR{txt(name, value)}) }); err != nil {
		return fmt.Errorf("take %s out of %s: %w", name, z.Name, err)
	}
	return nil
}

func txt(name, value string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL}, Txt: []string{value}}
}

// update sends one update of RFC 2136. What it asks for is so afterwards,
// however often it arrives (§3.4.2), so that it is sent again where nobody says
// whether it did.
func (z Zone) update(ctx context.Context, change func(*dns.Msg)) error {
	pause := z.pause
	if pause == 0 {
		pause = time.Second
	}
	for try := 1; ; try++ {
		err := z.send(ctx, change)
		refusal, refused := errors.AsType[*updateError](err)
		if err == nil || try == updateTries || refused && refusal.rcode != dns.RcodeServerFailure {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		pause *= 2
	}
}

// send sends an update once, over TCP, for a signed one is long.
func (z Zone) send(ctx context.Context, change func(*dns.Msg)) error {
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(z.Name))
	change(m)
	client := &dns.Client{Net: "tcp", Timeout: 10 * time.Second}
	if z.Key.Name != "" {
		key := dns.CanonicalName(z.Key.Name)
		client.TsigSecret = map[string]string{key: z.Key.Secret}
		m.SetTsig(key, dns.Fqdn(z.Key.Algorithm), fudge, time.Now().Unix())
	}
	answer, _, err := client.ExchangeContext(ctx, m, z.Server)
	if answer != nil && answer.Rcode != dns.RcodeSuccess { // a refusal need not be signed
		fault := &updateError{server: z.Server, rcode: answer.Rcode}
		if sign := answer.IsTsig(); sign != nil {
			fault.tsig = sign.Error
		}
		return fault
	}
	return err
}

// shows asks the name server for the record.
func (z Zone) shows(ctx context.Context, name, value string) (bool, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	m.RecursionDesired = false
	answer, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).ExchangeContext(ctx, m, z.Server)
	if err != nil {
		return false, err
	}
	for _, rr := range answer.Answer {
		if t, ok := rr.(*dns.TXT); ok && len(t.Txt) == 1 && t.Txt[0] == value {
			return true, nil
		}
	}
	return false, nil
}

// Validate judges a zone before it is needed.
func (z Zone) Validate() error {
	if _, ok := dns.IsDomainName(z.Name); !ok || z.Name == "" {
		return fmt.Errorf("zone %q: write its name, such as example.com", z.Name)
	}
	if _, _, err := net.SplitHostPort(z.Server); err != nil {
		return fmt.Errorf("name server %q: write host and port, such as 192.0.2.53:53", z.Server)
	}
	return nil
}
