package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"patchbay/appliance/web/api"
)

// policy shows what a line or the site may do, or changes it.
func policy(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("policy")(args, manyArgs)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errUsage
	}
	c := api.NewClient(socket)
	defer c.Close()
	read, write, other := c.SitePolicy, c.SetSitePolicy, "as the box"
	if rest[0] != "site" {
		l, err := c.FindLine(ctx, rest[0])
		if err != nil {
			return err
		}
		read = func(ctx context.Context) (api.Policy, error) { return c.LinePolicy(ctx, l.ID) }
		write = func(ctx context.Context, p api.Policy) error { return c.SetLinePolicy(ctx, l.ID, p) }
		other = "as the site"
	}
	p, err := read(ctx)
	if err != nil {
		return err
	}
	for _, setting := range rest[1:] {
		if err := p.Set(setting); err != nil {
			return err
		}
	}
	if len(rest) > 1 {
		if err := write(ctx, p); err != nil {
			return err
		}
	}
	return api.PrintPolicy(out, p, other)
}

// errPIN tells how a PIN is given.
var errPIN = errors.New("no PIN came; write it on the standard input, where nobody sees it in the list of processes")

// pin gives a line the PIN by which its user signs in, from the standard input.
func pin(ctx context.Context, args []string, out io.Writer) error {
	return pinFrom(ctx, args, os.Stdin, out)
}

func pinFrom(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	set, rest := splitFlags(args, "remove")
	rest, socket, err := socketFlags("pin")(rest, 1)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errUsage
	}
	c := api.NewClient(socket)
	defer c.Close()
	l, err := c.FindLine(ctx, rest[0])
	if err != nil {
		return err
	}
	if set["remove"] {
		if err := c.SetPIN(ctx, l.ID, ""); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s has no PIN any more.\n", api.Printable(l.Name))
		return err
	}
	text, err := bufio.NewReader(io.LimitReader(in, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if text = strings.TrimSpace(text); text == "" {
		return errPIN
	}
	if err := c.SetPIN(ctx, l.ID, text); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s has a new PIN.\n", api.Printable(l.Name))
	return err
}
