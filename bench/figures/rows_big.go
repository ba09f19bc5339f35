package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/stages"
	"sendonce/bench/figures/world"
)

// big pushes one file that does not compress, in turn with the bare QUIC link.
func big(ctx context.Context, b *bench, row string, size int64) error {
	dir, err := b.Dir("big")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "file")
	if err := corpus.Random(file, size, 41); err != nil {
		return err
	}
	if err := world.Pause(ctx, corpus.Age); err != nil {
		return err
	}
	runs := min(b.Runs, 3)
	if size > 4<<30 {
		runs = 1
	}
	gb := float64(size) / 1e9
	var speed, link, ratio, client, proxy, rss, proxyRSS, sendCPU, recvCPU measure.Series
	linkBytes := min(size, 2<<30)
	for range runs {
		in, out, err := b.bareLink(ctx, linkBytes)
		if err != nil {
			return err
		}
		lgb := float64(linkBytes) / 1e9
		link = append(link, lgb*1000/out.Seconds)
		sendCPU, recvCPU = append(sendCPU, out.CPU/lgb), append(recvCPU, in.CPU/lgb)
		p, err := b.firstPush(ctx, nil, dir)
		if err != nil {
			return err
		}
		speed = append(speed, gb*1000/p.Client.Wall.Seconds())
		client, proxy = append(client, p.Client.CPU.Seconds()/gb), append(proxy, p.ProxyCPU.Seconds()/gb)
		rss, proxyRSS = append(rss, float64(p.Client.RSS)), append(proxyRSS, float64(p.ProxyRSS))
	}
	ratio = speed.Over(link)
	var list []stages.Stage
	scratch, err := b.Dir("stages")
	if err != nil {
		return err
	}
	if err := b.json(ctx, &list, "stages", scratch, file, "1000000000"); err != nil {
		return err
	}

	for i := range ratio {
		ratio[i] *= 100
	}
	b.AtLeast(row, "end-to-end speed, part of the bare QUIC link's", "%", 55, ratio...)
	b.Info(row, "end-to-end speed", "MB/s", speed...)
	b.Info(row, "bare QUIC link, 4 connections, loopback", "MB/s", link...)
	sum := map[string]float64{"client": sendCPU.Median(), "proxy": recvCPU.Median()}
	for _, s := range list {
		b.Info(row, fmt.Sprintf("stage %s (%s): CPU", s.Name, s.Side), "s/GB", s.CPU)
		sum[s.Side] += s.CPU
	}
	b.Info(row, "stage QUIC send (client): CPU", "s/GB", sendCPU...)
	b.Info(row, "stage QUIC receive (proxy): CPU", "s/GB", recvCPU...)
	for _, side := range []struct {
		name string
		all  measure.Series
	}{{"client", client}, {"proxy", proxy}} {
		b.Info(row, side.name+": CPU end to end", "s/GB", side.all...)
		b.Info(row, side.name+": CPU, sum of its stages", "s/GB", sum[side.name])
	}
	total, parts := client.Median()+proxy.Median(), sum["client"]+sum["proxy"]
	b.Info(row, "CPU end to end beyond the stages", "s/GB", total-parts)
	b.AtMost(row, "the same, as a part of the whole (either way)", "%", 10, 100*math.Abs(total-parts)/total)
	b.AtMost(row, "peak memory, client", "B", clientMemory, rss...)
	b.AtMost(row, "peak memory, proxy", "B", proxyMemory, proxyRSS...)
	return nil
}

// json runs a part of this program and reads what it prints.
func (b *bench) json(ctx context.Context, v any, args ...string) error {
	var out bytes.Buffer
	if _, err := b.Procs.Run(ctx, measure.Command{Stdout: &out, Args: append([]string{b.Self, "part"}, args...)}); err != nil {
		return err
	}
	return json.Unmarshal(out.Bytes(), v)
}

// bareLink sends total bytes between two processes over loopback.
func (b *bench) bareLink(ctx context.Context, total int64) (in, out stages.LinkResult, err error) {
	pr, pw := io.Pipe()
	bytesText := strconv.FormatInt(total, 10)
	receiver, err := b.Procs.Start(measure.Command{Stdout: pw, Args: []string{b.Self, "part", "receive", "127.0.0.1:0", bytesText}})
	if err != nil {
		return in, out, err
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		<-receiver.Done()
		pw.Close()
	})
	defer ended.Wait()
	defer receiver.Kill()
	lines := bufio.NewReader(pr)
	first, err := lines.ReadString('\n')
	if err != nil {
		return in, out, fmt.Errorf("the receiver says nothing: %w", err)
	}
	addr, id, _ := strings.Cut(strings.TrimSpace(first), " ")
	if err := b.json(ctx, &out, "send", addr, id, bytesText); err != nil {
		return in, out, err
	}
	return in, out, json.NewDecoder(lines).Decode(&in)
}

func many(ctx context.Context, b *bench) error {
	const row = "many-200k"
	const files, total = 200_000, 320_000_000
	dir, err := b.Dir("many")
	if err != nil {
		return err
	}
	if err := corpus.Small(dir, files, 500, total, 51); err != nil {
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
	p, err := d.Sync(ctx)
	if err != nil {
		return err
	}
	if p.Files != files {
		return fmt.Errorf("%d files were seen, not %d", p.Files, files)
	}
	b.Info(row, "first push: wall", "s", p.Client.Wall.Seconds())
	b.Info(row, "first push: files", "per s", files/p.Client.Wall.Seconds())
	b.Info(row, "first push: CPU, client", "s", p.Client.CPU.Seconds())
	b.Info(row, "first push: CPU, proxy", "s", p.ProxyCPU.Seconds())
	b.Info(row, "first push: content", "B", float64(p.BytesScanned))
	b.Info(row, "first push: packs", "B", float64(p.PackBytes))
	b.Info(row, "first push: wire both ways", "B", p.Wire())
	b.Info(row, "first push: wire both ways beyond packs, a file", "B", (p.Wire()-float64(p.PackBytes))/files)
	b.AtMost(row, "first push: peak memory, client", "B", clientMemory, float64(p.Client.RSS))
	b.AtMost(row, "first push: peak memory, proxy", "B", proxyMemory, float64(p.ProxyRSS))
	var wall, cpu, wire, rss measure.Series
	var read int64
	for range b.Runs {
		if p, err = d.Sync(ctx); err != nil {
			return err
		}
		wall, cpu, wire = append(wall, p.Client.Wall.Seconds()), append(cpu, p.Client.CPU.Seconds()), append(wire, p.Wire())
		rss, read = append(rss, float64(p.Client.RSS)), max(read, p.FilesRead)
	}
	b.Info(row, "nothing changed: wall", "s", wall...)
	b.Info(row, "nothing changed: CPU, client", "s", cpu...)
	b.Info(row, "nothing changed: wire both ways", "B", wire...)
	b.AtMost(row, "nothing changed: files opened", "", 0, float64(read))
	b.AtMost(row, "nothing changed: peak memory, client", "B", clientMemory, rss...)
	return os.RemoveAll(dir)
}
