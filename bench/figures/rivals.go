package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/twonet"
)

// rsyncd is an rsync daemon that serves one empty directory.
type rsyncd struct {
	b       *bench
	dir     string
	url     string
	netns   string // of the client
	process *measure.Process
}

func (b *bench) rsyncd(ctx context.Context, pair *twonet.Pair) (*rsyncd, error) {
	dir, err := b.dir("rsync")
	if err != nil {
		return nil, err
	}
	r := &rsyncd{b: b, dir: dir}
	host, server := "127.0.0.1", ""
	if pair != nil {
		host, server, r.netns = pair.Server.Addr, pair.Server.Netns, pair.Client.Netns
	}
	port, err := freePort("tcp")
	if err != nil {
		return nil, err
	}
	r.url = fmt.Sprintf("rsync://%s:%s/m/", host, port)
	conf := fmt.Sprintf("use chroot = no\n[m]\npath = %s/m\nread only = no\n", dir)
	if os.Geteuid() == 0 {
		conf += "uid = 0\ngid = 0\n"
	}
	file := filepath.Join(dir, "conf")
	if err := errors.Join(os.Mkdir(dir+"/m", 0o755), os.WriteFile(file, []byte(conf), 0o644)); err != nil {
		return nil, err
	}
	r.process, err = b.procs.Start(measure.Command{Netns: server, Args: []string{"rsync", "--daemon", "--no-detach", "--config=" + file, "--address=" + host, "--port=" + port, "--log-file=" + dir + "/log"}})
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		// Asked from the client's side, so that it works in namespaces too.
		if _, err := b.procs.Run(ctx, measure.Command{Netns: r.netns, Args: []string{"rsync", "-q", r.url}}); err == nil {
			return r, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the rsync daemon does not come up")
}

// push copies dir with rsync -a; the CPU is both ends'.
func (r *rsyncd) push(ctx context.Context, dir string, flags ...string) (measure.Usage, error) {
	before, err := measure.ChildrenCPU(r.process.PID())
	if err != nil {
		return measure.Usage{}, err
	}
	args := append([]string{"rsync", "-a"}, flags...)
	u, err := r.b.procs.Run(ctx, measure.Command{Netns: r.netns, Args: append(args, dir+"/", r.url)})
	if err != nil {
		return u, err
	}
	if err := pause(ctx, 50*time.Millisecond); err != nil { // the daemon reaps its child
		return u, err
	}
	after, err := measure.ChildrenCPU(r.process.PID())
	u.CPU += after - before
	return u, err
}

// empty makes the served directory empty again.
func (r *rsyncd) empty() error {
	m := filepath.Join(r.dir, "m")
	return errors.Join(os.RemoveAll(m), os.Mkdir(m, 0o755))
}

func (r *rsyncd) stop() {
	r.process.Stop(patience)
	_ = os.RemoveAll(r.dir) // see server.remove
}

// restic backs dir up into a fresh local repository and returns what the backup
// alone cost.
func (b *bench) restic(ctx context.Context, dir string) (measure.Usage, error) {
	tmp, err := b.dir("restic")
	if err != nil {
		return measure.Usage{}, err
	}
	defer os.RemoveAll(tmp)
	env := []string{"RESTIC_REPOSITORY=" + tmp + "/repo", "RESTIC_PASSWORD=x", "RESTIC_CACHE_DIR=" + tmp + "/cache"}
	if _, err := b.procs.Run(ctx, measure.Command{Env: env, Args: []string{"restic", "init", "-q"}}); err != nil {
		return measure.Usage{}, err
	}
	return b.procs.Run(ctx, measure.Command{Env: env, Args: []string{"restic", "backup", "-q", dir}})
}

// tarZstd returns the bytes of one zstd -3 stream of a tar of dir.
func (b *bench) tarZstd(ctx context.Context, dir string) (int64, error) {
	var n counter
	_, err := b.procs.Run(ctx, measure.Command{Stdout: &n, Args: []string{"sh", "-c", `tar --sort=name --numeric-owner -C "$1" -cf - . | zstd -q -3 -c`, "sh", dir}})
	return int64(n), err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// same compares two trees byte for byte.
func (b *bench) same(ctx context.Context, x, y string) error {
	var out bytes.Buffer
	if _, err := b.procs.Run(ctx, measure.Command{Stdout: &out, Args: []string{"diff", "-r", "-q", "--no-dereference", x, y}}); err != nil {
		return fmt.Errorf("%w: %.500s", err, out.String())
	}
	return nil
}
