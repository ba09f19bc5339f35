package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/measure"
	"sendonce/bench/figures/stages"
	"sendonce/bench/figures/twonet"
	"sendonce/bench/figures/world"
)

// linkRate is the shaped link's, in bytes a second.
const linkRate = linkMbit * 1e6 / 8

func link(ctx context.Context, b *bench) error {
	const row = "link"
	const size = 256 << 20
	dir, err := b.Dir("link")
	if err != nil {
		return err
	}
	if err := corpus.Random(filepath.Join(dir, "file"), size, 61); err != nil {
		return err
	}
	if err := world.Pause(ctx, corpus.Age); err != nil {
		return err
	}
	s, err := b.Server(ctx, b.net)
	if err != nil {
		return err
	}
	defer s.Remove()
	d, err := s.Device(ctx, "one", dir, "folder")
	if err != nil {
		return err
	}
	syscall.Sync()
	before, err := b.net.Client.Counters()
	if err != nil {
		return err
	}
	stop := b.net.Client.Sample(50 * time.Millisecond)
	p, err := d.Sync(ctx)
	points := stop()
	if err != nil {
		return err
	}
	after, err := b.net.Client.Counters()
	if err != nil {
		return err
	}
	sent := after.Sub(before)
	burst := twonet.Find(points, linkRate)
	b.AtLeast(row, "part of the time that the link was busy, first to last data", "%", 95, 100*burst.Fraction)
	b.Info(row, "intervals of 50 ms under half the rate", "", float64(burst.Slow))
	b.Info(row, "intervals in all", "", float64(burst.Samples))
	b.Info(row, "longest stretch under half the rate", "s", burst.Longest.Seconds())
	least := float64(sent.TxBytes) / linkRate
	b.AtMost(row, "wall (bar: interface bytes / rate x 1.05 + 0.5 s)", "s", least*1.05+0.5, p.Client.Wall.Seconds())
	b.Info(row, "interface bytes / rate", "s", least)
	b.Info(row, "interface bytes up / content", "x", float64(sent.TxBytes)/size)
	b.Info(row, "interface bytes down", "B", float64(sent.RxBytes))
	b.Info(row, "CPU, client", "s", p.Client.CPU.Seconds())
	b.Info(row, "CPU, proxy", "s", p.ProxyCPU.Seconds())
	return nil
}

const (
	killCount   = 20
	killContent = 1 << 30
	killLarge   = 600 << 20 // of it, in one file
)

// killer is the state of the kills row.
type killer struct {
	b      *bench
	s      *world.Server
	d      *world.Device
	client *measure.Process
	out    *bytes.Buffer
	rng    *rand.Rand

	inside int // kills inside a push
	looks  []stages.Audit
	hung   int // clients that did not notice the proxy's death
}

func kills(ctx context.Context, b *bench) error {
	const row = "kills"
	dir, err := b.Dir("kills")
	if err != nil {
		return err
	}
	if err := corpus.Random(filepath.Join(dir, "large"), killLarge, 71); err != nil {
		return err
	}
	const parts = 24
	for i := range parts {
		if err := corpus.Random(filepath.Join(dir, fmt.Sprintf("part%02d", i)), (killContent-killLarge)/parts, uint64(80+i)); err != nil {
			return err
		}
	}
	if err := world.Pause(ctx, corpus.Age); err != nil {
		return err
	}
	const seed = 7
	k := &killer{b: b, rng: rand.New(rand.NewPCG(seed, 0))}
	if k.s, err = b.Server(ctx, b.net); err != nil {
		return err
	}
	defer func() { k.s.Remove() }()
	if k.d, err = k.s.Device(ctx, "one", dir, "folder"); err != nil {
		return err
	}
	before, err := b.net.Client.Counters()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := k.startClient(); err != nil {
		return err
	}
	for i := range killCount {
		if err := k.progress(ctx); err != nil {
			return err
		}
		if i%2 == 0 {
			err = k.killClient(ctx)
		} else {
			err = k.killProxy(ctx)
		}
		if err != nil {
			return err
		}
	}
	_, err = k.client.Wait(ctx)
	if err != nil {
		return fmt.Errorf("the last push: %w", err)
	}
	wall := time.Since(begun)
	after, err := b.net.Client.Counters()
	if err != nil {
		return err
	}

	to := filepath.Join(b.Tmp, "restored")
	if _, _, _, err := k.d.Restore(ctx, to); err != nil {
		return err
	}
	equal := b.Same(ctx, dir, to)
	k.s.Stop()
	end, err := stages.Open(ctx, k.s.Data)
	if err != nil {
		return err
	}
	again, explained := end.SentAgain(k.looks)
	stored, extra := copies(end)
	sent := after.Sub(before)

	b.Holds(row, "kills of client and proxy inside a push", fmt.Sprint(killCount), k.inside == killCount, fmt.Sprint(k.inside))
	b.Holds(row, "restored equals the source, byte for byte", "equal", equal == nil, equalText(equal))
	b.AtMost(row, "acknowledged chunks that were stored again", "", 0, float64(again))
	b.Info(row, "chunks stored again that had not been acknowledged", "", float64(explained))
	b.Info(row, "chunks", "", float64(stored))
	b.Info(row, "bytes of chunks stored twice", "B", float64(extra))
	b.Info(row, "interface bytes up", "B", float64(sent.TxBytes))
	b.Info(row, "interface bytes up / content", "x", float64(sent.TxBytes)/killContent)
	b.Info(row, "interface bytes up beyond content, a kill", "B", float64(sent.TxBytes-killContent)/killCount)
	b.Info(row, "wall", "s", wall.Seconds())
	b.Info(row, "interface bytes / rate", "s", float64(sent.TxBytes)/linkRate)
	b.Holds(row, "pushes that did not notice within 20 s that the proxy had died", "0", k.hung == 0, fmt.Sprint(k.hung))
	return os.RemoveAll(dir)
}

// copies counts the distinct chunks of a look, and the bytes of further copies.
func copies(a stages.Audit) (chunks int, extra int64) {
	seen := map[[32]byte]bool{}
	for _, c := range a.Copies {
		if seen[c.ID] {
			extra += int64(c.Size)
		}
		seen[c.ID] = true
	}
	return len(seen), extra
}

func (k *killer) startClient() (err error) {
	k.out = &bytes.Buffer{}
	k.client, err = k.b.Procs.Start(k.d.Command(k.out, "sync", "--json"))
	return err
}

// progress waits until the push has sent a few MB since the last death. That
// the content is not done yet follows from the client still being there.
func (k *killer) progress(ctx context.Context) error {
	before, err := k.b.net.Client.Counters()
	if err != nil {
		return err
	}
	// 20 kills must fit into the content: between 8 and 40 MB apart.
	goal := before.TxBytes + int64(8e6+k.rng.Float64()*32e6)
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		c, err := k.b.net.Client.Counters()
		if err != nil {
			return err
		}
		if c.TxBytes >= goal {
			return nil
		}
		select {
		case <-k.client.Done():
			_, err := k.client.Wait(ctx)
			return fmt.Errorf("a push ended by itself: %w: %s", err, k.out)
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("a push makes no progress")
}

// alive counts a kill as inside a push if the push is still running.
func (k *killer) alive() {
	select {
	case <-k.client.Done():
	default:
		k.inside++
	}
}

// killClient kills the client, and waits until the proxy has made durable what
// it had received, so that any chunk stored twice later is one sent again.
func (k *killer) killClient(ctx context.Context) error {
	k.alive()
	k.client.Kill()
	if err := world.Pause(ctx, 1500*time.Millisecond); err != nil { // the proxy's batch waits for 1 s at most
		return err
	}
	if _, err := measure.Quiet(ctx, k.s.PID()); err != nil {
		return err
	}
	return k.startClient()
}

// killProxy kills the proxy, looks into its data, starts it again and lets the
// client find out.
func (k *killer) killProxy(ctx context.Context) error {
	k.alive()
	k.s.Kill()
	look, err := stages.Open(ctx, k.s.Data)
	if err != nil {
		return err
	}
	k.looks = append(k.looks, look)
	if err := k.s.Start(ctx); err != nil {
		return err
	}
	select {
	case <-k.client.Done():
	case <-time.After(world.Patience):
		k.hung++
		k.client.Kill()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return k.startClient()
}
