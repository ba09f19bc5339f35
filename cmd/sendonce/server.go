package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"sendonce/blobstore"
	"sendonce/cmd/sendonce/internal/unixsock"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/protocol/quiclink"
	"sendonce/proxy"
)

// server is a proxy and everything that it stands on, opened: what the proxy
// and demo commands share.
type server struct {
	data     *dataDir
	index    indexdb.Index
	store    blobstore.Store
	listener protocol.Listener
	proxy    *proxy.Server
	socket   net.Listener // DIR/proxy.sock, for admins on this machine
	where    whereabouts
}

// whereabouts is what the socket tells about how devices reach the proxy.
type whereabouts struct {
	Listen    string `json:"listen"`
	Advertise string `json:"advertise"`
}

// openServer opens, in order, the data directory, the index, the store and the
// UDP port. After an error nothing is left open.
func openServer(a *app, o proxyOptions) (s *server, err error) {
	collectSooner()
	s = &server{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// What a URL names is checked before anything is made on disk.
	for flag, url := range map[string]string{"index": o.index, "store": o.store} {
		if _, err := pebblePath(flag, url, ""); err != nil {
			return s, err
		}
	}
	if s.data, err = openDataDir(o.data, o.key); err != nil {
		return s, err
	}
	if s.index, err = openIndex(o.index, filepath.Join(o.data, dataIndexDir), a.now, a.log); err != nil {
		return s, err
	}
	if s.store, err = openStore(o.store, filepath.Join(o.data, dataStoreDir), a.log); err != nil {
		return s, err
	}
	listener, err := quiclink.ListenAddr(quiclink.Config{Identity: s.data.identity}, o.listen)
	if err != nil {
		return s, err
	}
	s.listener = listener
	s.proxy, err = proxy.New(proxy.Config{Index: s.index, Store: s.store, Listener: s.listener, Key: s.data.identity.Key(),
		Now: a.now, Rand: rand.Reader, Log: a.log, Version: thisVersion().Version})
	if err != nil {
		return s, err
	}
	s.where = whereabouts{Listen: s.listener.Addr(), Advertise: o.advertise}
	s.socket, err = unixsock.Listen(filepath.Join(o.data, dataSocket))
	return s, err
}

// Run serves devices and the socket until ctx ends, and returns when all of it
// has ended.
func (s *server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return untilEnd(ctx, "serve devices", s.proxy.Run) })
	g.Go(func() error {
		return untilEnd(ctx, "serve the socket", func(ctx context.Context) error { return serveHTTP(ctx, s.socket, s.adminHandler()) })
	})
	return g.Wait()
}

// adminHandler is what the socket serves: the proxy's own methods, and what only
// this command knows.
func (s *server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.proxy.Handler())
	mux.HandleFunc("POST /v1/where", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// A caller that has gone is nobody's error.
		_ = json.NewEncoder(w).Encode(s.where)
	})
	return mux
}

// Close closes what is open, the data directory last.
func (s *server) Close() error {
	var errs []error
	if s.socket != nil {
		s.socket.Close() // Run has closed it already
	}
	if s.listener != nil {
		s.listener.Close() // likewise
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.index != nil {
		errs = append(errs, s.index.Close())
	}
	if s.data != nil {
		errs = append(errs, s.data.Close())
	}
	return errors.Join(errs...)
}
