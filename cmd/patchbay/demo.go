package main

import (
	"context"
	"io"
)

func demo(ctx context.Context, args []string, out io.Writer) error { return nil }
