package world_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sendonce/internal/simtest/world"
)

// story is what a client does in the tests of crashes: a first push, a push of
// edits, moves and deletes, and a few small ones, whose packs the store writes in
// another way than large ones. Each is tried until it is done.
func story(w *world.World, c *world.Client) {
	firstFiles(c, w.Rand)
	c.Settle(time.Second)
	edits(c, w.Rand)
	c.Settle(time.Second)
	for i := range 3 {
		c.Write(fmt.Sprint("small", i), random(w.Rand, 5000))
		c.Settle(time.Second)
	}
}

// crashPoints calls fn for the syncs 1 to count of a story: all of them with the
// flag, else about n, evenly spread from a random one on.
func crashPoints(t *testing.T, count int64, n int, fn func(seed uint64, at int64, unsynced int)) {
	t.Helper()
	if testing.Short() {
		n = 2
	}
	stride := max((count+int64(n)-1)/int64(n), 1)
	if *allFlag {
		stride = 1
	}
	points := 0
	seeds(t, 1, func(t *testing.T, seed uint64) {
		first := 1 + rand.New(rand.NewPCG(seed, 0)).Int64N(min(stride, count))
		for at := first; at <= count; at += stride {
			unsynced := []int{0, 100, int(at * 37 % 101)}[int(seed+uint64(at))%3]
			once(t, fmt.Sprintf("crash instead of sync %d of %d, %d %% of what was not synced survives", at, count, unsynced), func() { fn(seed+uint64(at), at, unsynced) })
			points++
		}
	})
	t.Logf("%d crashes at %d syncs", points, count)
}

// TestI1_I3_ProxyCrash crashes the proxy's machine at syncs of its disk.
func TestI1_I3_ProxyCrash(t *testing.T) {
	var count int64
	run(t, 1, func(w *world.World) {
		c := w.Client("a", "f", "")
		before := w.Proxy.Syncs()
		story(w, c)
		w.Check()
		count = w.Proxy.Syncs() - before
	})
	if count < 10 {
		t.Fatalf("only %d syncs", count)
	}
	crashPoints(t, count, 10, func(seed uint64, at int64, unsynced int) {
		run(t, seed, func(w *world.World) {
			c := w.Client("a", "f", "")
			w.Proxy.CrashAfter(at, unsynced)
			story(w, c)
			w.Check()
		})
	})
}

// TestI1_I3_ClientCrash crashes the client at syncs of its state disk, in a story
// of several passes, since one pass syncs its state only a few times.
func TestI1_I3_ClientCrash(t *testing.T) {
	tell := func(w *world.World, c *world.Client) {
		for range 4 {
			edits(c, w.Rand)
			smallFiles(c, w.Rand)
			c.Settle(time.Second)
		}
	}
	begin := func(w *world.World) *world.Client {
		c := w.Client("a", "f", "")
		smallFiles(c, w.Rand)
		return c
	}
	var count int64
	run(t, 1, func(w *world.World) {
		c := begin(w)
		before := c.Syncs()
		tell(w, c)
		w.Check()
		count = c.Syncs() - before
	})
	if count < 4 {
		t.Fatalf("only %d syncs", count)
	}
	crashPoints(t, count, 6, func(seed uint64, at int64, unsynced int) {
		run(t, seed, func(w *world.World) {
			c := begin(w)
			c.CrashAfter(at, unsynced)
			tell(w, c)
			w.Check()
		})
	})
}

// TestI1_I3_BothCrash crashes both machines, again and again, at random syncs.
func TestI1_I3_BothCrash(t *testing.T) {
	seeds(t, 5, func(t *testing.T, seed uint64) {
		run(t, seed, func(w *world.World) {
			c := w.Client("a", "f", "")
			r := w.Rand
			crashes := 0
			arm := func() {
				if r.IntN(3) > 0 {
					w.Proxy.CrashAfter(1+r.Int64N(30), r.IntN(101))
				}
				if r.IntN(3) > 0 {
					c.CrashAfter(1+r.Int64N(6), r.IntN(101))
				}
			}
			for round := range 4 {
				if round == 0 {
					firstFiles(c, r)
				} else {
					edits(c, r)
					smallFiles(c, r)
				}
				for range 3 { // attempts that may be cut
					arm()
					_, err := c.Sync()
					if c.Crashed() {
						crashes++
						c.Restart()
					}
					if w.Proxy.Crashed() {
						crashes++
						w.Proxy.Restart()
					}
					if err == nil {
						break
					}
				}
				c.Settle(time.Second)
			}
			w.Check()
			w.T.Logf("%d crashes, %d acknowledged trees", crashes, w.Acks())
		})
	})
}
