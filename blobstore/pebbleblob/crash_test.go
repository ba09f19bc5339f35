package pebbleblob_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/blobstore/pebbleblob"
	"sendonce/internal/simtest"
)

var crashSeed = flag.Uint64("crash.seed", 0, "seed of the crash tests; 0 takes the time")

const crashDir = "/srv/chunks"

// process is one run of the store until its disk crashes, and what outlives it:
// what Put has returned, ever.
type process struct {
	t     *testing.T
	rng   *rand.Rand
	acked map[sendonce.Location][]byte
	gone  map[uint64]bool // segments whose Drop has returned
	doubt map[uint64]bool // segments whose Drop had begun at the crash
}

func newProcess(t *testing.T, seed uint64) *process {
	return &process{t: t, rng: rand.New(rand.NewPCG(seed, 7)), acked: map[sendonce.Location][]byte{},
		gone: map[uint64]bool{}, doubt: map[uint64]bool{}}
}

func (p *process) open(d *simtest.Disk) (*pebbleblob.Store, error) {
	return pebbleblob.Open(d, crashDir, pebbleblob.Options{
		MemtableBytes: 64 << 10, CacheBytes: 1 << 20,
		// Small, so that a short run crosses segments, tables and flushes.
		SegmentBytes: 40 << 10, TableBytes: 12 << 10, ProbeEvery: time.Millisecond,
		Fatal: func(err error) {
			p.t.Errorf("fatal: %v", err)
		},
	})
}

// run does the same kind of work each time, until the disk crashes or the work
// is done, and closes the store.
func (p *process) run(d *simtest.Disk, steps int) {
	p.t.Helper()
	s, err := p.open(d)
	if err != nil {
		p.crashedOr(d, err)
		return
	}
	for i := range steps {
		if err := p.step(d, s, i); err != nil {
			p.crashedOr(d, err)
			break
		}
	}
	if err := s.Close(); err != nil {
		p.crashedOr(d, err)
	}
}

// errCrashed ends a run at the crash.
var errCrashed = errors.New("crashed")

func (p *process) crashedOr(d *simtest.Disk, err error) {
	p.t.Helper()
	if !d.Crashed() {
		p.t.Fatalf("on a sound disk: %v", err)
	}
}

func (p *process) step(d *simtest.Disk, s *pebbleblob.Store, i int) error {
	ctx := context.Background()
	if i%7 == 6 && len(p.acked) > 0 {
		locs := slices.SortedFunc(maps.Keys(p.acked), func(a, b sendonce.Location) int {
			return slices.Compare([]uint64{a.Segment, uint64(a.Offset)}, []uint64{b.Segment, uint64(b.Offset)})
		})
		id := locs[p.rng.IntN(len(locs))].Segment
		p.doubt[id] = true
		if err := s.Drop(ctx, id); err != nil {
			return err
		}
		if d.Crashed() {
			return errCrashed // the ghost's word does not count
		}
		p.gone[id] = true
		return nil
	}
	var records [][]byte
	for range 1 + p.rng.IntN(4) {
		n := p.rng.IntN(2000)
		if i%3 == 0 {
			n = 8000 + p.rng.IntN(8000) // as tables
		}
		b := make([]byte, n)
		for j := range b {
			b[j] = byte(p.rng.Uint32())
		}
		records = append(records, b)
	}
	locs, err := s.Put(ctx, records)
	if err != nil {
		return err
	}
	if d.Crashed() {
		return errCrashed
	}
	for i, l := range locs {
		for a := range p.acked {
			if a.Segment == l.Segment && a.Offset == l.Offset {
				return fmt.Errorf("location %+v was handed out twice", l)
			}
		}
		if p.gone[l.Segment] {
			return fmt.Errorf("location %+v is in a dropped segment", l)
		}
		p.acked[l] = records[i]
	}
	return nil
}

// check opens the store on the disk that was found after the crash and compares
// it with what was promised.
func (p *process) check(d *simtest.Disk) {
	p.t.Helper()
	ctx := context.Background()
	s, err := p.open(d)
	if err != nil {
		p.t.Fatalf("open after the crash: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			p.t.Fatal(err)
		}
	}()
	var locs []sendonce.Location
	for l := range p.acked {
		locs = append(locs, l)
	}
	err = s.Get(ctx, locs, func(i int, r []byte) error {
		l := locs[i]
		switch {
		case r == nil && p.doubt[l.Segment]:
		case r == nil:
			return fmt.Errorf("%+v is lost", l)
		case p.gone[l.Segment]:
			return fmt.Errorf("%+v is back after its segment was dropped", l)
		case !bytes.Equal(r, p.acked[l]):
			return fmt.Errorf("%+v reads as other bytes", l)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	segments, err := s.Segments(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	scanned := map[sendonce.Location]bool{}
	for _, sg := range segments {
		got := blobstore.Segment{ID: sg.ID}
		err := s.Scan(ctx, sg.ID, func(l sendonce.Location, r []byte) error {
			scanned[l] = true
			got.Records++
			got.Bytes += int64(len(r))
			return nil
		})
		if err != nil || got != sg {
			p.t.Fatalf("segment listed as %+v, scanned as %+v, %v", sg, got, err)
		}
	}
	for l := range p.acked {
		if !p.doubt[l.Segment] && !scanned[l] {
			p.t.Fatalf("%+v is in no segment that is listed", l)
		}
	}
	if list, err := d.List(crashDir + "/tmp"); err != nil || len(list) > 0 {
		p.t.Fatalf("temporary files after opening: %v, %v", list, err)
	}
}

// TestCrashAtEverySync runs the same work again and again, crashing one sync
// later each time, restarts twice and looks whether every promise was kept.
func TestCrashAtEverySync(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed: -crash.seed=%d", seed)
	const steps = 30
	d := simtest.NewDisk(rand.New(rand.NewPCG(seed, 3)))
	newProcess(t, seed).run(d, steps)
	total := d.Syncs()
	if total < 60 {
		t.Fatalf("only %d syncs: the work is too small to mean anything", total)
	}
	stride := int64(1)
	if testing.Short() {
		stride = 7
	}
	for k := int64(1); k <= total; k += stride {
		p := newProcess(t, seed)
		unsynced := []int{0, 100, 30, 70}[k%4]
		d := simtest.NewDisk(rand.New(rand.NewPCG(seed, 3)))
		d.CrashAt(k, unsynced)
		p.run(d, steps)
		d = d.Restart()
		// The second process crashes as well, somewhere in its opening or work.
		d.CrashAt(1+p.rng.Int64N(30), unsynced)
		p.run(d, steps/2)
		p.check(d.Restart())
		if t.Failed() {
			t.Fatalf("crash at sync %d of %d, %d %% of unsynced data kept", k, total, unsynced)
		}
	}
	t.Logf("%d crash points", total)
}

// TestCrashWhileOpening crashes at every sync of making a store and of opening
// one again, with many draws of what unsynced names and blocks survive.
func TestCrashWhileOpening(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed: -crash.seed=%d", seed)
	for draw := range uint64(25) {
		for k := int64(1); ; k++ {
			p := newProcess(t, seed+draw)
			d := simtest.NewDisk(p.rng)
			if draw%2 == 1 {
				p.run(d, 4)
				d = d.Restart()
			}
			d.CrashAt(k, 50)
			p.run(d, 0)
			crashed := d.Crashed()
			p.check(d.Restart())
			if !crashed {
				break
			}
		}
	}
}

// TestInBubble opens, crashes and reopens the store where time is simulated, as
// the whole-system tests do.
func TestInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := *crashSeed
		if seed == 0 {
			seed = rand.Uint64()
		}
		t.Logf("seed: -crash.seed=%d", seed)
		p := newProcess(t, seed)
		d := simtest.NewDisk(rand.New(rand.NewPCG(seed, 3)))
		d.CrashAt(40, 50)
		p.run(d, 30)
		if !d.Crashed() {
			t.Fatal("the work ended before the crash")
		}
		p.check(d.Restart())
	})
}
