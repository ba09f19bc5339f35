package main

import (
	"context"
	"errors"
	"net"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sendonce"
)

type proxyOptions struct {
	data      string
	listen    string
	advertise string
	index     string
	store     string
	http      string
	key       string
}

func proxyCommand(a *app) *cobra.Command {
	var o proxyOptions
	c := &cobra.Command{
		Use:   "proxy --data DIR",
		Short: "Run the server that devices send to",
		Long: `Run the proxy: it decides which chunks a device has to send, checks and stores
them, and tells the other devices. Everything it keeps is under --data: its key,
the index and the chunks. It runs until SIGINT or SIGTERM; the first one lets
pushes finish what they have begun, the second one ends it at once.`,
		Example: `  sendonce proxy --data /srv/sendonce
  sendonce proxy --data /srv/sendonce --listen :7411 --http 127.0.0.1:8385`,
		Args: between(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runProxy(c.Context(), a, o) },
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "", "`DIR` that holds everything; made where it does not exist")
	f.StringVar(&o.listen, "listen", ":7411", "UDP `HOST:PORT` to listen on")
	f.StringVar(&o.advertise, "advertise", "", "`HOST:PORT` by which devices reach this proxy, for invite (default: the listen address)")
	f.StringVar(&o.index, "index", "", "`URL` of the index: pebble:DIR (default: pebble: in --data)")
	f.StringVar(&o.store, "store", "", "`URL` of the chunk store: pebble:DIR (default: pebble: in --data)")
	f.StringVar(&o.http, "http", "", "TCP `HOST:PORT` of /metrics, /healthz, /readyz, /version; an empty host is loopback (default: none)")
	f.StringVar(&o.key, "key", "", "`FILE` with the proxy's private key (default: one in --data)")
	return c
}

func runProxy(ctx context.Context, a *app, o proxyOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	s, err := openServer(a, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	web, err := listenHTTP(o.http)
	if err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	if web != nil {
		g.Go(func() error {
			return untilEnd(ctx, "serve metrics", func(ctx context.Context) error { return serveHTTP(ctx, web, s.proxy.Monitor()) })
		})
		a.log.Info("serving metrics", "http", web.Addr().String())
	}
	g.Go(func() error {
		announce(ctx, a, "listening on "+s.listener.Addr(), s.proxy.Ready)
		return nil
	})
	a.log.Info("listening on "+s.listener.Addr(), "fingerprint", s.data.identity.ID().String(), "data", o.data)
	err = g.Wait()
	a.log.Info("stopped")
	return err
}

func (o *proxyOptions) check() (err error) {
	if o.data == "" {
		return usageError("proxy needs a directory for its data", "add --data DIR")
	}
	if o.data, err = absolute(o.data); err != nil {
		return err
	}
	for _, f := range []struct{ flag, value string }{{"listen", o.listen}, {"http", o.http}, {"advertise", o.advertise}} {
		if f.value == "" {
			continue
		}
		if err := checkHostPort(f.flag, f.value); err != nil {
			return err
		}
	}
	return nil
}

func checkHostPort(flag, value string) error {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return usageError("--"+flag+" "+value+" is not of the form HOST:PORT", "write for example 127.0.0.1:7411, :7411 or [::1]:7411")
	}
	return nil
}

// listenHTTP listens where --http says; an empty host means loopback.
func listenHTTP(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, &sendonce.Error{Op: "listen", Path: address, Kind: sendonce.KindUnavailable, Err: err,
			Hint: "choose another --http address"}
	}
	return l, nil
}
