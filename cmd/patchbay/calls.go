package main

import (
	"context"
	"fmt"
	"io"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// calls lists the calls that have ended, of one phone or of all.
func calls(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("calls")(args, 1)
	if err != nil {
		return err
	}
	var m mac.Addr
	if len(rest) > 0 {
		if m, err = mac.Parse(rest[0]); err != nil {
			return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
		}
	}
	return api.PrintCalls(ctx, out, socket, m)
}
