package appliance

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/acme"
)

// How orders for the public certificate are paced. Authorities allow a few
// failures an hour.
const (
	orderLook  = time.Hour
	orderLimit = 10 * time.Minute
	orderRetry = 20 * time.Minute // doubles with each failure
	orderSlow  = 12 * time.Hour   // at most
)

// ordering keeps the public certificate that phones are shown: ordered when
// there is none for the names of the file, and anew when a third of its life is
// left. One that an administrator uploaded stays until then, whatever its names
// are. It is a task.
type ordering struct {
	cfg   ACME
	state string
	certs *certificates
	now   func() time.Time
	log   func(msg string, args ...any)
	order func(ctx context.Context) ([]byte, error) // one order, see [acme.Order]; replaced in tests
	wake  chan struct{}

	mu    sync.Mutex
	tried time.Time // last order
	got   time.Time // last one that brought a certificate
	fault error     // of the last one
	fails int
}

func newOrdering(a *Appliance) *ordering {
	o := &ordering{
		cfg: a.cfg.ACME, state: a.cfg.Box.State, certs: a.doors.publicKey, now: a.now, wake: make(chan struct{}, 1),
		log: func(msg string, args ...any) { a.log.Info(msg, append([]any{"component", "acme"}, args...)...) },
	}
	o.order = o.place
	return o
}

// String names the task.
func (o *ordering) String() string { return "certificate order" }

// Run orders when it is time, until the context ends.
func (o *ordering) Run(ctx context.Context) error {
	for {
		wait := o.due()
		if wait <= 0 {
			o.try(ctx)
			wait = o.due()
		}
		timer := time.NewTimer(min(max(wait, time.Second), orderLook))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-o.wake:
			timer.Stop()
			o.try(ctx)
		case <-timer.C:
		}
	}
}

// due is how long it is until the next order.
func (o *ordering) due() time.Duration {
	now := o.now()
	if now.Before(notBefore) { // no authority is good at this time
		return time.Minute
	}
	o.mu.Lock()
	tried, fails := o.tried, o.fails
	o.mu.Unlock()
	var wait time.Duration
	if leaf := o.certs.leaf(); leaf != nil && (o.certs.source() == certUploaded || covers(leaf, o.cfg.Names)) {
		wait = leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3).Sub(now)
	}
	if fails > 0 {
		wait = max(wait, tried.Add(min(orderRetry<<min(fails-1, 8), orderSlow)).Sub(now))
	}
	return wait
}

// covers reports whether a certificate is for all names.
func covers(leaf *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.Contains(leaf.DNSNames, name) && leaf.VerifyHostname(name) != nil
	})
}

// try places one order and notes what came of it.
func (o *ordering) try(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	before := o.certs.current()
	text, err := o.order(limited)
	if now := o.certs.current(); now != before && o.certs.source() == certUploaded {
		// What somebody brought meanwhile is what they want.
		o.log("a certificate was uploaded during the order, which is left as it is")
		return
	}
	if text != nil {
		if err != nil {
			o.log("a record is left behind, take it away by hand", "err", err)
		}
		_, err = o.certs.put(text, certOrdered, o.now())
	} else if errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("given up after %v: %w", orderLimit, err)
	}
	if ctx.Err() != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried, o.fault = o.now(), err
	if err != nil {
		o.fails++
		o.log("no certificate", "err", err)
		return
	}
	o.fails, o.got = 0, o.tried
	o.log("certificate for phones", "names", strings.Join(o.cfg.Names, " "))
}

// place orders at the authority.
func (o *ordering) place(ctx context.Context) ([]byte, error) {
	key, err := o.account()
	if err != nil {
		return nil, err
	}
	secret := ""
	if o.cfg.KeyName != "" {
		if secret, err = readSecret("acme.key_file", o.cfg.KeyFile); err != nil {
			return nil, err
		}
	}
	authority := acme.Authority{Directory: o.cfg.Directory, Key: key, Email: o.cfg.Email}
	if o.cfg.CA != "" {
		roots, err := readCA("acme.ca", o.cfg.CA)
		if err != nil {
			return nil, err
		}
		authority.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	return acme.Order(ctx, authority, o.cfg.zone(secret), o.cfg.Names)
}

// account reads the key of the account at the authority, or makes it.
func (o *ordering) account() (crypto.Signer, error) {
	file := filepath.Join(o.state, "acme-account.key")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsaKey()
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, writeDurably(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no key in PEM; remove it for a new account", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: %w; remove it for a new account", file, err)
	}
	return signer, nil
}

// hurry asks for an order at once.
func (o *ordering) hurry() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// last is when an order was placed, and why it came to nothing.
func (o *ordering) last() (time.Time, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tried, o.fault
}

// succeeded is when an order last brought a certificate, as far as is known:
// the one in force says so after a restart too.
func (o *ordering) succeeded() time.Time {
	o.mu.Lock()
	got := o.got
	o.mu.Unlock()
	if since := o.certs.since(); got.IsZero() && o.certs.source() == certOrdered {
		return since
	}
	return got
}
