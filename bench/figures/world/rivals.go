package world

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

// Rsyncd is an rsync daemon that serves one empty directory.
type Rsyncd struct {
	b       *World
	dir     string
	url     string
	netns   string // of the client
	process *measure.Process
}

// Rsyncd starts an rsync daemon, in the server's namespace if pair is not nil.
func (b *World) Rsyncd(ctx context.Context, pair *twonet.Pair) (*Rsyncd, error) {
	dir, err := b.Dir("rsync")
	if err != nil {
		return nil, err
	}
	r := &Rsyncd{b: b, dir: dir}
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
	r.process, err = b.Procs.Start(measure.Command{Netns: server, Args: []string{"rsync", "--daemon", "--no-detach", "--config=" + file, "--address=" + host, "--port=" + port, "--log-file=" + dir + "/log"}})
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); {
		// Asked from the client's side, so that it works in namespaces too.
		if _, err := b.Procs.Run(ctx, measure.Command{Netns: r.netns, Args: []string{"rsync", "-q", r.url}}); err == nil {
			return r, nil
		}
		if err := Pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the rsync daemon does not come up")
}

// Push copies dir with rsync -a; the CPU is both ends'.
func (r *Rsyncd) Push(ctx context.Context, dir string, flags ...string) (measure.Usage, error) {
	before, err := measure.ChildrenCPU(r.process.PID())
	if err != nil {
		return measure.Usage{}, err
	}
	args := append([]string{"rsync", "-a"}, flags...)
	u, err := r.b.Procs.Run(ctx, measure.Command{Netns: r.netns, Args: append(args, dir+"/", r.url)})
	if err != nil {
		return u, err
	}
	if err := Pause(ctx, 50*time.Millisecond); err != nil { // the daemon reaps its child
		return u, err
	}
	after, err := measure.ChildrenCPU(r.process.PID())
	u.CPU += after - before
	return u, err
}

// Empty makes the served directory empty again.
func (r *Rsyncd) Empty() error {
	m := filepath.Join(r.dir, "m")
	return errors.Join(os.RemoveAll(m), os.Mkdir(m, 0o755))
}

// Stop ends the daemon and frees its disk.
func (r *Rsyncd) Stop() {
	r.process.Stop(Patience)
	_ = os.RemoveAll(r.dir) // see server.remove
}

// Restic backs dir up into a fresh local repository and returns what the backup
// alone cost.
func (b *World) Restic(ctx context.Context, dir string) (measure.Usage, error) {
	tmp, err := b.Dir("restic")
	if err != nil {
		return measure.Usage{}, err
	}
	defer os.RemoveAll(tmp)
	env := []string{"RESTIC_REPOSITORY=" + tmp + "/repo", "RESTIC_PASSWORD=x", "RESTIC_CACHE_DIR=" + tmp + "/cache"}
	if _, err := b.Procs.Run(ctx, measure.Command{Env: env, Args: []string{"restic", "init", "-q"}}); err != nil {
		return measure.Usage{}, err
	}
	return b.Procs.Run(ctx, measure.Command{Env: env, Args: []string{"restic", "backup", "-q", dir}})
}

// TarZstd returns the bytes of one zstd -3 stream of a tar of dir.
func (b *World) TarZstd(ctx context.Context, dir string) (int64, error) {
	var n counter
	_, err := b.Procs.Run(ctx, measure.Command{Stdout: &n, Args: []string{"sh", "-c", `tar --sort=name --numeric-owner -C "$1" -cf - . | zstd -q -3 -c`, "sh", dir}})
	return int64(n), err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// Same compares two trees byte for byte.
func (b *World) Same(ctx context.Context, x, y string) error {
	var out bytes.Buffer
	if _, err := b.Procs.Run(ctx, measure.Command{Stdout: &out, Args: []string{"diff", "-r", "-q", "--no-dereference", x, y}}); err != nil {
		return fmt.Errorf("%w: %.500s", err, out.String())
	}
	return nil
}
