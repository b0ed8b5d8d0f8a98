package provision

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/provision/tftp"
)

// What clients read in an ERROR packet. As with HTTP, a refusal is the same
// as an unknown file.
var (
	errTFTPNotFound = &tftp.Error{Code: tftp.NotFound, Text: "file not found"}
	errTFTPWrite    = &tftp.Error{Code: tftp.Forbidden, Text: "writing is not allowed"}
	errTFTPTooLarge = &tftp.Error{Code: tftp.Full, Text: "file is too large"}
	errTFTPBusy     = &tftp.Error{Code: tftp.Undefined, Text: "busy, try later"}
)

// tftpDoor is the TFTP listener of one address, and the task that serves it.
// File names are keys into the same tree as HTTP's and are never looked up in
// a file system.
type tftpDoor struct {
	*tftp.Server
	server *Server
}

func newTFTPDoor(at netip.AddrPort, s *Server) (*tftpDoor, error) {
	d := &tftpDoor{server: s}
	var err error
	d.Server, err = tftp.Listen(at, d, tftp.Config{Tick: s.cfg.Tick, Log: s.log})
	return d, err
}

// String names the task.
func (d *tftpDoor) String() string { return "provision tftp " + d.Addr().String() }

// Read implements [tftp.Handler].
func (d *tftpDoor) Read(ctx context.Context, r tftp.Request) (tftp.Content, int64, error) {
	q := d.query(r)
	if ok, note := d.server.take(q.remote); !ok {
		d.server.tooFast(q, note)
		return nil, 0, errTFTPBusy
	}
	a := d.server.serve(ctx, q)
	if err := tftpError(a.status); err != nil {
		return nil, 0, err
	}
	if a.file != nil {
		return image{a.file, a}, a.size, nil
	}
	return delivery{tftp.Bytes(a.body), a}, int64(len(a.body)), nil
}

// delivery is a reply on its way.
type delivery struct {
	tftp.Content
	reply reply
}

// Whole implements [tftp.Whole].
func (d delivery) Whole() { d.reply.whole() }

// Write implements [tftp.Handler]: a phone may write the same files as by
// HTTP.
func (d *tftpDoor) Write(ctx context.Context, r tftp.Request) (int64, error) {
	q := d.query(r)
	if ok, note := d.server.take(q.remote); !ok {
		d.server.tooFast(q, note)
		return 0, errTFTPBusy
	}
	t, a, ok := d.server.mayUpload(ctx, q)
	switch {
	case ok && r.Size > uploadLimit:
		d.server.refuse(q, t, story.UploadTooLarge)
		return 0, errTFTPTooLarge
	case ok:
		return uploadLimit, nil
	case a.status == http.StatusMethodNotAllowed:
		if t.itself() {
			d.server.refuse(q, t, story.WriteRefused)
		}
		return 0, errTFTPWrite
	}
	return 0, tftpError(a.status)
}

// Store implements [tftp.Handler].
func (d *tftpDoor) Store(ctx context.Context, r tftp.Request, file []byte) error {
	q := d.query(r)
	t, a, ok := d.server.mayUpload(ctx, q) // once more: the address may be somebody else's by now
	if ok {
		a = d.server.keep(ctx, q, t, file)
	}
	return tftpError(a.status)
}

// query makes the same question of a TFTP request that HTTP would ask.
// Clients of Windows write paths with backslashes.
func (d *tftpDoor) query(r tftp.Request) query {
	return query{
		since: time.Now(), door: story.TFTP, path: strings.ReplaceAll(r.Name, `\`, "/"),
		local: r.Local.Addr().Unmap(), remote: r.Remote.Addr().Unmap().WithZone(""),
	}
}

// tftpError is the answer that a status of HTTP is by TFTP; nil for success.
func tftpError(status int) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return errTFTPBusy
	case http.StatusRequestEntityTooLarge:
		return errTFTPTooLarge
	}
	return errTFTPNotFound
}
