//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// carelessFile names the variable with the file of the careless store.
const carelessFile = "PATCHBAY_BENCH_LEASES"

// careless is a store as it must not be: it says "on disk" at once, writes
// some time later, and never syncs. It exists in this test program only.
type careless struct {
	mu     sync.Mutex
	file   *os.File
	behind bytes.Buffer
}

func (c *careless) Leases(context.Context) ([]dhcp.Lease, error) {
	var out []dhcp.Lease
	for d := json.NewDecoder(c.file); ; {
		var l dhcp.Lease
		if err := d.Decode(&l); err != nil {
			return out, nil // the end, or a line that was cut
		}
		out = append(out, l)
	}
}

func (c *careless) Put(_ context.Context, l dhcp.Lease) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.NewEncoder(&c.behind).Encode(l)
}

func (c *careless) Delete(context.Context, netip.Addr) error { return nil }

// run writes behind.
func (c *careless) run(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		c.mu.Lock()
		_, _ = c.behind.WriteTo(c.file)
		c.mu.Unlock()
	}
}

// playCareless is the server of the box with that store.
func playCareless() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	file, err := os.OpenFile(os.Getenv(carelessFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return failed(err)
	}
	store := &careless{file: file}
	go store.run(ctx)
	conn, prober, err := dhcp.Listen("lan0", netip.MustParseAddr(boxIP), 67)
	if err != nil {
		return failed(err)
	}
	pool, err := dhcp.ParsePool(firstIP + "-" + lastIP)
	if err != nil {
		return failed(err)
	}
	cfg := dhcp.Config{
		Interface: "lan0", Mode: dhcp.Serve, Server: netip.MustParseAddr(boxIP), Subnet: netip.MustParsePrefix(subnet),
		Pools: []dhcp.Pool{pool}, Quiet: -1,
	}
	s, err := dhcp.New(ctx, conn, prober, cfg, store, nil, nil, func(mac.Addr, story.Event) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		return failed(fmt.Errorf("careless server: %w", err))
	}
	return failed0(s.Run(ctx))
}
