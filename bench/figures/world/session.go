// Package world puts up what figures are measured in: a proxy with its data,
// enrolled devices, an rsync daemon, a restic repository, each in processes of
// its own, below one temporary directory.
//
// Costs of a proxy are the difference between two quiet moments, so that what it
// does after its answer counts too. Nothing here reads a clock of the program
// that is measured.
//
// Read world.go, then session.go (sendonce), then rivals.go.
package world

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/report"
	"sendonce/bench/figures/twonet"
	"sendonce/daemon"
)

// Server is a proxy with its data, in a process of its own.
type Server struct {
	b       *World
	dir     string
	Data    string       // its data directory
	addr    string       // by which devices reach it
	http    string       // of its metrics
	net     *twonet.Pair // nil: loopback
	process *measure.Process
	log     *os.File
}

// PID returns the process ID of the proxy that runs now.
func (s *Server) PID() int { return s.process.PID() }

// Patience is for anything that should take a moment.
const Patience = 20 * time.Second

// Server starts a proxy with empty data, in the server's namespace if net is set.
func (b *World) Server(ctx context.Context, net *twonet.Pair) (*Server, error) {
	dir, err := b.Dir("server")
	if err != nil {
		return nil, err
	}
	s := &Server{b: b, dir: dir, Data: filepath.Join(dir, "data"), net: net}
	host := "127.0.0.1"
	if net != nil {
		host = net.Server.Addr
	}
	udp, err := freePort("udp")
	if err != nil {
		return nil, err
	}
	tcp, err := freePort("tcp")
	if err != nil {
		return nil, err
	}
	s.addr, s.http = host+":"+udp, "127.0.0.1:"+tcp
	return s, s.Start(ctx)
}

func freePort(network string) (string, error) {
	var addr net.Addr
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		defer l.Close()
		addr = l.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	return port, err
}

func (s *Server) netns() string {
	if s.net == nil {
		return ""
	}
	return s.net.Server.Netns
}

// Start starts the proxy, again after Kill or Stop, and waits until it listens.
func (s *Server) Start(ctx context.Context) (err error) {
	path := filepath.Join(s.dir, "log")
	if s.log, err = os.Create(path); err != nil {
		return err
	}
	s.process, err = s.b.Procs.Start(measure.Command{Netns: s.netns(), Stderr: s.log,
		Args: []string{s.b.Bin, "proxy", "--data", s.Data, "--listen", s.addr, "--http", s.http}})
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); {
		log, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(log, []byte("listening on")) {
			return nil
		}
		select {
		case <-s.process.Done():
			return fmt.Errorf("the proxy ended: %s", log)
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("the proxy does not come up")
}

// Stop ends the proxy in order.
func (s *Server) Stop() {
	s.process.Stop(Patience)
	s.log.Close()
}

// Kill ends it at once.
func (s *Server) Kill() {
	s.process.Kill()
	s.log.Close()
}

// Remove stops the proxy and frees its disk.
func (s *Server) Remove() {
	s.Stop()
	_ = os.RemoveAll(s.dir) // the whole temporary directory goes at the end, with its error
}

// Metrics reads the proxy's counters, without their prefix.
func (s *Server) Metrics(ctx context.Context) (map[string]float64, error) {
	var out bytes.Buffer
	_, err := s.b.Procs.Run(ctx, measure.Command{Netns: s.netns(), Stdout: &out, Args: []string{s.b.Self, "part", "get", "http://" + s.http + "/metrics"}})
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			m[strings.TrimPrefix(name, "sendonce_")] = v
		}
	}
	return m, nil
}

// Device is an enrolled client with a state directory of its own.
type Device struct {
	s      *Server
	state  string
	daemon *measure.Process
}

// Device enrols a new device and attaches dir as a folder.
func (s *Server) Device(ctx context.Context, name, dir, folder string) (*Device, error) {
	state, err := s.b.Dir("state-" + name)
	if err != nil {
		return nil, err
	}
	d := &Device{s: s, state: state}
	var link bytes.Buffer
	if _, err := s.b.Procs.Run(ctx, measure.Command{Stdout: &link, Args: []string{s.b.Bin, "invite", "--data", s.Data, "--addr", s.addr}}); err != nil {
		return nil, err
	}
	_, err = s.b.Procs.Run(ctx, d.Command(nil, "join", strings.TrimSpace(link.String()), dir, "--folder", folder, "--name", name))
	return d, err
}

// Command returns a command of the program as this device; stdout may be nil.
func (d *Device) Command(stdout *bytes.Buffer, args ...string) measure.Command {
	c := measure.Command{Args: append([]string{d.s.b.Bin}, args...), Env: []string{
		"SENDONCE_STATE=" + d.state, "SENDONCE_SOCKET=" + filepath.Join(d.state, "socket"), "SENDONCE_NO_PROGRESS=true"}}
	if stdout != nil { // a nil *Buffer is no nil Writer
		c.Stdout = stdout
	}
	if d.s.net != nil {
		c.Netns = d.s.net.Client.Netns
	}
	return c
}

// Pass is what one sync cost on both sides.
type Pass struct {
	daemon.Summary
	Client   measure.Usage
	ProxyCPU time.Duration
	ProxyRSS int64 // peak, bytes
}

// Sync runs one pass and waits until the proxy has come to rest. Its exit code
// must be 0.
func (d *Device) Sync(ctx context.Context, args ...string) (p Pass, err error) {
	pid := d.s.process.PID()
	before, err := measure.Quiet(ctx, pid)
	if err != nil {
		return p, err
	}
	if err := measure.ResetPeakRSS(pid); err != nil {
		return p, err
	}
	var out bytes.Buffer
	if p.Client, err = d.s.b.Procs.Run(ctx, d.Command(&out, append([]string{"sync", "--json"}, args...)...)); err != nil {
		return p, err
	}
	after, err := measure.Quiet(ctx, pid)
	if err != nil {
		return p, err
	}
	p.ProxyCPU = after - before
	if p.ProxyRSS, err = measure.PeakRSS(pid); err != nil {
		return p, err
	}
	if err := lastJSON(out.Bytes(), &p.Summary); err != nil {
		return p, err
	}
	if len(p.Skipped)+len(p.Conflicts) > 0 {
		return p, fmt.Errorf("the pass left something out: %v %v", p.Skipped, p.Conflicts)
	}
	d.s.b.Say("sync: %.2f s, client %.2f s CPU %s, proxy %.2f s CPU %s, %+v", p.Client.Wall.Seconds(), p.Client.CPU.Seconds(),
		report.Bytes(float64(p.Client.RSS)), p.ProxyCPU.Seconds(), report.Bytes(float64(p.ProxyRSS)), p.Summary)
	return p, nil
}

// lastJSON reads the last line of progress and summary.
func lastJSON(b []byte, v any) error {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], v); err != nil {
		return fmt.Errorf("no summary in %q: %w", b, err)
	}
	return nil
}

// StartDaemon runs the daemon. It takes bursts together for an hour, so that a pass
// happens when sync asks for it and its bytes are all in one summary.
func (d *Device) StartDaemon(ctx context.Context) (err error) {
	if d.daemon, err = d.s.b.Procs.Start(d.Command(nil, "daemon", "--settle", "1h", "--rescan", "24h")); err != nil {
		return err
	}
	for deadline := time.Now().Add(3 * Patience); time.Now().Before(deadline); {
		var out bytes.Buffer
		var s daemon.Status
		if _, err := d.s.b.Procs.Run(ctx, d.Command(&out, "status", "--json")); err == nil {
			if err := json.Unmarshal(out.Bytes(), &s); err != nil {
				return err
			}
			if s.Daemon && s.Connected && len(s.Folders) == 1 && s.Folders[0].State == "idle" {
				return nil
			}
		}
		select {
		case <-d.daemon.Done():
			_, err := d.daemon.Wait(ctx)
			return fmt.Errorf("the daemon ended: %w", err)
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("the daemon does not become idle")
}

// StopDaemon ends the daemon in order.
func (d *Device) StopDaemon() { d.daemon.Stop(Patience) }

// Restore brings the folder back and returns what that cost: the client, the
// proxy's CPU.
func (d *Device) Restore(ctx context.Context, to string) (u measure.Usage, proxy time.Duration, sum daemon.RestoreSummary, err error) {
	pid := d.s.process.PID()
	before, err := measure.Quiet(ctx, pid)
	if err != nil {
		return u, 0, sum, err
	}
	var out bytes.Buffer
	if u, err = d.s.b.Procs.Run(ctx, d.Command(&out, "restore", "folder", "--to", to, "--json")); err != nil {
		return u, 0, sum, err
	}
	after, err := measure.Quiet(ctx, pid)
	if err != nil {
		return u, 0, sum, err
	}
	return u, after - before, sum, lastJSON(out.Bytes(), &sum)
}

// Wire returns the UDP payload bytes of both ways.
func (p Pass) Wire() float64 { return float64(p.WireSent + p.WireReceived) }
