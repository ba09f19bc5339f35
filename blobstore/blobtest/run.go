package blobtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"

	"sendonce"
	"sendonce/blobstore"
)

// Open opens an empty store for one test. reopen closes the store that was
// opened last and opens its data again; it is nil for a store that keeps
// nothing. The suite closes what it opens.
type Open func(t testing.TB) (s blobstore.Store, reopen func() blobstore.Store)

// Run tests a store against the contract. A store that is a Maintainer is
// tested as one.
func Run(t *testing.T, open Open) {
	for _, tt := range []struct {
		name string
		test func(h *harness)
	}{
		{"put and get", putAndGet},
		{"nothing to do", nothingToDo},
		{"limits", limits},
		{"slices are not kept", slicesNotKept},
		{"locations that are not there", notThere},
		{"get asks once for each", getOnceEach},
		{"an error of fn", errorOfFn},
		{"cancelled context", cancelled},
		{"concurrent calls", concurrent},
		{"closed", closed},
		{"reopen", reopened},
		{"segments and scan", segmentsAndScan},
		{"drop", drop},
		{"dropped while it is read", dropWhileRead},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, open)
			defer func() { _ = h.store.Close() }() // if the test fails before its end
			tt.test(h)
			h.close()
		})
	}
	t.Run("model", func(t *testing.T) { model(t, open) })
}

// fatalf is the part of testing.TB and rapid.T that the harness needs.
type fatalf interface {
	Helper()
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// harness is a store under test and what it must hold.
type harness struct {
	t      fatalf
	ctx    context.Context
	store  blobstore.Store
	reopen func() blobstore.Store
	rng    *rand.Rand

	mu   sync.Mutex
	want map[sendonce.Location][]byte // everything put and not dropped
	used map[address]bool             // every address ever handed out
}

type address struct {
	segment uint64
	offset  uint32
}

func newHarness(t testing.TB, open Open) *harness {
	// The bytes need only differ, so each test has its own fixed ones; the model
	// test brings random ones.
	seed := fnv.New64a()
	seed.Write([]byte(t.Name()))
	h := &harness{t: t, ctx: context.Background(), rng: rand.New(rand.NewPCG(seed.Sum64(), 1)),
		want: map[sendonce.Location][]byte{}, used: map[address]bool{}}
	h.store, h.reopen = open(t)
	return h
}

func (h *harness) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v", err)
	}
}

// close ends a test: what must be there is there, and the store closes.
func (h *harness) close() {
	h.t.Helper()
	h.verify()
	h.check(h.store.Close())
}

// random returns n bytes that no other record has.
func (h *harness) random(n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, h.rng.Uint64())
	}
	return b[:n:n]
}

func (h *harness) records(sizes ...int) [][]byte {
	var rs [][]byte
	for _, n := range sizes {
		rs = append(rs, h.random(n))
	}
	return rs
}

// put stores records and remembers them.
func (h *harness) put(records ...[]byte) []sendonce.Location {
	h.t.Helper()
	locs, err := h.store.Put(h.ctx, records)
	h.check(err)
	h.remember(locs, records)
	return locs
}

func (h *harness) remember(locs []sendonce.Location, records [][]byte) {
	h.t.Helper()
	if len(locs) != len(records) {
		h.t.Fatalf("%d locations for %d records", len(locs), len(records))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, l := range locs {
		a := address{l.Segment, l.Offset}
		switch {
		case l.IsZero():
			h.t.Fatalf("record %d got the zero location", i)
		case int(l.Length) != len(records[i]):
			h.t.Fatalf("record %d has %d bytes, its location says %d", i, len(records[i]), l.Length)
		case h.used[a]:
			h.t.Fatalf("%+v was handed out before", a)
		}
		h.used[a] = true
		h.want[l] = bytes.Clone(records[i])
	}
}

// verify reads all that must be there, in random order.
func (h *harness) verify() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var locs []sendonce.Location
	for l := range h.want {
		locs = append(locs, l)
	}
	h.rng.Shuffle(len(locs), func(i, j int) { locs[i], locs[j] = locs[j], locs[i] })
	seen := 0
	h.check(h.store.Get(h.ctx, locs, func(i int, record []byte) error {
		seen++
		if record == nil || !bytes.Equal(record, h.want[locs[i]]) {
			return fmt.Errorf("%+v: got %d bytes (nil: %t) that are not the %d put there",
				locs[i], len(record), record == nil, len(h.want[locs[i]]))
		}
		return nil
	}))
	if seen != len(locs) {
		h.t.Fatalf("%d of %d records seen", seen, len(locs))
	}
}

// get reads one location.
func (h *harness) get(loc sendonce.Location) (record []byte) {
	h.t.Helper()
	h.check(h.store.Get(h.ctx, []sendonce.Location{loc}, func(_ int, r []byte) error {
		record = bytes.Clone(r)
		return nil
	}))
	return record
}

func (h *harness) wantKind(err error, want sendonce.ErrKind) {
	h.t.Helper()
	if got := sendonce.KindOf(err); got != want {
		h.t.Fatalf("error %v is %v, want %v", err, got, want)
	}
}

func putAndGet(h *harness) {
	h.put(h.records(1, 4096, 100<<10, 0, 17)...)
	h.put(h.records(3<<20, 1<<20)...)
	h.put(h.random(5))
	same := h.random(2000)
	h.put(same, same)
}

func nothingToDo(h *harness) {
	locs, err := h.store.Put(h.ctx, nil)
	h.check(err)
	if len(locs) != 0 {
		h.t.Fatalf("%d locations for no record", len(locs))
	}
	h.check(h.store.Get(h.ctx, nil, func(int, []byte) error { return errors.New("called") }))
	if r := h.get(h.put([]byte{})[0]); r == nil {
		h.t.Fatalf("an empty record reads as one that is not there")
	}
}

func limits(h *harness) {
	h.put(make([]byte, blobstore.MaxRecord))
	_, err := h.store.Put(h.ctx, [][]byte{h.random(10), make([]byte, blobstore.MaxRecord+1)})
	h.wantKind(err, sendonce.KindLimit)
}

func slicesNotKept(h *harness) {
	for _, n := range []int{100, 3 << 20} {
		records := h.records(n, n)
		h.put(records...)
		clear(records[0])
		records[1] = nil
	}
}

func notThere(h *harness) {
	there := h.put(h.records(1000, 1000)...)
	a := there[0]
	for _, loc := range []sendonce.Location{
		{},
		{Segment: a.Segment, Offset: a.Offset + 1, Length: a.Length},
		{Segment: a.Segment, Offset: a.Offset, Length: a.Length + 1},
		{Segment: a.Segment, Offset: a.Offset, Length: a.Length - 1},
		{Segment: a.Segment, Offset: 1 << 31, Length: 5},
		{Segment: a.Segment, Offset: 1<<32 - 1, Length: 16},
		{Segment: a.Segment + 1<<20, Length: 1000},
		{Segment: 1<<64 - 1, Offset: 1, Length: 4},
		{Segment: 1 << 62, Offset: 0, Length: 1},
	} {
		if r := h.get(loc); r != nil {
			h.t.Fatalf("%+v reads as %d bytes", loc, len(r))
		}
	}
}

func getOnceEach(h *harness) {
	locs := h.put(h.records(10, 20, 30, 40)...)
	ask := []sendonce.Location{locs[3], locs[0], {Segment: locs[0].Segment, Offset: 11, Length: 1}, locs[0], locs[2], locs[1], locs[3]}
	calls := make([]int, len(ask))
	h.check(h.store.Get(h.ctx, ask, func(i int, record []byte) error {
		calls[i]++
		if want := h.want[ask[i]]; !bytes.Equal(record, want) || (record == nil) != (want == nil) {
			return fmt.Errorf("call %d: %d bytes, want %d", i, len(record), len(want))
		}
		return nil
	}))
	for i, n := range calls {
		if n != 1 {
			h.t.Fatalf("fn was called %d times for location %d", n, i)
		}
	}
}

func errorOfFn(h *harness) {
	locs := h.put(h.records(10, 20, 30)...)
	stop := errors.New("stop")
	calls := 0
	err := h.store.Get(h.ctx, locs, func(int, []byte) error { calls++; return stop })
	if err != stop || calls != 1 {
		h.t.Fatalf("Get returned %v after %d calls, want fn's own error after 1", err, calls)
	}
	if m, ok := h.store.(blobstore.Maintainer); ok {
		err := m.Scan(h.ctx, locs[0].Segment, func(sendonce.Location, []byte) error { return stop })
		if err != stop {
			h.t.Fatalf("Scan returned %v, want fn's own error", err)
		}
	}
}

func cancelled(h *harness) {
	locs := h.put(h.random(10))
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	_, err := h.store.Put(ctx, h.records(10))
	h.wantKind(err, sendonce.KindInterrupted)
	err = h.store.Get(ctx, locs, func(int, []byte) error { return nil })
	h.wantKind(err, sendonce.KindInterrupted)
}

func concurrent(h *harness) {
	var wg sync.WaitGroup
	for i := range 8 {
		rng := rand.New(rand.NewPCG(h.rng.Uint64(), uint64(i)))
		wg.Go(func() {
			for j := range 10 {
				record := bytes.Repeat([]byte{byte(i), byte(j)}, 1+rng.IntN(20000))
				locs, err := h.store.Put(h.ctx, [][]byte{record})
				if err != nil {
					panic(err)
				}
				h.remember(locs, [][]byte{record})
				err = h.store.Get(h.ctx, locs, func(_ int, r []byte) error {
					if !bytes.Equal(r, record) {
						panic("a record is not there right after Put")
					}
					return nil
				})
				if err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
}

func closed(h *harness) {
	locs := h.put(h.random(10))
	h.check(h.store.Close())
	_, err := h.store.Put(h.ctx, h.records(10))
	h.wantKind(err, sendonce.KindUnavailable)
	h.wantKind(h.store.Get(h.ctx, locs, func(int, []byte) error { return nil }), sendonce.KindUnavailable)
	h.check(h.store.Close())
	if h.reopen == nil {
		h.want = nil
		h.store = NewMem()
		return
	}
	h.store = h.reopen()
}

func reopened(h *harness) {
	if h.reopen == nil {
		h.t.Skip("the store keeps nothing")
	}
	for range 3 {
		h.put(h.records(10, 5000, 0)...)
		h.put(h.records(2<<20, 1<<20)...)
		h.store = h.reopen()
		h.verify()
		h.checkSegments()
	}
}
