package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/miekg/dns"
	"golang.org/x/crypto/acme"
)

// updateError is what a name server said to an update.
type updateError struct {
	server string
	rcode  int
	tsig   uint16 // error of the signature (RFC 8945 §3); 0: none
}

func (e *updateError) Error() string {
	text := e.server + " says " + dns.RcodeToString[e.rcode]
	if e.tsig != 0 {
		text += " (" + dns.RcodeToString[int(e.tsig)] + ")"
	}
	return text
}

// why says what an administrator can do.
func (e *updateError) why() string {
	switch {
	case e.tsig == dns.RcodeBadTime:
		return "the clocks of the box and of the name server " + e.server + " are too far apart"
	case e.rcode == dns.RcodeNotAuth:
		return "the name server " + e.server + " does not accept the key, or does not have the zone; look at key_name, key_algorithm, key_file and zone"
	case e.rcode == dns.RcodeRefused:
		return "the name server " + e.server + " does not let this key change the zone; allow it to change TXT records of _acme-challenge"
	case e.rcode == dns.RcodeNotZone || e.rcode == dns.RcodeNameError:
		return "the name server " + e.server + " does not have the zone, or not these names in it; look at zone and names"
	case e.rcode == dns.RcodeNotImplemented:
		return "the name server " + e.server + " takes no updates; name the primary of the zone in server"
	}
	return "the name server " + e.server + " did not take the record (" + dns.RcodeToString[e.rcode] + ")"
}

// problems are what authorities answer with (RFC 8555 §6.7), without
// "urn:ietf:params:acme:error:", and what an administrator can do.
var problems = map[string]string{
	"accountDoesNotExist":     "the authority does not know the account of the box any more; remove acme-account.key from the state directory for a new one",
	"caa":                     "a CAA record of the domain does not allow this authority; add it there",
	"connection":              "the authority could not reach the name servers of the zone; they have to answer the Internet",
	"dns":                     "the authority does not find the zone in DNS; its name servers have to answer the Internet",
	"externalAccountRequired": "the authority takes only accounts that were made with it before, which the box can't bring; name another one in directory",
	"incorrectResponse":       "the authority saw another record of _acme-challenge than the box had put there; all name servers of the zone have to have what the primary has",
	"invalidContact":          "the authority does not take the address in email",
	"orderNotReady":           "the authority took too long",
	"rateLimited":             "the authority gives no more certificates for now, because of how many it gave for these names or how many orders failed; the box tries again by itself",
	"rejectedIdentifier":      "the authority gives no certificate for one of these names",
	"serverInternal":          "the authority has trouble of its own; the box tries again by itself",
	"unauthorized":            "the authority did not see the record of _acme-challenge; all name servers of the zone have to have what the primary has, and answer the Internet",
	"unsupportedContact":      "the authority does not take the address in email",
	"unsupportedIdentifier":   "the authority gives no certificate for one of these names",
	"userActionRequired":      "the authority wants its new terms to be agreed to on its page first",
}

// Why says in plain words why an order came to nothing and what can be done
// about it, without the words of the other side. Keys of the configuration are
// of its section [acme].
func Why(err error) string {
	var (
		update    *updateError
		problem   *acme.Error
		order     *acme.OrderError
		authz     *acme.AuthorizationError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		hostname  x509.HostnameError
		name      *net.DNSError
		op        *net.OpError
		coded     base64.CorruptInputError
	)
	switch {
	case errors.As(err, &update):
		return update.why()
	case errors.As(err, &authz) && len(authz.Errors) > 0:
		return Why(authz.Errors[0])
	case errors.As(err, &order) && order.Problem != nil:
		return Why(order.Problem)
	case errors.As(err, &problem):
		if text, ok := problems[problem.ProblemType[strings.LastIndexByte(problem.ProblemType, ':')+1:]]; ok {
			return text
		}
		return fmt.Sprintf("the authority refused (%d)", problem.StatusCode)
	case errors.As(err, &coded):
		return "the secret in key_file is not written in base64"
	case errors.Is(err, dns.ErrKeyAlg):
		return "key_algorithm is not one that the box knows"
	case errors.Is(err, dns.ErrAuth), errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrTime), errors.Is(err, dns.ErrSecret):
		return "the answer of the name server is not signed with the key; look at key_name, key_algorithm and key_file"
	case errors.As(err, &authority):
		return "the box does not trust who says to be the authority; if it is one of your own, name its CA in ca"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of the authority itself is not valid at the time that the box's clock shows"
	case errors.As(err, &hostname):
		return "who answers at directory has a certificate for another name"
	case errors.As(err, &name):
		return "the name " + name.Name + " is not found; look at directory and server, and at what the box asks for names"
	case errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &op) && op.Addr != nil:
		return "nobody answers at " + op.Addr.String()
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no way to the authority or to the name server: is the Internet down?"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return "a file that is named in the configuration can't be read by the box; look at key_file and ca"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "the authority or the name server did not answer in time"
	}
	return "the order failed"
}
