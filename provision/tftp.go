package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/pin/tftp/v3"

	"patchbay/appliance/story"
)

// Limits of the TFTP door. A transfer whose client has gone ends after
// tftpTimeout for each of 1 + tftpRetries sendings.
const (
	tftpTimeout  = time.Second
	tftpRetries  = 3
	tftpBlock    = 1428 // fits an Ethernet frame
	tftpPerHost  = 4    // transfers at once
	tftpTotal    = 128
	tftpTickTime = time.Second
)

// What clients read in an ERROR packet. As with HTTP, a refusal is the same
// as an unknown file.
var (
	errTFTPNotFound = errors.New("file not found")
	errTFTPWrite    = errors.New("writing is not allowed")
	errTFTPBusy     = errors.New("busy, try later")
)

// tftpDoor is the TFTP listener of one address (RFC 1350, options of RFC
// 2347-2349), and the task that serves it. File names are keys into the same
// tree as HTTP's and are never looked up in a file system.
type tftpDoor struct {
	server *Server
	conn   *net.UDPConn
	addr   netip.AddrPort
	wire   *tftp.Server

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // the library has no other way to the handlers
	hosts map[netip.Addr]int
	total int
}

func newTFTPDoor(at netip.AddrPort, s *Server) (*tftpDoor, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	d := &tftpDoor{
		server: s, conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		ctx: context.Background(), hosts: make(map[netip.Addr]int),
	}
	d.wire = tftp.NewServer(d.read, d.write)
	d.wire.SetTimeout(tftpTimeout)
	d.wire.SetRetries(tftpRetries)
	d.wire.SetBlockSize(tftpBlock)
	d.wire.SetBackoff(func(int) time.Duration { return 0 }) // the timeout is wait enough
	return d, nil
}

// String names the task.
func (d *tftpDoor) String() string { return "provision tftp " + d.addr.String() }

// Run serves until the context ends. The library's loop gives no sign of life
// while it waits, but handles every packet under its lock: as long as the lock
// can be had and the loop has not ended, it is alive.
func (d *tftpDoor) Run(ctx context.Context) error {
	d.mu.Lock()
	d.ctx = ctx
	d.mu.Unlock()
	served := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				served <- fmt.Errorf("serve: %v", v)
			}
		}()
		served <- d.wire.Serve(d.conn)
	}()
	ticker := time.NewTicker(tftpTickTime)
	defer ticker.Stop()
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve ended: %w", errors.Join(err, d.conn.Close()))
		case <-ticker.C:
			d.wire.Lock()
			d.wire.Unlock() //nolint:staticcheck // having had it is the proof
			d.server.cfg.Tick()
		case <-ctx.Done():
			d.wire.Shutdown() // waits for transfers, at most their retries
			<-served
			return nil
		}
	}
}

// read handles one read request in a goroutine of the library.
func (d *tftpDoor) read(name string, out io.ReaderFrom) (err error) {
	defer func() {
		if v := recover(); v != nil {
			d.server.log.Error("tftp handler failed", "component", "provision", "err", v)
			err = errTFTPBusy
		}
	}()
	transfer, ok := out.(tftp.OutgoingTransfer)
	if !ok {
		return errTFTPNotFound
	}
	q := d.query(name, transfer.RemoteAddr(), out)
	if err := d.begin(q); err != nil {
		return err
	}
	defer d.end(q.remote)
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	r := d.server.answer(ctx, q)
	switch r.status {
	case http.StatusOK:
	case http.StatusServiceUnavailable:
		return errTFTPBusy
	default:
		return errTFTPNotFound
	}
	transfer.SetSize(int64(len(r.body)))
	if _, err := out.ReadFrom(bytes.NewReader(r.body)); err != nil {
		d.server.log.Debug("tftp transfer broke off", "component", "provision", "ip", q.remote, "err", err)
		return err
	}
	return nil
}

// write refuses every write request: logs come by HTTP, where their size is
// known before they are taken.
func (d *tftpDoor) write(name string, in io.WriterTo) error {
	transfer, ok := in.(tftp.IncomingTransfer)
	if !ok {
		return errTFTPWrite
	}
	q := d.query(name, transfer.RemoteAddr(), in)
	if ok, note := d.server.limit.take(q.remote); !ok {
		d.server.tooFast(q, note)
		return errTFTPWrite
	}
	if name, lang, err := cleanPath(q.path); err == nil {
		if t := d.server.look(name, lang, "", q.remote); t.itself() {
			d.server.refuse(q, t, story.WriteRefused)
		}
	}
	return errTFTPWrite
}

// query makes the same question of a TFTP request that HTTP would ask.
func (d *tftpDoor) query(name string, from net.UDPAddr, transfer any) query {
	q := query{door: story.TFTP, path: name, local: d.addr.Addr().Unmap(), remote: from.AddrPort().Addr().Unmap().WithZone("")}
	if info, ok := transfer.(tftp.RequestPacketInfo); ok {
		if a, ok := netip.AddrFromSlice(info.LocalIP()); ok {
			q.local = a.Unmap()
		}
	}
	return q
}

// begin takes a place for a transfer; each that it grants must be ended.
func (d *tftpDoor) begin(q query) error {
	if ok, note := d.server.limit.take(q.remote); !ok {
		d.server.tooFast(q, note)
		return errTFTPBusy
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= tftpTotal || d.hosts[q.remote] >= tftpPerHost {
		return errTFTPBusy
	}
	d.total++
	d.hosts[q.remote]++
	return nil
}

func (d *tftpDoor) end(from netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if d.hosts[from]--; d.hosts[from] <= 0 {
		delete(d.hosts, from)
	}
}
