package main

import (
	"context"
	"io"
	"path/filepath"

	"patchbay/appliance"
	"patchbay/appliance/web/api"
)

// dhcpCommand is what an administrator decides about DHCP. Its only word is
// resume: to make offers although another DHCP server was seen.
func dhcpCommand(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || args[0] != "resume" {
		return errUsage
	}
	fs := flags("dhcp")
	config := fs.String("config", defaultConfig, "configuration file of the daemon")
	socket := fs.String("socket", "", "control socket of the daemon, if it is not where the configuration says")
	name := fs.String("interface", "", "interface on which to make offers")
	if err := parse(fs, args[1:], 0); err != nil {
		return err
	}
	if *name == "" {
		return errUsage
	}
	if *socket == "" {
		state := appliance.Default().Box.State
		if cfg, err := appliance.LoadConfig(*config); err == nil {
			state = cfg.Box.State
		}
		*socket = filepath.Join(state, appliance.ControlSocket)
	}
	return api.Resume(ctx, out, *socket, *name)
}
