package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Unix serves the API on a socket file to root and to the user that the box
// runs as, without a login: the kernel says who calls.
type Unix struct {
	path string
	l    *net.UnixListener
	srv  *http.Server
	stop context.CancelFunc // ends the streams
	tick func()
	log  *slog.Logger
}

// ListenUnix binds the socket file. One left by a process that was killed is
// replaced; one that somebody answers on is an error. tick is called every
// second while Run runs, and may be nil.
func ListenUnix(path string, b Backend, tick func(), log *slog.Logger) (*Unix, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("bind %s: another patchbay answers there; stop it first", path)
	}
	// Bound under another name and moved, so that the file never exists with
	// wider rights than these.
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("bind %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(fresh, 0o600)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("bind %s: %w", path, err)
	}
	if tick == nil {
		tick = func() {}
	}
	base, stop := context.WithCancel(context.Background())
	u := &Unix{path: path, l: l, stop: stop, tick: tick, log: log}
	u.srv = &http.Server{
		Handler:           judged(recovered(Handler(b, log), log)),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       u.judge,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // streams set their own
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return u, nil
}

// String names the task.
func (u *Unix) String() string { return "api on " + u.path }

// Run serves until ctx ends, and removes the socket file.
func (u *Unix) Run(ctx context.Context) error {
	defer func() { _ = os.Remove(u.path) }()
	return ServeUntil(ctx, u.srv, func() error { return u.srv.Serve(u.l) }, u.stop, u.tick)
}

// Close unbinds a socket that Run was never called for.
func (u *Unix) Close() error {
	u.stop()
	return errors.Join(u.l.Close(), os.Remove(u.path))
}

// ServeUntil runs serve, which is Serve or ServeTLS of srv, until ctx ends;
// then it ends the streams and waits for the other requests for at most 2 s.
// tick is called every second.
func ServeUntil(ctx context.Context, srv *http.Server, serve func() error, endStreams, tick func()) error {
	failed := make(chan error, 1)
	go func() { failed <- serve() }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case err := <-failed:
			endStreams()
			return errors.Join(fmt.Errorf("serve http: %w", err), srv.Close())
		case <-ticker.C:
			tick()
		case <-ctx.Done():
			endStreams()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if srv.Shutdown(grace) != nil {
				_ = srv.Close() // whoever is left had 2 s
			}
			<-failed
			return nil
		}
	}
}

// caller is the key of whether who connected may call, a bool.
type caller struct{}

// judge asks who connected.
func (u *Unix) judge(ctx context.Context, c net.Conn) context.Context {
	uid, err := peerUser(c)
	if err == nil && !mayCall(uid, os.Geteuid()) {
		err = fmt.Errorf("uid %d", uid)
	}
	if err != nil {
		u.log.Warn("api socket refused a caller", "component", "api", "err", err)
	}
	return context.WithValue(ctx, caller{}, err == nil)
}

// judged lets through who may call.
func judged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if may, _ := r.Context().Value(caller{}).(bool); !may {
			WriteError(w, http.StatusForbidden, "run the command as root or as the user that patchbay runs as", "")
			return
		}
		next.ServeHTTP(w, r.WithContext(WithActor(r.Context(), Actor{Name: "administrator", Via: "cli"})))
	})
}

func mayCall(uid uint32, own int) bool { return uid == 0 || int64(uid) == int64(own) }

// peerUser asks the kernel who is at the other end (SO_PEERCRED, unix(7)).
func peerUser(c net.Conn) (uint32, error) {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("ask who calls: not a unix socket but %T", c)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("ask who calls: %w", err)
	}
	return cred.Uid, nil
}

// recovered turns a panic of a handler into a 500 and a line in the log.
func recovered(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				log.Error("api handler panicked", "component", "api", "path", r.URL.Path, "err", v)
				WriteError(w, http.StatusInternalServerError, "the box could not do it; its log says why", "")
			}
		}()
		next.ServeHTTP(w, r)
	})
}
