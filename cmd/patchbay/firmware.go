package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

const firmwareUsage = `patchbay firmware
      roll-outs, pins, images, and what phones run
  patchbay firmware add [--label TEXT] [--checksum HEX] VENDOR VERSION FILE...
      keep files as an image; VERSION as the phones that run it write it,
      the checksum as the vendor gives it (MD5, SHA-1, SHA-256, SHA-512)
  patchbay firmware remove IMAGE [FILE]
  patchbay firmware rollout [--at-once N] [--hardware REVISION] [--other-family] VENDOR MODEL IMAGE MAC...
      bring an image to the phones of a model: those named first, and when they
      were seen with it the others, N at a time (1), none during a call
  patchbay firmware stop | resume | rollback ROLL-OUT
  patchbay firmware pin [--hardware REVISION] [--other-family] VENDOR MODEL IMAGE
      without a roll-out: each phone loads it when it next fetches
  patchbay firmware unpin [--hardware REVISION] VENDOR MODEL
`

// maxImageFiles is how many files fit a command line.
const maxImageFiles = 100

// firmwareCommand keeps images, and brings them to phones.
func firmwareCommand(ctx context.Context, args []string, out io.Writer) error {
	fs := flags("firmware")
	var e api.ImageEdit
	var p api.FirmwarePlan
	fs.StringVar(&e.Label, "label", "", "")
	fs.StringVar(&e.Checksum, "checksum", "", "")
	fs.IntVar(&p.AtOnce, "at-once", 1, "")
	fs.StringVar(&p.Hardware, "hardware", "", "")
	fs.BoolVar(&p.OtherFamily, "other-family", false, "")
	rest, socket, err := socketFlagsOf(fs)(args, maxImageFiles)
	if err != nil {
		return firmwareHelp(out, err)
	}
	if len(rest) == 0 {
		return api.PrintFirmware(ctx, out, socket)
	}
	verb, rest := rest[0], rest[1:]
	switch {
	case verb == "add" && len(rest) >= 3:
		e.Vendor, e.Version = rest[0], rest[1]
		return api.AddImage(ctx, out, socket, e, rest[2:])
	case verb == "remove" && (len(rest) == 1 || len(rest) == 2):
		return api.RemoveImage(ctx, out, socket, rest[0], strings.Join(rest[1:], ""))
	case (verb == "stop" || verb == "resume" || verb == "rollback") && len(rest) == 1:
		id, err := strconv.ParseInt(rest[0], 10, 64)
		if err != nil {
			return fmt.Errorf("roll-out %q: write its number, as `patchbay firmware` shows it", rest[0])
		}
		return api.ChangeRollout(ctx, out, socket, id, verb)
	case verb == "pin" && len(rest) == 3, verb == "unpin" && len(rest) == 2:
		pin := api.FirmwarePinEdit{Vendor: rest[0], Model: rest[1], Hardware: p.Hardware, Image: strings.Join(rest[2:], ""), OtherFamily: p.OtherFamily}
		return api.PinFirmware(ctx, out, socket, pin)
	case verb == "rollout" && len(rest) >= 3:
		p.Vendor, p.Model, p.Image = rest[0], rest[1], rest[2]
		for _, text := range rest[3:] {
			m, err := mac.Parse(text)
			if err != nil {
				return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
			}
			p.First = append(p.First, m)
		}
		return api.StartRollout(ctx, out, socket, p)
	}
	return firmwareHelp(out, errUsage)
}

// firmwareHelp shows how the parts of the command are written.
func firmwareHelp(out io.Writer, err error) error {
	if _, fault := io.WriteString(out, "usage: "+firmwareUsage); fault != nil {
		return fault
	}
	if strings.Contains(err.Error(), flag.ErrHelp.Error()) {
		return flag.ErrHelp
	}
	return err
}
