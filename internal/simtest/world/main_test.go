package world_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sendonce/internal/simtest"
	"sendonce/internal/simtest/world"
)

var (
	seedFlag = flag.Uint64("simtest.seed", 0, "seed of the first world of each test; 0 takes the time")
	runsFlag = flag.Int("simtest.runs", 0, "worlds of each randomised test; 0 is a few")
	allFlag  = flag.Bool("simtest.all", false, "crash at every sync, not at a sample of them")
	logFlag  = flag.Bool("simtest.log", false, "print what every part logs")
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// seeds calls fn with the seeds of a test: runs of them, or as many as the flag
// says. It stops at the first that fails.
func seeds(t *testing.T, runs int, fn func(t *testing.T, seed uint64)) {
	if testing.Short() { // for the race detector, under which a world takes ten times as long
		runs = 1
	}
	if *runsFlag > 0 {
		runs = *runsFlag
	}
	first := *seedFlag
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for i := range runs {
		seed := first + uint64(i)
		repeat := fmt.Sprintf("to repeat: -simtest.seed=%d -simtest.runs=1 -test.run '^%s$'", seed, t.Name())
		once(t, repeat, func() { fn(t, seed) })
	}
}

// once calls fn and says how to repeat it if it fails, even if it ends the test.
func once(t *testing.T, repeat string, fn func()) {
	defer func() {
		if t.Failed() {
			t.Log(repeat)
		}
	}()
	fn()
	if t.Failed() {
		t.FailNow()
	}
}

// run makes a world in which the proxy is well connected.
func run(t *testing.T, seed uint64, fn func(*world.World)) {
	t.Helper()
	world.Run(t, seed, *logFlag, simtest.Link{Latency: time.Millisecond}, fn)
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return b
}

// firstFiles makes about 60 files: empty, tiny (kept inline), small, with pages,
// of zeros, and one of 3 MiB.
func firstFiles(c *world.Client, r *rand.Rand) {
	c.Write("large", random(r, 3<<20))
	smallFiles(c, r)
}

// smallFiles makes them without the large one.
func smallFiles(c *world.Client, r *rand.Rand) {
	c.Write("zeros", make([]byte, 200<<10))
	for i := range 58 {
		n := r.IntN(4000)
		switch i % 10 {
		case 0:
			n = 0
		case 1:
			n = r.IntN(256)
		case 2:
			n = 20_000 + r.IntN(100_000)
		}
		c.Write(fmt.Sprintf("d%d/f%d", i%7, i), random(r, n))
	}
}

// edits changes, moves and deletes some of them.
func edits(c *world.Client, r *rand.Rand) {
	c.Write("edited", random(r, 1<<20)) // large enough for a tree of pages
	for i := range 6 {
		c.Write(fmt.Sprintf("d%d/f%d", i, i), random(r, 1000+r.IntN(30_000)))
	}
	c.Write("new/one", random(r, 50_000))
	c.Rename("d6", fmt.Sprintf("moved%x", r.Uint32()))
	c.Rename("d1/f15", "d2/came")
	c.Remove("d3/f10")
	c.Remove("d4")
}
