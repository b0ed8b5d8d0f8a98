//go:build bench

package bench

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"patchbay/appliance"
	"patchbay/appliance/store"
	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
	"patchbay/sipedge"
)

// sipPhones are the addresses of the phones; phone n has 10.78.0.0 plus n, a
// MAC address with n in it, and the line n.
const sipPhones = "10.78.0.0"

// sipRealm and sipPassword are those of the peer's configuration.
const (
	sipRealm    = "bench"
	sipPassword = "pw"
)

func phoneIP(n int) netip.Addr {
	base := netip.MustParseAddr(sipPhones).As4()
	binary.BigEndian.PutUint16(base[2:], uint16(n))
	return netip.AddrFrom4(base)
}

func phoneAccount(n int) mac.Account {
	return mac.Account{MAC: mac.Addr{2, 0, 0, 0, byte(n >> 8), byte(n)}, Slot: 1}
}

func phoneUser(n int) string { return fmt.Sprintf("u%06d", n) }

// sipSite is the inventory of the measured site, in memory as the real one is.
type sipSite struct{}

func numberOf(user string) (int, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(user, "u"))
	return n, err == nil && strings.HasPrefix(user, "u") && n > 0 && n < 1<<16
}

func (sipSite) Identity(user string) (sipedge.Identity, bool) {
	n, ok := numberOf(user)
	return sipedge.Identity{Account: phoneAccount(n), Username: user, Password: sipPassword, LineID: int64(n)}, ok
}

func (s sipSite) Account(a mac.Account) (sipedge.Identity, bool) {
	return s.Identity(phoneUser(int(a.MAC[4])<<8 | int(a.MAC[5])))
}

func (sipSite) Line(id int64) (sipedge.Line, bool) {
	user := phoneUser(int(id))
	return sipedge.Line{ID: id, AOR: "sip:" + user + "@example.com", DisplayName: user, Extension: user}, id > 0
}

func (s sipSite) Dialled(number string) (sipedge.Line, bool) {
	n, ok := numberOf(number)
	if !ok {
		return sipedge.Line{}, false
	}
	return s.Line(int64(n))
}

func (sipSite) OnLine(id int64) []mac.Account { return []mac.Account{phoneAccount(int(id))} }

func (sipSite) Lines() []sipedge.Line { return nil }

func (sipSite) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	a := ip.As4()
	return phoneAccount(int(binary.BigEndian.Uint16(a[2:]))).MAC, mac.OwnLease
}

// playEdge is the SIP side of the box on its real store: what the daemon runs,
// with an inventory that the measurement can make.
func playEdge() int {
	if err := runEdge(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runEdge() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if name := os.Getenv("BENCH_PROFILE"); name != "" { // where the time goes
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	dir := os.Getenv("BENCH_STATE")
	key, err := store.LoadKey(filepath.Join(dir, "secret.key"))
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, filepath.Join(dir, "patchbay.db"), key, log)
	if err != nil {
		return err
	}
	defer db.Close()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	box := netip.MustParseAddr(boxIP)
	record := func(m mac.Addr, e story.Event) { db.Story().Record(m, e) }
	site := sipSite{}
	ep, err := sipedge.NewEndpoint(ctx, sipedge.EndpointConfig{
		Listen: []netip.AddrPort{netip.AddrPortFrom(box, 5060)}, ListenTLS: []netip.AddrPort{netip.AddrPortFrom(box, 5061)},
		TLS: sipedge.PhoneTLS(tls.VersionTLS12, false, cert), Realm: sipRealm,
	}, site, site, db.Bindings(), func(mac.Account, netip.Addr) {}, record, log)
	if err != nil {
		return err
	}
	appliance.TuneCollector()
	profiled, err := appliance.Profile()
	if err != nil {
		return err
	}
	defer profiled()
	ports, err := media.NewPortPool(20000, 29999, 30*time.Second)
	if err != nil {
		return err
	}
	srv, err := sipedge.NewServer(sipedge.ServerConfig{Country: "DE", Ports: ports}, ep, site, nil, db.Calls(), record, log)
	if err != nil {
		return err
	}
	var tasks sync.WaitGroup
	for _, t := range append(ep.Tasks(), srv.Tasks()...) {
		tasks.Go(func() { _ = t.Run(ctx) })
	}
	base, end := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	writer.Go(func() { _ = db.Run(base) })
	<-ctx.Done()
	tasks.Wait()
	err = ep.Close()
	end()
	writer.Wait()
	return err
}
