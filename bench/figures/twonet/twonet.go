// Package twonet makes two network namespaces joined by a veth pair, shapes both
// directions with a token bucket (tc-tbf(8)), and reads the interface counters.
//
// It needs root and iproute2. Everything it makes carries the process ID in its
// name and is gone after Close; what an earlier, killed run left behind is removed
// by the next New. The interfaces do not segment in "hardware", so that a packet
// in the counters is a packet on the wire, headers included.
//
// Read twonet.go first, then sample.go.
package twonet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sendonce/bench/figures/measure"
)

// End is one of the two namespaces.
type End struct {
	Netns string // its name
	Addr  string // IPv4 address
	dev   string
	// holder is a process that lives in the namespace, through which its
	// counters can be read from outside.
	holder *measure.Process
}

// Pair is two joined namespaces.
type Pair struct {
	Client, Server End
}

const prefix = "sofig"

// New makes a pair whose link is not shaped yet. The processes that hold the
// namespaces open belong to g.
func New(ctx context.Context, g *measure.Group) (_ *Pair, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	removeStale(ctx)
	id := os.Getpid()
	p := &Pair{
		Client: End{Netns: fmt.Sprintf("%s%dc", prefix, id), Addr: "10.213.77.1", dev: "so-c"},
		Server: End{Netns: fmt.Sprintf("%s%ds", prefix, id), Addr: "10.213.77.2", dev: "so-s"},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	c, s := &p.Client, &p.Server
	steps := [][]string{
		{"netns", "add", c.Netns},
		{"netns", "add", s.Netns},
		{"link", "add", c.dev, "netns", c.Netns, "type", "veth", "peer", "name", s.dev, "netns", s.Netns},
	}
	for _, e := range []*End{c, s} {
		steps = append(steps,
			[]string{"-n", e.Netns, "addr", "add", e.Addr + "/24", "dev", e.dev},
			[]string{"-n", e.Netns, "link", "set", "dev", e.dev, "gso_max_segs", "1"},
			[]string{"-n", e.Netns, "link", "set", "dev", e.dev, "up"},
			[]string{"-n", e.Netns, "link", "set", "dev", "lo", "up"})
	}
	for _, args := range steps {
		if err := run(ctx, "ip", args...); err != nil {
			return nil, err
		}
	}
	for _, e := range []*End{c, s} {
		if e.holder, err = g.Start(measure.Command{Args: []string{"sleep", "infinity"}, Netns: e.Netns}); err != nil {
			return nil, err
		}
	}
	return p, p.settle(ctx)
}

// settle waits until the holders have entered their namespaces.
func (p *Pair) settle(ctx context.Context) error {
	for range 200 {
		_, a := p.Client.Counters()
		_, b := p.Server.Counters()
		if a == nil && b == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("the namespaces do not come up")
}

// Shape limits both directions to mbit (10^6 bits a second of whole Ethernet
// frames), with a queue of 50 ms and a burst of 16 KiB.
func (p *Pair) Shape(ctx context.Context, mbit int) error {
	for _, e := range []*End{&p.Client, &p.Server} {
		if err := run(ctx, "tc", "-n", e.Netns, "qdisc", "replace", "dev", e.dev, "root", "tbf",
			"rate", strconv.Itoa(mbit)+"mbit", "burst", "16kb", "latency", "50ms"); err != nil {
			return err
		}
	}
	return nil
}

// Close removes both namespaces, and with them the interfaces. It works after
// the context of New has ended too.
func (p *Pair) Close() error {
	var errs []error
	for _, e := range []*End{&p.Client, &p.Server} {
		if e.holder != nil {
			e.holder.Kill()
		}
		if _, err := os.Stat("/run/netns/" + e.Netns); err == nil {
			errs = append(errs, run(context.Background(), "ip", "netns", "del", e.Netns))
		}
	}
	return errors.Join(errs...)
}

// removeStale removes the namespaces of runs whose process is gone.
func removeStale(ctx context.Context) {
	list, err := os.ReadDir("/run/netns")
	if err != nil {
		return // no namespace was ever made
	}
	for _, e := range list {
		id, ok := strings.CutPrefix(e.Name(), prefix)
		pid, err := strconv.Atoi(strings.TrimRight(id, "cs"))
		if ok && err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = run(ctx, "ip", "netns", "del", e.Name()) // in use: the next run tries again
		}
	}
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
