package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/report"
	"sendonce/bench/figures/twonet"
	"sendonce/bench/figures/world"
	"sendonce/daemon"
)

// firstPush pushes dir to a fresh server from a fresh device.
func (b *bench) firstPush(ctx context.Context, pair *twonet.Pair, dir string, args ...string) (world.Pass, error) {
	s, err := b.Server(ctx, pair)
	if err != nil {
		return world.Pass{}, err
	}
	defer s.Remove()
	d, err := s.Device(ctx, "one", dir, "folder")
	if err != nil {
		return world.Pass{}, err
	}
	syscall.Sync()
	return d.Sync(ctx, args...)
}

// idBytes is what an offered chunk costs in an Offer frame: its ID and its size.
const idBytes = 32 + 3

func srcPush(ctx context.Context, b *bench) error {
	const row = "src-push"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	tar, err := b.TarZstd(ctx, src)
	if err != nil {
		return err
	}
	r, err := b.Rsyncd(ctx, nil)
	if err != nil {
		return err
	}
	defer r.Stop()

	var last world.Pass
	var wall, cpu, client, proxy, rss, proxyRSS measure.Series
	var resticWall, resticCPU, rsyncWall, rsyncCPU, fsyncWall, fsyncCPU measure.Series
	for i := range b.Runs {
		if last, err = b.firstPush(ctx, nil, src); err != nil {
			return err
		}
		wall = append(wall, last.Client.Wall.Seconds())
		client, proxy = append(client, last.Client.CPU.Seconds()), append(proxy, last.ProxyCPU.Seconds())
		cpu = append(cpu, (last.Client.CPU + last.ProxyCPU).Seconds())
		rss, proxyRSS = append(rss, float64(last.Client.RSS)), append(proxyRSS, float64(last.ProxyRSS))
		syscall.Sync()
		u, err := b.Restic(ctx, src)
		if err != nil {
			return err
		}
		resticWall, resticCPU = append(resticWall, u.Wall.Seconds()), append(resticCPU, u.CPU.Seconds())
		for _, x := range []struct {
			flags     []string
			wall, cpu *measure.Series
		}{{nil, &rsyncWall, &rsyncCPU}, {[]string{"--fsync"}, &fsyncWall, &fsyncCPU}} {
			if x.flags != nil && i >= 2 {
				continue // it may take a minute on a slow disk
			}
			if err := r.Empty(); err != nil {
				return err
			}
			syscall.Sync()
			if u, err = r.Push(ctx, src, x.flags...); err != nil {
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
	b.Info(row, "one zstd -3 stream of tar", "B", float64(tar))
	b.AtMost(row, "packs / that stream, level default", "x", 1.08, packs/float64(tar))
	b.AtMost(row, "packs / that stream, level fastest", "x", 1.15, float64(fast.PackBytes)/float64(tar))
	b.AtMost(row, "wire up / packs", "x", 1.07, up/packs)
	b.AtMost(row, "wire both / packs", "x", 1.09, both/packs)
	b.Info(row, "wire up: packs", "B", packs)
	b.Info(row, "wire up: IDs and sizes offered (35 B a chunk)", "B", float64(idBytes*last.Chunks))
	b.Info(row, "wire up: rest (names and metadata, frames, QUIC)", "B", up-packs-float64(idBytes*last.Chunks))
	b.Info(row, "wire down", "B", float64(last.WireReceived))

	// Ratios first: they are what a noisy machine leaves valid.
	b.AtMost(row, "wall / restic backup", "x", 1, wall.Over(resticWall)...)
	b.AtMost(row, "CPU of client and proxy / restic backup", "x", 1, cpu.Over(resticCPU)...)
	b.Info(row, "wall", "s", wall...)
	b.Info(row, "wall, restic backup to a local repository", "s", resticWall...)
	b.Info(row, "wall, rsync -a to a local daemon", "s", rsyncWall...)
	b.Info(row, "wall, rsync -a --fsync to a local daemon", "s", fsyncWall...)
	b.Info(row, "CPU, client and proxy", "s", cpu...)
	b.Info(row, "CPU, client", "s", client...)
	b.Info(row, "CPU, proxy", "s", proxy...)
	b.Info(row, "CPU, restic", "s", resticCPU...)
	b.Info(row, "CPU, rsync -a, both ends", "s", rsyncCPU...)
	b.Info(row, "CPU, rsync -a --fsync, both ends", "s", fsyncCPU...)
	b.AtMost(row, "peak memory, client", "B", clientMemory, rss...)
	b.AtMost(row, "peak memory, proxy", "B", proxyMemory, proxyRSS...)
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
	r, err := b.Rsyncd(ctx, b.net)
	if err != nil {
		return err
	}
	defer r.Stop()
	var wall, rsync measure.Series
	var last world.Pass
	var frames twonet.Counters
	var datagrams int64
	for range min(b.Runs, 3) { // a run takes 15 s, and the link's rate leaves little to vary
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
		wall = append(wall, last.Client.Wall.Seconds())
		after, err := b.net.Client.Counters()
		if err != nil {
			return err
		}
		frames = after.Sub(before)
		if datagrams, err = measure.Datagrams(b.net.Server.PID()); err != nil {
			return err
		}
		datagrams -= udp
		if err := r.Empty(); err != nil {
			return err
		}
		syscall.Sync()
		u, err := r.Push(ctx, src)
		if err != nil {
			return err
		}
		rsync = append(rsync, u.Wall.Seconds())
	}
	b.AtMost(row, "wall / rsync -a", "x", 0.4, wall.Over(rsync)...)
	b.Info(row, "wall", "s", wall...)
	b.Info(row, "wall, rsync -a to a daemon over the same link", "s", rsync...)
	b.AtMost(row, "wire up / packs", "x", 1.07, float64(last.WireSent)/float64(last.PackBytes))
	b.AtMost(row, "wire both / packs", "x", 1.09, last.Wire()/float64(last.PackBytes))
	b.Info(row, "interface bytes up, join included", "B", float64(frames.TxBytes))
	b.Info(row, "interface bytes down, join included", "B", float64(frames.RxBytes))
	b.Info(row, "UDP datagrams up", "", float64(datagrams))
	b.Info(row, "QUIC's part of wire up (32 B a datagram, estimated)", "B", float64(datagrams*packetOverhead))
	b.Info(row, "rest of wire up beyond packs, IDs and QUIC", "B", float64(last.WireSent-last.PackBytes-idBytes*last.Chunks-datagrams*packetOverhead))
	return nil
}

func restore(ctx context.Context, b *bench) error {
	const row = "restore"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	s, err := b.Server(ctx, nil)
	if err != nil {
		return err
	}
	defer s.Remove()
	d, err := s.Device(ctx, "one", src, "folder")
	if err != nil {
		return err
	}
	pushed, err := d.Sync(ctx)
	if err != nil {
		return err
	}
	to := filepath.Join(b.Tmp, "restored")
	var wall, client, proxy, again measure.Series
	var first, second daemon.RestoreSummary
	for range min(b.Runs, 3) {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		syscall.Sync()
		u, p, sum, err := d.Restore(ctx, to)
		if err != nil {
			return err
		}
		wall, client, proxy = append(wall, u.Wall.Seconds()), append(client, u.CPU.Seconds()), append(proxy, p.Seconds())
		first = sum
		u, _, second, err = d.Restore(ctx, to)
		if err != nil {
			return err
		}
		again = append(again, u.Wall.Seconds())
	}
	err = b.Same(ctx, src, to)
	b.Holds(row, "restored equals the source, byte for byte", "equal", err == nil, equalText(err))
	b.Info(row, "wall, into an empty directory", "s", wall...)
	b.Info(row, "CPU, client", "s", client...)
	b.Info(row, "CPU, proxy", "s", proxy...)
	b.Info(row, "wire down", "B", float64(first.WireReceived))
	b.Info(row, "wire down / packs of the push", "x", float64(first.WireReceived)/float64(pushed.PackBytes))
	b.Info(row, "wire up", "B", float64(first.WireSent))
	b.Info(row, "wall, over the same files", "s", again...)
	b.Info(row, "over the same files: wire both", "B", float64(second.WireReceived+second.WireSent))
	b.Holds(row, "over the same files: bytes fetched", "0", second.BytesFetched == 0, report.Bytes(float64(second.BytesFetched)))
	b.Info(row, "over the same files: found unchanged", "files", float64(second.Unchanged))
	return nil
}

func equalText(err error) string {
	if err == nil {
		return "equal"
	}
	return err.Error()
}
