package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"sendonce"
	"sendonce/cmd/sendonce/internal/sdnotify"
)

// httpPatience is how long a request that has begun may take to end when the
// service stops.
const httpPatience = 5 * time.Second

// serveHTTP serves h on l until ctx ends, and closes l.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		// A request that waits (a sync) ends with the service.
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpPatience)
		defer cancel()
		if srv.Shutdown(drain) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return &sendonce.Error{Op: "serve", Path: l.Addr().String(), Kind: sendonce.KindUnavailable, Err: errors.Join(err, srv.Close())}
}

// untilEnd runs a part of a service that is not to end before ctx does. One that
// does, ends the whole.
func untilEnd(ctx context.Context, what string, run func(context.Context) error) error {
	err := run(ctx)
	if err == nil && ctx.Err() == nil {
		err = &sendonce.Error{Op: what, Kind: sendonce.KindInternal, Detail: "it ended by itself"}
	}
	return err
}

// announce tells systemd that the service is ready, then that it is alive, and
// at last that it is stopping. It returns when ctx ends.
func announce(ctx context.Context, a *app, status string, alive func(context.Context) error) {
	n := sdnotify.New(a.env.Get)
	n.Status(status)
	n.Ready()
	n.Watch(ctx, alive)
	<-ctx.Done()
	n.Status("stopping")
	n.Stopping()
}
