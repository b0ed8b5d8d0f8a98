package main

import (
	"context"
	"fmt"
	"io"

	"patchbay/appliance"
)

// defaultConfig is where the package installs the configuration.
const defaultConfig = "/etc/patchbay/patchbay.toml"

func check(_ context.Context, args []string, out io.Writer) error {
	fs := flags("check")
	path := fs.String("config", defaultConfig, "configuration file")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	if _, err := appliance.LoadConfig(*path); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s is good\n", *path)
	return err
}
