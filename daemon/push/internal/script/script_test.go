package script

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/content"
)

func refs(from, n int) sendonce.Manifest {
	m := make(sendonce.Manifest, n)
	for i := range m {
		v := from + i
		m[i] = sendonce.Ref{ID: sendonce.ID{1, byte(v >> 16), byte(v >> 8), byte(v)}, Size: int64(1 + v%1000)}
	}
	return m
}

// script runs the differ, taking the edits every few references.
func script(base, next sendonce.Manifest, every int) (edits []sendonce.Edit, inserted []sendonce.Ref) {
	d := New(base)
	for i, r := range next {
		if !d.Add(r) {
			inserted = append(inserted, r)
		}
		if i%every == every-1 {
			edits = append(edits, d.Take()...)
		}
	}
	return append(edits, d.Take()...), inserted
}

func TestRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := refs(0, rapid.IntRange(0, 400).Draw(t, "base"))
		for range rapid.IntRange(0, 3).Draw(t, "repetitions") { // equal chunks and zero extents
			if len(base) > 0 {
				i := rapid.IntRange(0, len(base)-1).Draw(t, "from")
				r := base[i]
				if rapid.Bool().Draw(t, "zeros") {
					r = sendonce.Ref{Size: 1 << 16}
				}
				base[rapid.IntRange(0, len(base)-1).Draw(t, "to")] = r
			}
		}
		next := slices.Clone(base)
		for range rapid.IntRange(0, 6).Draw(t, "splices") {
			at := rapid.IntRange(0, len(next)).Draw(t, "at")
			end := min(len(next), at+rapid.IntRange(0, 100).Draw(t, "drop"))
			with := refs(rapid.IntRange(0, 2000).Draw(t, "first"), rapid.IntRange(0, 20).Draw(t, "insert"))
			if rapid.Bool().Draw(t, "move") {
				with = slices.Clone(next[at:end])
				next = slices.Delete(next, at, end)
				at = rapid.IntRange(0, len(next)).Draw(t, "goes to")
				end = at
			}
			next = slices.Replace(next, at, end, with...)
		}
		edits, inserted := script(base, next, rapid.IntRange(1, 50).Draw(t, "every"))
		got, err := content.Apply(base, edits, inserted, content.MaxRefs)
		if err != nil || !slices.Equal(got, next) {
			t.Fatalf("%v: %d references instead of %d", err, len(got), len(next))
		}
	})
}

func TestShort(t *testing.T) {
	base := refs(0, 5000)
	for name, c := range map[string]struct {
		next     sendonce.Manifest
		inserted int
	}{
		"same":            {base, 0},
		"append":          {append(slices.Clone(base), refs(9000, 2)...), 2},
		"one changed":     {slices.Replace(slices.Clone(base), 2000, 2001, refs(9000, 1)...), 1},
		"inserted":        {slices.Insert(slices.Clone(base), 2000, refs(9000, 10)...), 10},
		"cut out":         {slices.Delete(slices.Clone(base), 1000, 1050), 0},
		"much cut out":    {slices.Delete(slices.Clone(base), 1000, 4000), farRuns - 1},
		"last goes first": {append(slices.Clone(base[4999:]), base[:4999]...), 1},
		"truncated":       {base[:100], 0},
	} {
		if _, inserted := script(base, c.next, 256); len(inserted) != c.inserted {
			t.Errorf("%s: %d references were inserted, not %d", name, len(inserted), c.inserted)
		}
	}
}
