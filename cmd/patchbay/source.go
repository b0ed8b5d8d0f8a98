package main

import (
	"context"
	"io"

	"patchbay/appliance/web/api"
)

// sourceCommand shows and changes where configurations come from.
func sourceCommand(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("source")(args, 4)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return api.PrintSources(ctx, out, socket)
	}
	e := api.SourceEdit{Scope: rest[0]}
	switch {
	case len(rest) == 2 && rest[1] == "clear":
	case len(rest) == 2 && rest[1] == "local":
		e.Source = rest[1]
	case len(rest) == 3 && (rest[1] == "redirect" || rest[1] == "proxy"):
		e.Source, e.Upstream = rest[1], rest[2]
	case len(rest) == 4 && rest[1] == "proxy":
		e.Source, e.Upstream, e.Outbound = rest[1], rest[2], rest[3]
	default:
		return errUsage
	}
	return api.ChangeSource(ctx, out, socket, e)
}
