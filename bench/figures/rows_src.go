package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/twonet"
	"sendonce/daemon"
)

// firstPush pushes dir to a fresh server from a fresh device.
func (b *bench) firstPush(ctx context.Context, pair *twonet.Pair, dir string, args ...string) (pass, error) {
	s, err := b.server(ctx, pair)
	if err != nil {
		return pass{}, err
	}
	defer s.remove()
	d, err := s.device(ctx, "one", dir, "folder")
	if err != nil {
		return pass{}, err
	}
	syscall.Sync()
	return d.sync(ctx, args...)
}

// idBytes is what an offered chunk costs in an Offer frame: its ID and its size.
const idBytes = 32 + 3

func srcPush(ctx context.Context, b *bench) error {
	const row = "src-push"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	tar, err := b.tarZstd(ctx, src)
	if err != nil {
		return err
	}
	r, err := b.rsyncd(ctx, nil)
	if err != nil {
		return err
	}
	defer r.stop()

	var last pass
	var wall, cpu, client, proxy, rss, proxyRSS measure.Series
	var resticWall, resticCPU, rsyncWall, rsyncCPU, fsyncWall, fsyncCPU measure.Series
	for range b.runs {
		if last, err = b.firstPush(ctx, nil, src); err != nil {
			return err
		}
		wall = append(wall, last.client.Wall.Seconds())
		client, proxy = append(client, last.client.CPU.Seconds()), append(proxy, last.proxyCPU.Seconds())
		cpu = append(cpu, (last.client.CPU + last.proxyCPU).Seconds())
		rss, proxyRSS = append(rss, float64(last.client.RSS)), append(proxyRSS, float64(last.proxyRSS))
		syscall.Sync()
		u, err := b.restic(ctx, src)
		if err != nil {
			return err
		}
		resticWall, resticCPU = append(resticWall, u.Wall.Seconds()), append(resticCPU, u.CPU.Seconds())
		for _, x := range []struct {
			flags     []string
			wall, cpu *measure.Series
		}{{nil, &rsyncWall, &rsyncCPU}, {[]string{"--fsync"}, &fsyncWall, &fsyncCPU}} {
			if err := r.empty(); err != nil {
				return err
			}
			syscall.Sync()
			if u, err = r.push(ctx, src, x.flags...); err != nil {
				return err
			}
			*x.wall, *x.cpu = append(*x.wall, u.Wall.Seconds()), append(*x.cpu, u.CPU.Seconds())
		}
	}
	fast, err := b.firstPush(ctx, nil, src, "--level", "fastest")
	if err != nil {
		return err
	}

	packs, up, both := float64(last.PackBytes), float64(last.WireSent), float64(last.WireSent+last.WireReceived)
	b.info(row, "one zstd -3 stream of tar", "B", float64(tar))
	b.atMost(row, "packs / that stream, level default", "x", 1.08, packs/float64(tar))
	b.atMost(row, "packs / that stream, level fastest", "x", 1.15, float64(fast.PackBytes)/float64(tar))
	b.atMost(row, "wire up / packs", "x", 1.07, up/packs)
	b.atMost(row, "wire both / packs", "x", 1.09, both/packs)
	b.info(row, "wire up: packs", "B", packs)
	b.info(row, "wire up: IDs and sizes offered (35 B a chunk)", "B", float64(idBytes*last.Chunks))
	b.info(row, "wire up: rest (names and metadata, frames, QUIC)", "B", up-packs-float64(idBytes*last.Chunks))
	b.info(row, "wire down", "B", float64(last.WireReceived))

	// Ratios first: they are what a noisy machine leaves valid.
	b.atMost(row, "wall / restic backup", "x", 1, wall.Over(resticWall)...)
	b.atMost(row, "CPU of client and proxy / restic backup", "x", 1, cpu.Over(resticCPU)...)
	b.info(row, "wall", "s", wall...)
	b.info(row, "wall, restic backup to a local repository", "s", resticWall...)
	b.info(row, "wall, rsync -a to a local daemon", "s", rsyncWall...)
	b.info(row, "wall, rsync -a --fsync to a local daemon", "s", fsyncWall...)
	b.info(row, "CPU, client and proxy", "s", cpu...)
	b.info(row, "CPU, client", "s", client...)
	b.info(row, "CPU, proxy", "s", proxy...)
	b.info(row, "CPU, restic", "s", resticCPU...)
	b.info(row, "CPU, rsync -a, both ends", "s", rsyncCPU...)
	b.info(row, "CPU, rsync -a --fsync, both ends", "s", fsyncCPU...)
	b.atMost(row, "peak memory, client", "B", clientMemory, rss...)
	b.atMost(row, "peak memory, proxy", "B", proxyMemory, proxyRSS...)
	return nil
}

// The most memory that either side may use.
const (
	clientMemory = 100e6
	proxyMemory  = 300e6
)

// packetOverhead is what QUIC adds to a full packet: flags and connection ID (1 +
// 4), packet number (2), stream frame header (9), authentication tag (16).
const packetOverhead = 32

func srcSlow(ctx context.Context, b *bench) error {
	const row = "src-100mbit"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	r, err := b.rsyncd(ctx, b.net)
	if err != nil {
		return err
	}
	defer r.stop()
	var wall, rsync measure.Series
	var last pass
	var frames twonet.Counters
	var datagrams int64
	for range min(b.runs, 3) { // a run takes 15 s, and the link's rate leaves little to vary
		before, err := b.net.Client.Counters()
		if err != nil {
			return err
		}
		udp, err := measure.Datagrams(b.net.Server.PID())
		if err != nil {
			return err
		}
		if last, err = b.firstPush(ctx, b.net, src); err != nil {
			return err
		}
		wall = append(wall, last.client.Wall.Seconds())
		after, err := b.net.Client.Counters()
		if err != nil {
			return err
		}
		frames = after.Sub(before)
		if datagrams, err = measure.Datagrams(b.net.Server.PID()); err != nil {
			return err
		}
		datagrams -= udp
		if err := r.empty(); err != nil {
			return err
		}
		syscall.Sync()
		u, err := r.push(ctx, src)
		if err != nil {
			return err
		}
		rsync = append(rsync, u.Wall.Seconds())
	}
	b.atMost(row, "wall / rsync -a", "x", 0.4, wall.Over(rsync)...)
	b.info(row, "wall", "s", wall...)
	b.info(row, "wall, rsync -a to a daemon over the same link", "s", rsync...)
	b.info(row, "interface bytes up, join included", "B", float64(frames.TxBytes))
	b.info(row, "interface bytes down, join included", "B", float64(frames.RxBytes))
	b.info(row, "UDP datagrams up", "", float64(datagrams))
	b.info(row, "QUIC's part of wire up (32 B a datagram, estimated)", "B", float64(datagrams*packetOverhead))
	b.info(row, "rest of wire up beyond packs, IDs and QUIC", "B", float64(last.WireSent-last.PackBytes-idBytes*last.Chunks-datagrams*packetOverhead))
	return nil
}

func restore(ctx context.Context, b *bench) error {
	const row = "restore"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	s, err := b.server(ctx, nil)
	if err != nil {
		return err
	}
	defer s.remove()
	d, err := s.device(ctx, "one", src, "folder")
	if err != nil {
		return err
	}
	pushed, err := d.sync(ctx)
	if err != nil {
		return err
	}
	to := filepath.Join(b.tmp, "restored")
	var wall, client, proxy, again measure.Series
	var first, second daemon.RestoreSummary
	for range min(b.runs, 3) {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		syscall.Sync()
		u, p, sum, err := d.restore(ctx, to)
		if err != nil {
			return err
		}
		wall, client, proxy = append(wall, u.Wall.Seconds()), append(client, u.CPU.Seconds()), append(proxy, p.Seconds())
		first = sum
		u, _, second, err = d.restore(ctx, to)
		if err != nil {
			return err
		}
		again = append(again, u.Wall.Seconds())
	}
	err = b.same(ctx, src, to)
	b.holds(row, "restored equals the source, byte for byte", "equal", err == nil, equalText(err))
	b.info(row, "wall, into an empty directory", "s", wall...)
	b.info(row, "CPU, client", "s", client...)
	b.info(row, "CPU, proxy", "s", proxy...)
	b.info(row, "wire down", "B", float64(first.WireReceived))
	b.info(row, "wire down / packs of the push", "x", float64(first.WireReceived)/float64(pushed.PackBytes))
	b.info(row, "wire up", "B", float64(first.WireSent))
	b.info(row, "wall, over the same files", "s", again...)
	b.info(row, "over the same files: wire both", "B", float64(second.WireReceived+second.WireSent))
	b.holds(row, "over the same files: bytes fetched", "0", second.BytesFetched == 0, bytesText(float64(second.BytesFetched)))
	b.info(row, "over the same files: found unchanged", "files", float64(second.Unchanged))
	return nil
}

func equalText(err error) string {
	if err == nil {
		return "equal"
	}
	return err.Error()
}

// restore brings the folder back and returns what that cost: the client, the
// proxy's CPU.
func (d *device) restore(ctx context.Context, to string) (u measure.Usage, proxy time.Duration, sum daemon.RestoreSummary, err error) {
	pid := d.s.process.PID()
	before, err := measure.Quiet(ctx, pid)
	if err != nil {
		return u, 0, sum, err
	}
	var out bytes.Buffer
	if u, err = d.s.b.procs.Run(ctx, d.command(&out, "restore", "folder", "--to", to, "--json")); err != nil {
		return u, 0, sum, err
	}
	after, err := measure.Quiet(ctx, pid)
	if err != nil {
		return u, 0, sum, err
	}
	return u, after - before, sum, lastJSON(out.Bytes(), &sum)
}
