package sipedge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
)

// quietHandler takes what sipgo logs down to debug, and leaves out whole
// messages: it logs each packet that it can't parse as an error, with its content.
type quietHandler struct{ next slog.Handler }

func (h quietHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.next.Enabled(ctx, slog.LevelDebug)
}

func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, slog.LevelDebug, "sipgo: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "data" {
			out.AddAttrs(a)
		}
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.next.WithAttrs(attrs)}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.next.WithGroup(name)}
}

var errNoDNS = errors.New("names are not resolved here")

// noDial keeps the resolver of the LAN side from asking anybody.
func noDial(context.Context, string, string) (net.Conn, error) { return nil, errNoDNS }

// neverDial ends each attempt to dial a phone: it comes to us.
func neverDial(context.Context, string, string, syscall.RawConn) error { return ErrFlowLost }
