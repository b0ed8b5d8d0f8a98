package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// errLeft is of an order that could not clean up behind itself.
var errLeft = errors.New("take _acme-challenge.phones.example.com out of example.com: nobody answers")

// TestOrdering: a certificate is ordered when there is none, again when a third
// of its life is left, seldom while that fails, and at once when somebody says so.
func TestOrdering(t *testing.T) {
	dir := t.TempDir()
	ca, err := phonesAuthority(dir, "box")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
		var fault atomic.Pointer[error]
		var orders atomic.Int64
		var during func() // an order; set while none is placed
		fails := func(err error) { fault.Store(&err) }
		fails(nil)
		o := &ordering{
			cfg: ACME{Names: []string{"phones.example.com"}}, state: dir, now: time.Now, log: func(string, ...any) {}, wake: make(chan struct{}, 1),
			certs: &certificates{dir: dir, own: func() (*tls.Certificate, error) { return nil, errors.New("none") }},
			order: func(context.Context) ([]byte, error) {
				orders.Add(1)
				if during != nil {
					during()
				}
				err := *fault.Load()
				if err != nil && !errors.Is(err, errLeft) {
					return nil, err
				}
				return pairPEM(t, ca, "phones.example.com", time.Now()), err
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- o.Run(ctx) }()
		synctest.Wait()
		if orders.Load() != 1 || o.certs.leaf() == nil {
			t.Fatalf("%d orders at first", orders.Load())
		}
		time.Sleep(leafLife / 2)
		if orders.Load() != 1 {
			t.Errorf("%d orders while the certificate is young", orders.Load())
		}
		fails(errors.New("no"))
		time.Sleep(leafLife/6 + 24*time.Hour)
		if n := orders.Load() - 1; n < 3 || n > 10 {
			t.Errorf("%d orders on the first day that they fail", n)
		}
		if _, why := o.last(); why == nil || o.certs.leaf() == nil {
			t.Errorf("fault %v; the old certificate is in force: %v", why, o.certs.leaf() != nil)
		}
		before := orders.Load()
		fails(nil)
		o.hurry()
		synctest.Wait()
		if _, why := o.last(); why != nil || orders.Load() != before+1 {
			t.Errorf("when it is wanted: %d more orders, %v", orders.Load()-before, why)
		}
		fails(errLeft) // the certificate is good all the same
		serial := o.certs.leaf().SerialNumber
		o.hurry()
		synctest.Wait()
		if _, why := o.last(); why != nil || o.certs.leaf().SerialNumber.Cmp(serial) == 0 {
			t.Errorf("with a record left behind: fault %v, the same certificate: %v", why, o.certs.leaf().SerialNumber.Cmp(serial) == 0)
		}
		fails(nil)
		if got := o.succeeded(); !got.Equal(o.tried) {
			t.Errorf("succeeded at %v, want %v", got, o.tried)
		}
		// What was uploaded stays, whatever its names are, until it gets old.
		before = orders.Load()
		if _, err := o.certs.put(pairPEM(t, ca, "other.example.com", time.Now()), certUploaded, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(leafLife / 2)
		if orders.Load() != before || o.certs.source() != certUploaded {
			t.Errorf("%d orders beside an uploaded certificate, which is now %s", orders.Load()-before, o.certs.source())
		}
		time.Sleep(leafLife/6 + 24*time.Hour)
		if orders.Load() != before+1 || o.certs.source() != certOrdered {
			t.Errorf("%d orders when the uploaded certificate is old; it is %s", orders.Load()-before, o.certs.source())
		}
		during = func() {
			if _, err := o.certs.put(pairPEM(t, ca, "other.example.com", time.Now()), certUploaded, time.Now()); err != nil {
				t.Error(err)
			}
		}
		o.hurry()
		synctest.Wait()
		if name := o.certs.leaf().Subject.CommonName; name != "other.example.com" || o.certs.source() != certUploaded {
			t.Errorf("uploaded during an order: %s, %s", name, o.certs.source())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestACMEConfigFaults(t *testing.T) {
	good := lanText + "[acme]\ndirectory = \"https://ca.example/dir\"\nnames = [\"phones.example.com\"]\nzone = \"example.com\"\nserver = \"192.0.2.53:53\"\n"
	if _, err := ParseConfig(good); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct{ old, new, want string }{
		{"https://", "http://", "acme.directory"},
		{`"phones.example.com"`, ``, "acme.names"},
		{`"phones.example.com"`, `"phones.example.org"`, "write names in acme.zone"},
		{":53", "", "write host and port"},
		{"zone", "key_name = \"box.\"\nzone", "acme.key_algorithm"},
	} {
		if _, err := ParseConfig(strings.Replace(good, tc.old, tc.new, 1)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.new, err, tc.want)
		}
	}
}

// TestOrderingLimit: an order that hangs is given up, in words.
func TestOrderingLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &ordering{now: time.Now, log: func(string, ...any) {}, certs: &certificates{dir: t.TempDir()}, order: func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("order: %w", ctx.Err())
		}}
		o.try(t.Context())
		if _, why := o.last(); why == nil || !strings.HasPrefix(why.Error(), "given up after 10m0s: order: ") {
			t.Errorf("fault: %v", why)
		}
	})
}
