package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"patchbay/appliance"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// leases lists who has which address.
func leases(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("leases")(args, 1)
	if err != nil {
		return err
	}
	text := ""
	if len(rest) > 0 {
		text = rest[0]
	}
	return api.PrintLeases(ctx, out, socket, text)
}

func release(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("release")(args, 1)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errUsage
	}
	ip, err := netip.ParseAddr(rest[0])
	if err != nil {
		return fmt.Errorf("%q is no IP address, such as 192.0.2.20", rest[0])
	}
	return api.Release(ctx, out, socket, ip)
}

func reserve(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("reserve")(args, 2)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errUsage
	}
	m, err := mac.Parse(rest[0])
	if err != nil {
		return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
	}
	var ip netip.Addr
	if len(rest) > 1 {
		if ip, err = netip.ParseAddr(rest[1]); err != nil {
			return fmt.Errorf("%q is no IP address, such as 192.0.2.20", rest[1])
		}
	}
	return api.Reserve(ctx, out, socket, m, ip)
}

func unreserve(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("unreserve")(args, 1)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errUsage
	}
	m, err := mac.Parse(rest[0])
	if err != nil {
		return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
	}
	return api.Unreserve(ctx, out, socket, m)
}

// doctor asks the daemon to examine itself, and looks from outside if it
// does not answer.
func doctor(ctx context.Context, args []string, out io.Writer) error {
	fs := flags("doctor")
	path := fs.String("config", defaultConfig, "configuration file")
	control := fs.String("socket", "", "control socket of the daemon, if it is not where the configuration says")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	cfg, cfgErr := appliance.LoadConfig(*path)
	if cfgErr != nil {
		cfg = appliance.Default()
	}
	c := api.NewClient(socketOf(cfg, *control))
	defer c.Close()
	checks, err := c.Examine(ctx)
	if err != nil {
		if cfgErr != nil {
			return fmt.Errorf("%w\n%w", err, cfgErr)
		}
		checks = appliance.Examine(ctx, cfg, err)
	}
	return api.WriteChecks(out, checks)
}
