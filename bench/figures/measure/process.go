// Package measure runs programs and says what they cost: wall time, CPU time of
// all threads, peak resident memory. The figures come from the kernel (wait4,
// per-process CPU clocks, /proc), never from the program itself.
//
// Everything started through a Group is known by its process ID and ends at
// Group.Close at the latest; nothing else is ever signalled. It does not promise
// anything on systems other than Linux.
//
// Read process.go first, then live.go and series.go.
package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is a program to run. Args[0] is looked up in PATH.
type Command struct {
	Args   []string
	Env    []string  // added to this process's environment
	Dir    string    // "": this process's
	Netns  string    // a named network namespace ("ip netns"); "": this process's
	Stdout io.Writer // nil: discarded
	Stderr io.Writer // nil: the last few KiB are kept for the error
}

// Usage is what one run cost.
type Usage struct {
	Wall time.Duration
	CPU  time.Duration // user and system, of the process and the children that it waited for
	RSS  int64         // bytes, peak
}

// Group is a set of processes that end together.
type Group struct {
	mu   sync.Mutex
	live map[*Process]struct{}
}

// Process is a running child.
type Process struct {
	cmd   *exec.Cmd
	group *Group
	begun time.Time
	tail  *tail
	done  chan struct{}

	mu    sync.Mutex // guards what follows
	peak  int64
	usage Usage
	err   error
}

// Start starts a program.
func (g *Group) Start(c Command) (*Process, error) {
	args := c.Args
	if c.Netns != "" {
		// ip replaces itself by the program, so that the process ID is the program's.
		args = append([]string{"ip", "netns", "exec", c.Netns}, args...)
	}
	p := &Process{cmd: exec.Command(args[0], args[1:]...), group: g, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Dir = c.Dir
	p.cmd.Stdout, p.cmd.Stderr = c.Stdout, c.Stderr
	if c.Stderr == nil {
		p.tail = &tail{}
		p.cmd.Stderr = p.tail
	}
	// A group of its own: ^C at the terminal reaches this program alone, which
	// then ends its children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.begun = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	if g.live == nil {
		g.live = make(map[*Process]struct{})
	}
	g.live[p] = struct{}{}
	g.mu.Unlock()
	go p.watch()
	go p.reap()
	return p, nil
}

// Run runs a program to its end, or kills it when ctx ends.
func (g *Group) Run(ctx context.Context, c Command) (Usage, error) {
	p, err := g.Start(c)
	if err != nil {
		return Usage{}, err
	}
	return p.Wait(ctx)
}

// watch follows the peak of resident memory. rusage would report the peak of
// this process instead where that is higher, because a child begins as its copy.
func (p *Process) watch() {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if n, err := PeakRSS(p.PID()); err == nil {
			p.mu.Lock()
			p.peak = max(p.peak, n)
			p.mu.Unlock()
		}
		select {
		case <-p.done:
			return
		case <-t.C:
		}
	}
}

func (p *Process) reap() {
	err := p.cmd.Wait()
	wall := time.Since(p.begun)
	p.mu.Lock()
	p.usage = Usage{Wall: wall, CPU: p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), RSS: p.peak}
	if err != nil {
		p.err = fmt.Errorf("%s: %w", strings.Join(p.cmd.Args, " "), err)
		if p.tail != nil && p.tail.String() != "" {
			p.err = fmt.Errorf("%w: %s", p.err, p.tail)
		}
	}
	p.mu.Unlock()
	p.group.mu.Lock()
	delete(p.group.live, p)
	p.group.mu.Unlock()
	close(p.done)
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end. When ctx ends first the process is killed, and the
// error is ctx's.
func (p *Process) Wait(ctx context.Context) (Usage, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		return Usage{}, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usage, p.err
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Stop asks the process to end (SIGTERM) and kills it after patience.
func (p *Process) Stop(patience time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
	}
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Close kills what is still running and waits for it.
func (g *Group) Close() {
	g.mu.Lock()
	var live []*Process
	for p := range g.live {
		live = append(live, p)
	}
	g.mu.Unlock()
	for _, p := range live {
		p.Kill()
	}
}

// ExitCode returns a program's exit code from the error of Wait; 0 for nil, -1
// for a signal or an error of another kind.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
