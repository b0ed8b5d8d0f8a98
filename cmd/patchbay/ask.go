package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"patchbay/appliance"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// socketFlags adds what every command needs that asks the running daemon.
func socketFlags(name string) (parseArgs func(args []string, maxArgs int) (rest []string, socket string, err error)) {
	return socketFlagsOf(flags(name))
}

// socketFlagsOf is socketFlags for a command with flags of its own.
func socketFlagsOf(fs *flag.FlagSet) (parseArgs func(args []string, maxArgs int) (rest []string, socket string, err error)) {
	config := fs.String("config", defaultConfig, "configuration file of the daemon")
	path := fs.String("socket", "", "control socket of the daemon, if it is not where the configuration says")
	return func(args []string, maxArgs int) ([]string, string, error) {
		if err := parse(fs, args, maxArgs); err != nil {
			return nil, "", err
		}
		if *path != "" {
			return fs.Args(), *path, nil
		}
		cfg, err := appliance.LoadConfig(*config)
		if err != nil {
			cfg = appliance.Default()
		}
		return fs.Args(), socketOf(cfg, ""), nil
	}
}

// socketOf is where the daemon of a configuration answers, or what was named
// on the command line.
func socketOf(cfg appliance.Config, named string) string {
	if named != "" {
		return named
	}
	return filepath.Join(cfg.Box.State, appliance.ControlSocket)
}

func status(ctx context.Context, args []string, out io.Writer) error {
	_, socket, err := socketFlags("status")(args, 0)
	if err != nil {
		return err
	}
	return api.PrintStatus(ctx, out, socket)
}

func lines(ctx context.Context, args []string, out io.Writer) error {
	_, socket, err := socketFlags("lines")(args, 0)
	if err != nil {
		return err
	}
	return api.PrintLines(ctx, out, socket)
}

// line shows what happens to the calls for a line, or changes it.
func line(ctx context.Context, args []string, out io.Writer) error {
	const most = 8 // settings
	rest, socket, err := socketFlags("line")(args, 1+most)
	switch {
	case err != nil:
		return err
	case len(rest) == 0:
		return errUsage
	}
	return api.PrintWish(ctx, out, socket, rest[0], rest[1:])
}

// drill shows the drills of before, or begins one.
func drill(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("drill")(args, 1)
	switch {
	case err != nil:
		return err
	case len(rest) == 1 && rest[0] != "now":
		return errUsage
	}
	return api.PrintDrills(ctx, out, socket, len(rest) == 1)
}

// phones lists the phones, or tells the story of one. The flags may stand
// before or after the MAC address.
func phones(ctx context.Context, args []string, out io.Writer) error {
	follow, rest := false, make([]string, 0, len(args))
	for _, a := range args {
		if a == "-f" || a == "--follow" || a == "-follow" {
			follow = true
			continue
		}
		rest = append(rest, a)
	}
	if len(rest) > 0 && rest[0] != "" && rest[0][0] != '-' { // the flag package stops at the first argument
		rest = append(rest[1:], rest[0])
	}
	rest, socket, err := socketFlags("phones")(rest, 1)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return api.PrintPhones(ctx, out, socket, "")
	}
	m, err := mac.Parse(rest[0])
	if err != nil {
		return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
	}
	return api.PrintPhone(ctx, out, socket, m, follow)
}
