package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sendonce"
	"sendonce/cmd/sendonce/internal/unixsock"
	"sendonce/daemon"
	"sendonce/proxy"
)

// administrator asks the proxy for things that only admins may.
type administrator interface {
	Admin(ctx context.Context, method string, body, answer any) error
	// addrs guesses by which addresses devices reach the proxy.
	addrs(ctx context.Context) ([]string, error)
	Close() error
}

// admin returns the way to the proxy: the socket in its data directory, or, as
// an enrolled device, the connection to the server.
func (a *app) admin(ctx context.Context, data string) (administrator, error) {
	if data == "" {
		c, err := a.client(ctx)
		if sendonce.KindOf(err) == sendonce.KindNotSetUp {
			return nil, &sendonce.Error{Op: "reach the proxy", Kind: sendonce.KindUsage, Detail: "no --data directory, and this device has not joined a server",
				Hint: "on the server add --data DIR"}
		}
		return adminDevice{c}, err
	}
	dir, err := absolute(data)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, dataSocket)
	if _, err := os.Stat(dir); err != nil {
		return nil, &sendonce.Error{Op: "reach the proxy", Kind: sendonce.KindNotSetUp, Err: err, Hint: "start it: sendonce proxy --data " + data}
	}
	if !answers(ctx, path) {
		return nil, &sendonce.Error{Op: "reach the proxy", Path: path, Kind: sendonce.KindUnavailable, Detail: "nobody answers",
			Hint: "start it: sendonce proxy --data " + data}
	}
	return adminSocket{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsock.Dial(ctx, path) },
	}}}, nil
}

// adminSocket speaks through DIR/proxy.sock.
type adminSocket struct{ http *http.Client }

func (s adminSocket) Admin(ctx context.Context, method string, body, answer any) error {
	return proxy.Call(ctx, s.http, method, body, answer)
}

func (s adminSocket) addrs(ctx context.Context) ([]string, error) {
	var where whereabouts
	if err := s.Admin(ctx, "where", nil, &where); err != nil {
		return nil, err
	}
	return where.addrs(os.Hostname)
}

func (s adminSocket) Close() error { s.http.CloseIdleConnections(); return nil }

// addrs is the advertised address, or the one that the proxy listens on, or, if
// that is every address of the machine, the machine's name.
func (w whereabouts) addrs(hostname func() (string, error)) ([]string, error) {
	if w.Advertise != "" {
		return []string{w.Advertise}, nil
	}
	host, port, err := net.SplitHostPort(w.Listen)
	if err != nil {
		return nil, &sendonce.Error{Op: "find address", Path: w.Listen, Kind: sendonce.KindInternal, Err: err}
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return []string{w.Listen}, nil
	}
	name, err := hostname()
	if err == nil && name == "" {
		err = errors.New("the machine has no name")
	}
	if err != nil {
		return nil, &sendonce.Error{Op: "find address", Kind: sendonce.KindUsage, Err: err, Hint: "say how devices reach the proxy: --addr HOST:PORT"}
	}
	return []string{net.JoinHostPort(name, port)}, nil
}

// adminDevice speaks as an enrolled device.
type adminDevice struct{ client }

func (d adminDevice) addrs(ctx context.Context) ([]string, error) {
	s, err := d.Status(ctx)
	if err != nil {
		return nil, err
	}
	return serverAddrs(s), nil
}

// serverAddrs are the addresses that a status names.
func serverAddrs(s daemon.Status) []string {
	return strings.FieldsFunc(s.Server, func(r rune) bool { return r == ',' || r == ' ' })
}
