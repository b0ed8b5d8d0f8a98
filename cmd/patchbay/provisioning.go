package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// uploads lists what a phone has written to the box, or prints one file.
func uploads(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("uploads")(args, 2)
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
	id := ""
	if len(rest) > 1 {
		id = rest[1]
	}
	return api.PrintUploads(ctx, out, socket, m, id)
}

// personalPath prints the address that only one phone is told.
func personalPath(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("path")(args, 2)
	if err != nil {
		return err
	}
	if len(rest) == 0 || len(rest) == 2 && rest[1] != "renew" {
		return errUsage
	}
	m, err := mac.Parse(rest[0])
	if err != nil {
		return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
	}
	return api.PrintPath(ctx, out, socket, m, len(rest) == 2)
}

// phonesTLS lists what phones speak by HTTPS.
func phonesTLS(ctx context.Context, args []string, out io.Writer) error {
	_, socket, err := socketFlags("tls")(args, 0)
	if err != nil {
		return err
	}
	return api.PrintTLS(ctx, out, socket)
}

// certificate has phones shown a public certificate.
func certificate(ctx context.Context, args []string, out io.Writer) error {
	fs := flags("certificate")
	anyName := fs.Bool("any-name", false, "take a certificate of which no name leads to the box as far as it can tell")
	rest, socket, err := socketFlagsOf(fs)(args, 1)
	if err != nil {
		return err
	}
	if len(rest) == 0 || rest[0] == "order" {
		return api.PrintCertificate(ctx, out, socket, len(rest) == 1)
	}
	if rest[0] == "own" {
		return api.OwnCertificate(ctx, out, socket)
	}
	text, err := os.ReadFile(rest[0])
	if err != nil {
		return err
	}
	return api.ChangeCertificate(ctx, out, socket, api.CertificateEdit{PEM: string(text), AnyName: *anyName})
}
