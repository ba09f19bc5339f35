package content

import (
	"encoding/binary"
	"slices"

	"sendonce"
)

// Diff returns an edit script that makes next of base, and the references that
// its steps insert, in order (new memory). It takes time and memory linear in
// what is between the common beginning and the common end, but for a logarithm.
//
// It follows patience diff (B. Cohen): references that occur once on both sides
// are matched along a longest increasing subsequence, which is optimal for lists
// without repetitions; between two of them it begins again. Repetitions are
// matched exactly where few, greedily where many.
func Diff(base, next sendonce.Manifest) (edits []sendonce.Edit, inserted []sendonce.Ref) {
	d := &differ{base: base, next: next}
	d.compare(span{0, len(base), 0, len(next)}, 0)

	var b, n int // done of base and next
	insertTo := func(to int) {
		if to == n {
			return
		}
		if len(edits) == 0 {
			edits = append(edits, sendonce.Edit{})
		}
		edits[len(edits)-1].Insert += uint64(to - n)
		inserted = append(inserted, next[n:to]...)
		n = to
	}
	for _, m := range d.matches {
		insertTo(m.next)
		edits = append(edits, sendonce.Edit{Skip: uint64(m.base - b), Keep: uint64(m.len)})
		b, n = m.base+m.len, m.next+m.len
	}
	insertTo(len(next))
	return edits, inserted
}

type differ struct {
	base, next sendonce.Manifest
	matches    []match // ascending on both sides
}

// match says that base[base:base+len] and next[next:next+len] are equal.
type match struct{ base, next, len int }

// span is base[b0:b1] and next[n0:n1].
type span struct{ b0, b1, n0, n1 int }

const (
	maxDiffDepth = 12      // how often Diff begins again between matches
	maxExact     = 1 << 14 // cells of the table for an exact comparison
	maxJump      = 256     // references that a greedy match may leave out
)

func (d *differ) add(base, next, n int) {
	if n == 0 {
		return
	}
	if k := len(d.matches) - 1; k >= 0 {
		if m := &d.matches[k]; m.base+m.len == base && m.next+m.len == next {
			m.len += n
			return
		}
	}
	d.matches = append(d.matches, match{base, next, n})
}

// compare matches what it can in s.
func (d *differ) compare(s span, depth int) {
	n := 0
	for s.b0+n < s.b1 && s.n0+n < s.n1 && d.base[s.b0+n] == d.next[s.n0+n] {
		n++
	}
	d.add(s.b0, s.n0, n)
	s.b0 += n
	s.n0 += n
	tail := 0
	for s.b0 < s.b1 && s.n0 < s.n1 && d.base[s.b1-1] == d.next[s.n1-1] {
		s.b1--
		s.n1--
		tail++
	}
	if s.b0 < s.b1 && s.n0 < s.n1 {
		d.middle(s, depth)
	}
	d.add(s.b1, s.n1, tail)
}

func (d *differ) middle(s span, depth int) {
	if (s.b1-s.b0)*(s.n1-s.n0) <= maxExact {
		d.exact(s)
		return
	}
	var anchors []pair
	if depth < maxDiffDepth {
		anchors = rising(d.unique(s))
	}
	if len(anchors) == 0 {
		d.greedy(s)
		return
	}
	for _, a := range anchors {
		if int(a.base) < s.b0 || int(a.next) < s.n0 {
			continue // the match before has grown over it
		}
		d.compare(span{s.b0, int(a.base), s.n0, int(a.next)}, depth+1)
		s.b0, s.n0 = int(a.base), int(a.next)
		n := 1
		for s.b0+n < s.b1 && s.n0+n < s.n1 && d.base[s.b0+n] == d.next[s.n0+n] {
			n++
		}
		d.add(s.b0, s.n0, n)
		s.b0 += n
		s.n0 += n
	}
	d.compare(s, depth+1)
}

// pair is a position in base and one in next; MaxRefs fits an int32.
type pair struct{ base, next int32 }

// key stands for a reference in maps. IDs are hashes, so 8 bytes tell them apart;
// where they do not, because someone made them so, the script becomes longer,
// not wrong: equality is always checked.
func key(r sendonce.Ref) uint64 {
	return binary.LittleEndian.Uint64(r.ID[:8]) ^ uint64(r.Size)*0x9E3779B97F4A7C15
}

// unique returns where the references are that occur once on each side, in the
// order of next.
func (d *differ) unique(s span) []pair {
	const twice = -1
	type places struct{ base, next int32 } // 1 + offset in s, or 0, or twice
	seen := make(map[uint64]places, s.b1-s.b0)
	for i, r := range d.base[s.b0:s.b1] {
		k := key(r)
		p := seen[k]
		if p.base == 0 {
			p.base = int32(i + 1)
		} else {
			p.base = twice
		}
		seen[k] = p
	}
	for i, r := range d.next[s.n0:s.n1] {
		k := key(r)
		p, ok := seen[k]
		if !ok {
			continue
		}
		if p.next == 0 {
			p.next = int32(i + 1)
		} else {
			p.next = twice
		}
		seen[k] = p
	}
	var out []pair
	for i, r := range d.next[s.n0:s.n1] {
		p := seen[key(r)]
		if p.base > 0 && p.next > 0 && d.base[s.b0+int(p.base)-1] == r {
			out = append(out, pair{int32(s.b0) + p.base - 1, int32(s.n0 + i)})
		}
	}
	return out
}

// rising returns a longest subsequence of pairs in which base rises too (M. L.
// Fredman, "On computing the length of longest increasing subsequences", 1975).
func rising(pairs []pair) []pair {
	if slices.IsSortedFunc(pairs, func(a, b pair) int { return int(a.base) - int(b.base) }) {
		return pairs
	}
	piles := make([]int32, 0, len(pairs)) // index of the lowest end of each length
	before := make([]int32, len(pairs))
	for i, p := range pairs {
		at, _ := slices.BinarySearchFunc(piles, p.base, func(j, base int32) int { return int(pairs[j].base) - int(base) })
		before[i] = -1
		if at > 0 {
			before[i] = piles[at-1]
		}
		if at == len(piles) {
			piles = append(piles, int32(i))
		} else {
			piles[at] = int32(i)
		}
	}
	out := make([]pair, len(piles))
	for i, j := len(piles)-1, piles[len(piles)-1]; i >= 0; i, j = i-1, before[j] {
		out[i] = pairs[j]
	}
	return out
}

// exact finds a longest common subsequence with a table of all pairs.
func (d *differ) exact(s span) {
	nb, nn := s.b1-s.b0, s.n1-s.n0
	width := nn + 1
	best := make([]uint16, (nb+1)*width) // of what is behind (i, j)
	for i := nb - 1; i >= 0; i-- {
		for j := nn - 1; j >= 0; j-- {
			if d.base[s.b0+i] == d.next[s.n0+j] {
				best[i*width+j] = best[(i+1)*width+j+1] + 1
			} else {
				best[i*width+j] = max(best[(i+1)*width+j], best[i*width+j+1])
			}
		}
	}
	for i, j := 0, 0; i < nb && j < nn; {
		switch {
		case d.base[s.b0+i] == d.next[s.n0+j]:
			d.add(s.b0+i, s.n0+j, 1)
			i++
			j++
		case best[(i+1)*width+j] >= best[i*width+j+1]:
			i++
		default:
			j++
		}
	}
}

// greedy matches each reference of next with the next equal one of base, unless
// that would leave out too many.
func (d *differ) greedy(s span) {
	first := make(map[uint64]int32, s.b1-s.b0) // 1 + position of the first that is left
	later := make([]int32, s.b1-s.b0)          // 1 + position of the next with that key
	for i := s.b1 - 1; i >= s.b0; i-- {
		k := key(d.base[i])
		later[i-s.b0] = first[k]
		first[k] = int32(i + 1)
	}
	start := s.b0
	for s.n0 < s.n1 && s.b0 < s.b1 {
		k := key(d.next[s.n0])
		p := first[k]
		for p != 0 && int(p)-1 < s.b0 {
			p = later[int(p)-1-start]
			first[k] = p
		}
		at := int(p) - 1
		if p == 0 || at-s.b0 > maxJump || d.base[at] != d.next[s.n0] {
			s.n0++
			continue
		}
		d.add(at, s.n0, 1)
		s.b0, s.n0 = at+1, s.n0+1
	}
}
