package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"patchbay/appliance"
	"patchbay/systemd"
)

// serve runs the box until it is told to stop.
func serve(ctx context.Context, args []string, out io.Writer) error {
	fs := flags("serve")
	path := fs.String("config", defaultConfig, "configuration file")
	debug := fs.Bool("debug", false, "log what is of use to developers only")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	appliance.TuneCollector()
	stop, err := appliance.Profile()
	if err != nil {
		return err
	}
	defer stop()
	cfg, err := appliance.LoadConfig(*path)
	if err != nil {
		return err
	}
	notify, err := systemd.NewNotifier()
	if err != nil {
		return err
	}
	a, err := appliance.New(ctx, cfg, appliance.Options{Version: version, Log: logger(*debug), Notify: notify})
	if err != nil {
		return err
	}
	// For the console and the journal, where the person who sets the box up looks.
	fmt.Fprintf(out, "Patchbay %s: the page is at %s\n", version, a.PageURL())
	if code := a.SetUpCode(); code != "" {
		fmt.Fprintf(out, "One-time set-up code: %s\n", code)
	}
	fmt.Fprintf(out, "SHA-256 fingerprint of its authority: %s\n", a.Fingerprint())
	return a.Run(ctx)
}

// logger writes to standard error, which is the journal under systemd.
func logger(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
}

// withoutTime leaves the time to the journal, which writes its own.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && os.Getenv("JOURNAL_STREAM") != "" {
		return slog.Attr{}
	}
	return a
}
