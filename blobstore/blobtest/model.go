package blobtest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/blobstore"
)

// model runs random operations and compares the store with a map after each of
// the ones that read.
func model(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHarness(t, open)
		defer func() { _ = h.store.Close() }() // if rapid abandons the run
		h.t = rt
		h.rng = rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "bytes"), 2))
		_, maintainer := h.store.(blobstore.Maintainer)
		size := rapid.OneOf(rapid.IntRange(0, 64), rapid.IntRange(0, 8<<10), rapid.IntRange(0, 64<<10))
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				h.put(h.records(rapid.SliceOfN(size, 0, 6).Draw(rt, "sizes")...)...)
			},
			"get": func(*rapid.T) { h.verify() },
			"segments": func(rt *rapid.T) {
				if !maintainer {
					rt.Skip()
				}
				h.checkSegments()
			},
			"drop": func(rt *rapid.T) {
				if !maintainer || len(h.want) == 0 {
					rt.Skip()
				}
				locs := slices.SortedFunc(maps.Keys(h.want), func(a, b sendonce.Location) int {
					return slices.Compare([]uint64{a.Segment, uint64(a.Offset)}, []uint64{b.Segment, uint64(b.Offset)})
				})
				h.drop(rapid.SampledFrom(locs).Draw(rt, "location").Segment)
			},
			"reopen": func(rt *rapid.T) {
				if h.reopen == nil {
					rt.Skip()
				}
				h.store = h.reopen()
			},
		})
		h.checkSegments()
		h.close()
	})
}
