package main

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
	"sendonce/bench/figures/twonet"
	"sendonce/daemon"
)

// server is a proxy with its data, in a process of its own.
type server struct {
	b        *bench
	dir      string
	data     string
	addr     string       // by which devices reach it
	http     string       // of its metrics
	net      *twonet.Pair // nil: loopback
	process  *measure.Process
	log      *os.File
	lastCPU  time.Duration
	stopping bool
}

// patience is for anything that should take a moment.
const patience = 20 * time.Second

// server starts a proxy with empty data; over the shaped link if net is set.
func (b *bench) server(ctx context.Context, net *twonet.Pair) (*server, error) {
	dir, err := b.dir("server")
	if err != nil {
		return nil, err
	}
	s := &server{b: b, dir: dir, data: filepath.Join(dir, "data"), net: net}
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
	return s, s.start(ctx)
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

func (s *server) netns() string {
	if s.net == nil {
		return ""
	}
	return s.net.Server.Netns
}

func (s *server) start(ctx context.Context) (err error) {
	path := filepath.Join(s.dir, "log")
	if s.log, err = os.Create(path); err != nil {
		return err
	}
	s.process, err = s.b.procs.Start(measure.Command{Netns: s.netns(), Stderr: s.log,
		Args: []string{s.b.bin, "proxy", "--data", s.data, "--listen", s.addr, "--http", s.http}})
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
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

// stop ends the proxy in order.
func (s *server) stop() {
	s.process.Stop(patience)
	s.log.Close()
}

// kill ends it at once.
func (s *server) kill() {
	s.process.Kill()
	s.log.Close()
}

// remove stops the proxy and frees its disk.
func (s *server) remove() {
	s.stop()
	_ = os.RemoveAll(s.dir) // the whole temporary directory goes at the end, with its error
}

// metrics reads the proxy's counters, without their prefix.
func (s *server) metrics(ctx context.Context) (map[string]float64, error) {
	var out bytes.Buffer
	_, err := s.b.procs.Run(ctx, measure.Command{Netns: s.netns(), Stdout: &out, Args: []string{s.b.self, "part", "get", "http://" + s.http + "/metrics"}})
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

// device is an enrolled client with a state directory of its own.
type device struct {
	s      *server
	state  string
	daemon *measure.Process
}

// device enrols a new device and attaches dir as a folder.
func (s *server) device(ctx context.Context, name, dir, folder string) (*device, error) {
	state, err := s.b.dir("state-" + name)
	if err != nil {
		return nil, err
	}
	d := &device{s: s, state: state}
	var link bytes.Buffer
	if _, err := s.b.procs.Run(ctx, measure.Command{Stdout: &link, Args: []string{s.b.bin, "invite", "--data", s.data, "--addr", s.addr}}); err != nil {
		return nil, err
	}
	_, err = s.b.procs.Run(ctx, d.command(nil, "join", strings.TrimSpace(link.String()), dir, "--folder", folder, "--name", name))
	return d, err
}

func (d *device) command(stdout *bytes.Buffer, args ...string) measure.Command {
	c := measure.Command{Args: append([]string{d.s.b.bin}, args...), Env: []string{
		"SENDONCE_STATE=" + d.state, "SENDONCE_SOCKET=" + filepath.Join(d.state, "socket"), "SENDONCE_NO_PROGRESS=true"}}
	if stdout != nil { // a nil *Buffer is no nil Writer
		c.Stdout = stdout
	}
	if d.s.net != nil {
		c.Netns = d.s.net.Client.Netns
	}
	return c
}

// pass is what one sync cost on both sides.
type pass struct {
	daemon.Summary
	client   measure.Usage
	proxyCPU time.Duration
	proxyRSS int64
}

// sync runs one pass and waits until the proxy has come to rest. Its exit code
// must be 0.
func (d *device) sync(ctx context.Context, args ...string) (p pass, err error) {
	pid := d.s.process.PID()
	before, err := measure.Quiet(ctx, pid)
	if err != nil {
		return p, err
	}
	if err := measure.ResetPeakRSS(pid); err != nil {
		return p, err
	}
	var out bytes.Buffer
	if p.client, err = d.s.b.procs.Run(ctx, d.command(&out, append([]string{"sync", "--json"}, args...)...)); err != nil {
		return p, err
	}
	after, err := measure.Quiet(ctx, pid)
	if err != nil {
		return p, err
	}
	p.proxyCPU = after - before
	if p.proxyRSS, err = measure.PeakRSS(pid); err != nil {
		return p, err
	}
	if err := lastJSON(out.Bytes(), &p.Summary); err != nil {
		return p, err
	}
	if len(p.Skipped)+len(p.Conflicts) > 0 {
		return p, fmt.Errorf("the pass left something out: %v %v", p.Skipped, p.Conflicts)
	}
	d.s.b.say("sync: %.2f s, client %.2f s CPU %s, proxy %.2f s CPU %s, %+v", p.client.Wall.Seconds(), p.client.CPU.Seconds(),
		bytesText(float64(p.client.RSS)), p.proxyCPU.Seconds(), bytesText(float64(p.proxyRSS)), p.Summary)
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

// start runs the daemon. It takes bursts together for an hour, so that a pass
// happens when sync asks for it and its bytes are all in one summary.
func (d *device) start(ctx context.Context) (err error) {
	if d.daemon, err = d.s.b.procs.Start(d.command(nil, "daemon", "--settle", "1h", "--rescan", "24h")); err != nil {
		return err
	}
	for deadline := time.Now().Add(3 * patience); time.Now().Before(deadline); {
		var out bytes.Buffer
		var s daemon.Status
		if _, err := d.s.b.procs.Run(ctx, d.command(&out, "status", "--json")); err == nil {
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

func (d *device) stop() { d.daemon.Stop(patience) }
