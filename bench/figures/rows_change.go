package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/twonet"
	"sendonce/bench/figures/world"
)

func noChange(ctx context.Context, b *bench) error {
	const row = "nochange"
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
	if _, err := d.Sync(ctx); err != nil {
		return err
	}
	r, err := b.Rsyncd(ctx, nil)
	if err != nil {
		return err
	}
	defer r.Stop()
	if _, err := r.Push(ctx, src); err != nil {
		return err
	}

	// In a process of its own, in turn with rsync.
	var wall, cpu, rsync, rsyncCPU, wire measure.Series
	var opened, read int64
	for range 2 * b.Runs {
		p, err := d.Sync(ctx)
		if err != nil {
			return err
		}
		wall, cpu, wire = append(wall, p.Client.Wall.Seconds()), append(cpu, (p.Client.CPU+p.ProxyCPU).Seconds()), append(wire, p.Wire())
		opened, read = max(opened, p.FilesRead), max(read, p.BytesRead)
		u, err := r.Push(ctx, src)
		if err != nil {
			return err
		}
		rsync, rsyncCPU = append(rsync, u.Wall.Seconds()), append(rsyncCPU, u.CPU.Seconds())
	}
	b.AtMost(row, "own process: UDP payload both ways, handshake included", "B", 8000, wire...)
	b.AtMost(row, "files opened", "", 0, float64(opened))
	b.AtMost(row, "bytes of files read", "B", 0, float64(read))
	b.AtMost(row, "wall / rsync -a to a local daemon", "x", 1, wall.Over(rsync)...)
	b.Info(row, "wall", "s", wall...)
	b.Info(row, "wall, rsync -a", "s", rsync...)
	b.Info(row, "CPU, client and proxy", "s", cpu...)
	b.Info(row, "CPU, rsync -a, both ends", "s", rsyncCPU...)

	return noChangeDaemon(ctx, b, row, src)
}

// noChangeDaemon asks a running daemon for a pass. As root it does so over a link
// of its own, whose counters check what the summary says.
func noChangeDaemon(ctx context.Context, b *bench, row, src string) error {
	if err := b.network(ctx); err != nil {
		return err
	}
	s, err := b.Server(ctx, b.net)
	if err != nil {
		return err
	}
	defer s.Remove()
	d, err := s.Device(ctx, "one", src, "folder")
	if err != nil {
		return err
	}
	if _, err := d.Sync(ctx); err != nil {
		return err
	}
	if err := d.StartDaemon(ctx); err != nil {
		return err
	}
	defer d.StopDaemon()
	var wire, wall, frames measure.Series
	var opened int64
	for range b.Runs {
		var before, after twonet.Counters
		if b.net != nil {
			if before, err = b.net.Client.Counters(); err != nil {
				return err
			}
		}
		p, err := d.Sync(ctx)
		if err != nil {
			return err
		}
		if b.net != nil {
			if after, err = b.net.Client.Counters(); err != nil {
				return err
			}
			c := after.Sub(before)
			frames = append(frames, float64(c.TxBytes+c.RxBytes))
		}
		wire, wall, opened = append(wire, p.Wire()), append(wall, p.Client.Wall.Seconds()), max(opened, p.FilesRead)
	}
	b.AtMost(row, "running daemon: UDP payload both ways", "B", 2000, wire...)
	if b.net != nil {
		b.AtMost(row, "running daemon: interface bytes both ways, idle time included", "B", 2000, frames...)
	}
	b.AtMost(row, "running daemon: files opened", "", 0, float64(opened))
	b.Info(row, "running daemon: wall", "s", wall...)
	return nil
}

const (
	manyNames = 10_000 // in the directory that is renamed
	editSize  = 1 << 30
)

func smallEdits(ctx context.Context, b *bench) error {
	const row = "small-edits"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	dir, err := b.Dir("edits")
	if err != nil {
		return err
	}
	big := filepath.Join(dir, "big")
	if err := corpus.CopyTree(filepath.Join(dir, "src"), src); err != nil {
		return err
	}
	if err := corpus.Small(filepath.Join(dir, "many"), manyNames, 100, manyNames*500, 21); err != nil {
		return err
	}
	if err := corpus.Random(big, editSize, 22); err != nil {
		return err
	}
	if err := world.Pause(ctx, corpus.Age); err != nil {
		return err
	}
	s, err := b.Server(ctx, nil)
	if err != nil {
		return err
	}
	defer s.Remove()
	d, err := s.Device(ctx, "one", dir, "folder")
	if err != nil {
		return err
	}
	if _, err := d.Sync(ctx); err != nil {
		return err
	}
	if err := d.StartDaemon(ctx); err != nil {
		return err
	}
	defer d.StopDaemon()
	if p, err := d.Sync(ctx); err != nil {
		return err
	} else if p.FilesRead > 0 || p.Changes > 0 {
		return fmt.Errorf("a second pass read %d files and committed %d changes", p.FilesRead, p.Changes)
	}

	// edit makes a change three times and reports the bytes of each.
	edit := func(times int, change func(i int) error) (list []world.Pass, wire measure.Series, err error) {
		for i := range times {
			if err := change(i); err != nil {
				return nil, nil, err
			}
			if err := world.Pause(ctx, corpus.Age); err != nil {
				return nil, nil, err
			}
			p, err := d.Sync(ctx)
			if err != nil {
				return nil, nil, err
			}
			if p.Changes == 0 {
				return nil, nil, fmt.Errorf("a change was not found")
			}
			list, wire = append(list, p), append(wire, p.Wire())
		}
		return list, wire, nil
	}

	list, wire, err := edit(3, func(i int) error {
		return corpus.InsertLine(filepath.Join(dir, "src", "net", "http", "server.go"), fmt.Sprintf("// edit %d of this line", i))
	})
	if err != nil {
		return err
	}
	b.Info(row, "a line added to net/http/server.go: wire both ways", "B", wire...)
	b.Info(row, "a line added: packs", "B", float64(list[0].PackBytes))
	b.Info(row, "a line added: chunks sent", "", float64(list[0].ChunksMissing))

	if list, wire, err = edit(2, func(i int) error { return corpus.AppendRandom(big, 1024, uint64(30+i)) }); err != nil {
		return err
	}
	b.Info(row, "1 KiB appended to 1 GiB: wire both ways", "B", wire...)
	b.Info(row, "1 KiB appended: chunks sent", "", float64(list[0].ChunksMissing))
	b.Info(row, "1 KiB appended: wall", "s", list[0].Client.Wall.Seconds())

	names := []string{"many", "renamed", "again"}
	if list, wire, err = edit(2, func(i int) error {
		return os.Rename(filepath.Join(dir, names[i]), filepath.Join(dir, names[i+1]))
	}); err != nil {
		return err
	}
	opened := int64(0)
	for _, p := range list {
		opened = max(opened, p.FilesRead)
	}
	b.AtMost(row, "10,000 files' directory renamed: wire both ways", "B", 1000, wire...)
	b.AtMost(row, "directory renamed: files opened", "", 0, float64(opened))

	if list, wire, err = edit(1, func(int) error {
		return b.copyFile(ctx, big, filepath.Join(dir, "copy"))
	}); err != nil {
		return err
	}
	b.AtMost(row, "1 GiB file copied: chunk bytes sent", "B", 0, float64(list[0].PackBytes))
	b.Info(row, "1 GiB file copied: wire both ways", "B", wire...)
	b.Info(row, "1 GiB file copied: wire both ways a chunk", "B", wire[0]/float64(max(1, list[0].Chunks)))
	b.Info(row, "1 GiB file copied: wall", "s", list[0].Client.Wall.Seconds())
	return nil
}

func (b *bench) copyFile(ctx context.Context, from, to string) error {
	_, err := b.Procs.Run(ctx, measure.Command{Args: []string{"cp", "--reflink=never", from, to}})
	return err
}

func secondDevice(ctx context.Context, b *bench) error {
	const row = "second-device"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	other := filepath.Join(b.Tmp, "other")
	if err := corpus.CopyTree(other, src); err != nil {
		return err
	}
	s, err := b.Server(ctx, nil)
	if err != nil {
		return err
	}
	defer s.Remove()
	one, err := s.Device(ctx, "one", src, "first")
	if err != nil {
		return err
	}
	first, err := one.Sync(ctx)
	if err != nil {
		return err
	}
	if err := world.Pause(ctx, corpus.Age); err != nil {
		return err
	}
	two, err := s.Device(ctx, "two", other, "second")
	if err != nil {
		return err
	}
	p, err := two.Sync(ctx)
	if err != nil {
		return err
	}
	b.AtMost(row, "chunk bytes sent by the second device", "B", 0, float64(p.PackBytes))
	b.Info(row, "wire both ways", "B", p.Wire())
	b.Info(row, "wire both ways / the first device's", "x", p.Wire()/first.Wire())
	b.Info(row, "wall", "s", p.Client.Wall.Seconds())
	b.Info(row, "wall / the first device's", "x", p.Client.Wall.Seconds()/first.Client.Wall.Seconds())
	return nil
}
