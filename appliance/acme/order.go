package acme

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// Authority is who gives out certificates.
type Authority struct {
	Directory string            // its URL (RFC 8555 §7.1.1)
	Key       crypto.Signer     // of our account there; it is made at the first order
	Email     string            // told of what goes wrong; may be empty
	Transport http.RoundTripper // knows how to verify the authority; nil: as the system does
}

// settle is how long other name servers of the zone may take to have a new
// record; the one that is updated is asked until it does.
const settle = 2 * time.Second

// Order gets a certificate for names, of which those that begin with "*." stand
// for all names of a domain. It returns the chain and a fresh RSA key, which
// old phones know too, as PEM. It takes from seconds to minutes, until ctx ends
// at most, and agrees to the terms of the authority. The records that it makes
// it takes away again; an error beside a chain says which of them it could not.
func Order(ctx context.Context, a Authority, zone Zone, names []string) ([]byte, error) {
	client := &acme.Client{Key: a.Key, DirectoryURL: a.Directory, UserAgent: "patchbay", HTTPClient: &http.Client{Transport: a.Transport, Timeout: time.Minute}}
	account := &acme.Account{}
	if a.Email != "" {
		account.Contact = []string{"mailto:" + a.Email}
	}
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("account at %s: %w", a.Directory, err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(names...))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	left, err := prove(ctx, client, zone, order.AuthzURLs)
	if err != nil {
		return nil, errors.Join(err, left)
	}
	ready, err := client.WaitOrder(ctx, order.URI)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	chain, _, err := client.CreateOrderCert(ctx, ready.FinalizeURL, csr, true)
	if err != nil {
		// Where the authority takes its time, the library goes on by the Location of
		// the answer, which RFC 8555 §7.4 does not ask for.
		done, fault := client.WaitOrder(ctx, order.URI)
		if fault != nil || done.CertURL == "" {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		if chain, err = client.FetchCert(ctx, done.CertURL, true); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	text, err := encode(chain, key)
	if err != nil {
		return nil, err
	}
	return text, left
}

func encode(chain [][]byte, key *rsa.PrivateKey) ([]byte, error) {
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}

// prove shows that all names of an order are ours. The records of all are made
// first, since a name and its wildcard share one. left says which of them could
// not be taken away.
func prove(ctx context.Context, client *acme.Client, zone Zone, urls []string) (left, err error) {
	var open []*acme.Challenge
	var waits []string
	for _, url := range urls {
		authz, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("authorization: %w", err)
		}
		if authz.Status == acme.StatusValid {
			continue
		}
		name := authz.Identifier.Value
		challenge := dns01(authz.Challenges)
		if challenge == nil {
			return nil, fmt.Errorf("%s: the authority offers no challenge by DNS", name)
		}
		value, err := client.DNS01ChallengeRecord(challenge.Token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		record := "_acme-challenge." + strings.TrimPrefix(name, "*.")
		if err := zone.add(ctx, record, value); err != nil {
			return nil, err
		}
		defer func() { // what was put there last is taken away by hand otherwise
			limit := 10 * time.Second // who stops the box waits for it
			if ctx.Err() == nil {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
			defer cancel()
			left = errors.Join(left, zone.remove(ctx, record, value))
		}()
		open, waits = append(open, challenge), append(waits, authz.URI)
	}
	if len(open) == 0 {
		return nil, nil
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, challenge := range open {
		if _, err := client.Accept(ctx, challenge); err != nil {
			return nil, fmt.Errorf("challenge: %w", err)
		}
	}
	for _, url := range waits {
		if _, err := client.WaitAuthorization(ctx, url); err != nil {
			return nil, fmt.Errorf("the authority was not convinced: %w", err)
		}
	}
	return nil, nil
}

func dns01(all []*acme.Challenge) *acme.Challenge {
	for _, c := range all {
		if c.Type == "dns-01" {
			return c
		}
	}
	return nil
}
