package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sendonce"
	"sendonce/cmd/sendonce/internal/unixsock"
	"sendonce/daemon/control"
)

type daemonOptions struct {
	connections, workers int
	settle, rescan       time.Duration
}

func daemonCommand(a *app) *cobra.Command {
	var o daemonOptions
	c := &cobra.Command{
		Use:   "daemon",
		Short: "Watch all attached directories and send what changes, until a signal",
		Args:  between(0, 0),
		RunE:  func(c *cobra.Command, _ []string) error { return runDaemon(c.Context(), a, o) },
	}
	f := c.Flags()
	f.IntVar(&o.connections, "connections", 0, "connections of one push (default 4)")
	f.IntVar(&o.workers, "workers", 0, "readers and compressors (default: one a CPU)")
	f.DurationVar(&o.settle, "settle", 0, "quiet time after which a burst of changes is taken together (default 300ms)")
	f.DurationVar(&o.rescan, "rescan", 0, "look at everything at least this often (default 10m)")
	return c
}

func runDaemon(ctx context.Context, a *app, o daemonOptions) (err error) {
	if o.connections < 0 || o.workers < 0 || o.settle < 0 || o.rescan < 0 {
		return usageError("a setting of the daemon is negative", "0 means the default")
	}
	c, err := a.openClient(ctx, clientOptions{connections: o.connections, workers: o.workers, settle: o.settle, rescan: o.rescan})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	path := a.sockets()[0]
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return &sendonce.Error{Op: "make socket", Kind: sendonce.KindInternal, Err: err}
	}
	socket, err := unixsock.Listen(path)
	if err != nil {
		return err
	}
	defer socket.Close()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return untilEnd(ctx, "keep folders in step", c.Run) })
	g.Go(func() error { return serveHTTP(ctx, socket, control.Handler(c)) })
	g.Go(func() error {
		announce(ctx, a, "keeping folders in step", func(ctx context.Context) error {
			_, err := c.Folders()
			return err
		})
		return nil
	})
	a.log.Info("daemon started", "state", a.global.State, "socket", path)
	err = g.Wait()
	a.log.Info("stopped")
	return err
}
