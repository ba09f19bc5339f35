package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/measure"
)

func (p pass) wire() float64 { return float64(p.WireSent + p.WireReceived) }

func noChange(ctx context.Context, b *bench) error {
	const row = "nochange"
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
	if _, err := d.sync(ctx); err != nil {
		return err
	}
	r, err := b.rsyncd(ctx, nil)
	if err != nil {
		return err
	}
	defer r.stop()
	if _, err := r.push(ctx, src); err != nil {
		return err
	}

	// In a process of its own, in turn with rsync.
	var wall, cpu, rsync, rsyncCPU, wire measure.Series
	var opened, read int64
	for range 2 * b.runs {
		p, err := d.sync(ctx)
		if err != nil {
			return err
		}
		wall, cpu, wire = append(wall, p.client.Wall.Seconds()), append(cpu, (p.client.CPU+p.proxyCPU).Seconds()), append(wire, p.wire())
		opened, read = max(opened, p.FilesRead), max(read, p.BytesRead)
		u, err := r.push(ctx, src)
		if err != nil {
			return err
		}
		rsync, rsyncCPU = append(rsync, u.Wall.Seconds()), append(rsyncCPU, u.CPU.Seconds())
	}
	b.atMost(row, "own process: UDP payload both ways, handshake included", "B", 8000, wire...)
	b.atMost(row, "files opened", "", 0, float64(opened))
	b.atMost(row, "bytes of files read", "B", 0, float64(read))
	b.atMost(row, "wall / rsync -a to a local daemon", "x", 1, wall.Over(rsync)...)
	b.info(row, "wall", "s", wall...)
	b.info(row, "wall, rsync -a", "s", rsync...)
	b.info(row, "CPU, client and proxy", "s", cpu...)
	b.info(row, "CPU, rsync -a, both ends", "s", rsyncCPU...)

	// Through the daemon.
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.stop()
	var inWire, inWall measure.Series
	opened = 0
	for range b.runs {
		p, err := d.sync(ctx)
		if err != nil {
			return err
		}
		inWire, inWall, opened = append(inWire, p.wire()), append(inWall, p.client.Wall.Seconds()), max(opened, p.FilesRead)
	}
	b.atMost(row, "running daemon: UDP payload both ways", "B", 2000, inWire...)
	b.atMost(row, "running daemon: files opened", "", 0, float64(opened))
	b.info(row, "running daemon: wall", "s", inWall...)
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
	dir, err := b.dir("edits")
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
	if err := pause(ctx, corpus.Age); err != nil {
		return err
	}
	s, err := b.server(ctx, nil)
	if err != nil {
		return err
	}
	defer s.remove()
	d, err := s.device(ctx, "one", dir, "folder")
	if err != nil {
		return err
	}
	if _, err := d.sync(ctx); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.stop()
	if p, err := d.sync(ctx); err != nil {
		return err
	} else if p.FilesRead > 0 || p.Changes > 0 {
		return fmt.Errorf("a second pass read %d files and committed %d changes", p.FilesRead, p.Changes)
	}

	// edit makes a change three times and reports the bytes of each.
	edit := func(times int, change func(i int) error) (list []pass, wire measure.Series, err error) {
		for i := range times {
			if err := change(i); err != nil {
				return nil, nil, err
			}
			if err := pause(ctx, corpus.Age); err != nil {
				return nil, nil, err
			}
			p, err := d.sync(ctx)
			if err != nil {
				return nil, nil, err
			}
			if p.Changes == 0 {
				return nil, nil, fmt.Errorf("a change was not found")
			}
			list, wire = append(list, p), append(wire, p.wire())
		}
		return list, wire, nil
	}

	list, wire, err := edit(3, func(i int) error {
		return corpus.InsertLine(filepath.Join(dir, "src", "net", "http", "server.go"), fmt.Sprintf("// edit %d of this line", i))
	})
	if err != nil {
		return err
	}
	b.info(row, "a line added to net/http/server.go: wire both ways", "B", wire...)
	b.info(row, "a line added: packs", "B", float64(list[0].PackBytes))
	b.info(row, "a line added: chunks sent", "", float64(list[0].ChunksMissing))

	if list, wire, err = edit(2, func(i int) error { return corpus.AppendRandom(big, 1024, uint64(30+i)) }); err != nil {
		return err
	}
	b.info(row, "1 KiB appended to 1 GiB: wire both ways", "B", wire...)
	b.info(row, "1 KiB appended: chunks sent", "", float64(list[0].ChunksMissing))
	b.info(row, "1 KiB appended: wall", "s", list[0].client.Wall.Seconds())

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
	b.atMost(row, "10,000 files' directory renamed: wire both ways", "B", 1000, wire...)
	b.atMost(row, "directory renamed: files opened", "", 0, float64(opened))

	if list, wire, err = edit(1, func(int) error {
		return b.copyFile(ctx, big, filepath.Join(dir, "copy"))
	}); err != nil {
		return err
	}
	b.atMost(row, "1 GiB file copied: chunk bytes sent", "B", 0, float64(list[0].PackBytes))
	b.info(row, "1 GiB file copied: wire both ways", "B", wire...)
	b.info(row, "1 GiB file copied: wire both ways a chunk", "B", wire[0]/float64(max(1, list[0].Chunks)))
	b.info(row, "1 GiB file copied: wall", "s", list[0].client.Wall.Seconds())
	return nil
}

func (b *bench) copyFile(ctx context.Context, from, to string) error {
	_, err := b.procs.Run(ctx, measure.Command{Args: []string{"cp", "--reflink=never", from, to}})
	return err
}

func secondDevice(ctx context.Context, b *bench) error {
	const row = "second-device"
	src, err := b.goSources(ctx)
	if err != nil {
		return err
	}
	other := filepath.Join(b.tmp, "other")
	if err := corpus.CopyTree(other, src); err != nil {
		return err
	}
	s, err := b.server(ctx, nil)
	if err != nil {
		return err
	}
	defer s.remove()
	one, err := s.device(ctx, "one", src, "first")
	if err != nil {
		return err
	}
	first, err := one.sync(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, corpus.Age); err != nil {
		return err
	}
	two, err := s.device(ctx, "two", other, "second")
	if err != nil {
		return err
	}
	p, err := two.sync(ctx)
	if err != nil {
		return err
	}
	b.atMost(row, "chunk bytes sent by the second device", "B", 0, float64(p.PackBytes))
	b.info(row, "wire both ways", "B", p.wire())
	b.info(row, "wire both ways / the first device's", "x", p.wire()/first.wire())
	b.info(row, "wall", "s", p.client.Wall.Seconds())
	b.info(row, "wall / the first device's", "x", p.client.Wall.Seconds()/first.client.Wall.Seconds())
	return nil
}
