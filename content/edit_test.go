package content

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sendonce"
)

// lists draws a manifest of few distinct references, so that they repeat, or of
// many.
func list(t *rapid.T, name string) sendonce.Manifest {
	kinds := rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, name+" kinds")
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sendonce.Ref {
		k := rapid.IntRange(0, kinds).Draw(t, "kind")
		return sendonce.Ref{ID: sendonce.ID{byte(k), byte(k >> 8)}, Size: int64(k + 1)}
	}), 0, 300).Draw(t, name)
}

func checkDiff(t interface{ Fatalf(string, ...any) }, base, next sendonce.Manifest) (inserted int) {
	edits, refs := Diff(base, next)
	got, err := Apply(base, edits, refs, len(next))
	if err != nil || !slices.Equal(got, next) {
		t.Fatalf("Diff then Apply gives %d references, %v, want %d (%v)", len(got), err, len(next), edits)
	}
	return len(refs)
}

func TestDiffThenApply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := list(t, "base")
		next := list(t, "next")
		checkDiff(t, base, next)
		// And a relative of base, in which something was cut, moved and repeated.
		cut := func(what string) (int, int) {
			i := rapid.IntRange(0, len(base)).Draw(t, what)
			return i, rapid.IntRange(i, len(base)).Draw(t, what+" end")
		}
		a0, a1 := cut("cut")
		b0, b1 := cut("copy")
		checkDiff(t, base, slices.Concat(base[:a0], next, base[a1:], base[b0:b1]))
	})
}

// For splices of lists without repetitions no more is inserted than was spliced
// in; with zero extents between them, which repeat, little more.
func TestDiffIsNearMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := manifest(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 3000).Draw(t, "n"))
		repeats := rapid.Bool().Draw(t, "repeats")
		for i := range base {
			if base[i].ID.IsZero() {
				if repeats {
					base[i].Size = sendonce.MinZeroRun
				} else {
					base[i].Size += int64(i)
				}
			}
		}
		next := slices.Clone(base)
		spliced := 0
		for k := range rapid.IntRange(0, 20).Draw(t, "splices") {
			at := rapid.IntRange(0, len(next)).Draw(t, "at")
			del := rapid.IntRange(0, min(20, len(next)-at)).Draw(t, "delete")
			ins := rapid.IntRange(0, 20).Draw(t, "insert")
			spliced += ins
			next = slices.Concat(next[:at], manifest(uint64(k+1)<<40, ins), next[at+del:])
		}
		slack := 0
		if repeats {
			slack = 2 + spliced/10
		}
		if n := checkDiff(t, base, next); n > spliced+slack {
			t.Fatalf("%d references are inserted, %d were spliced in", n, spliced)
		}
	})
}

func TestDiffShapes(t *testing.T) {
	a, b := manifest(20, 40), manifest(21, 40)
	for _, tc := range []struct {
		name       string
		base, next sendonce.Manifest
		want       []sendonce.Edit
	}{
		{"both empty", nil, nil, nil},
		{"new file", nil, a, []sendonce.Edit{{Insert: 40}}},
		{"emptied", a, nil, nil},
		{"equal", a, a, []sendonce.Edit{{Keep: 40}}},
		{"append", a, slices.Concat(a, b), []sendonce.Edit{{Keep: 40, Insert: 40}}},
		{"prepend", a, slices.Concat(b, a), []sendonce.Edit{{Insert: 40}, {Keep: 40}}},
		{"truncate", a, a[:10], []sendonce.Edit{{Keep: 10}}},
		{"overwrite", a, slices.Concat(a[:5], b[:1], a[6:]), []sendonce.Edit{{Keep: 5, Insert: 1}, {Skip: 1, Keep: 34}}},
		{"all new", a, b, []sendonce.Edit{{Insert: 40}}},
	} {
		if got, _ := Diff(tc.base, tc.next); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Moved halves and masses of repetitions must neither take for ever nor be
// wrong.
func TestDiffOfLargeLists(t *testing.T) {
	m := manifest(22, 100_000)
	if n := checkDiff(t, m, slices.Concat(m[60_000:], m[:60_000])); n != 40_000 {
		t.Errorf("swapped parts: %d references are inserted, want 40000", n)
	}
	var few, fewer sendonce.Manifest
	for i, b := range stream(23, 50_000) {
		r := sendonce.Ref{ID: sendonce.ID{b % 7}, Size: 100}
		few = append(few, r)
		if i%100 != 0 {
			fewer = append(fewer, r)
		}
	}
	if n := checkDiff(t, few, fewer); n > 10_000 {
		t.Errorf("repetitions: %d references of %d are inserted", n, len(fewer))
	}
	checkDiff(t, fewer, few)
	back := slices.Clone(m)
	slices.Reverse(back)
	checkDiff(t, m, back)
}

func TestApplyErrors(t *testing.T) {
	base, refs := manifest(24, 10), manifest(25, 5)
	const most = 20
	for _, tc := range []struct {
		name  string
		edits []sendonce.Edit
		refs  []sendonce.Ref
		kind  sendonce.ErrKind
	}{
		{"fits", []sendonce.Edit{{Skip: 3, Keep: 7, Insert: 5}}, refs, 0},
		{"nothing", nil, nil, 0},
		{"skip past the end", []sendonce.Edit{{Skip: 11}}, nil, sendonce.KindInvalid},
		{"keep past the end", []sendonce.Edit{{Skip: 4, Keep: 7}}, nil, sendonce.KindInvalid},
		{"in two steps", []sendonce.Edit{{Keep: 10}, {Keep: 1}}, nil, sendonce.KindInvalid},
		{"overflow", []sendonce.Edit{{Skip: 1, Keep: math.MaxUint64}}, nil, sendonce.KindInvalid},
		{"too few references", []sendonce.Edit{{Insert: 6}}, refs, sendonce.KindInvalid},
		{"huge insert", []sendonce.Edit{{Insert: 1}, {Insert: math.MaxUint64}}, refs, sendonce.KindInvalid},
		{"unused references", []sendonce.Edit{{Insert: 4}}, refs, sendonce.KindInvalid},
		{"bad reference", []sendonce.Edit{{Insert: 1}}, []sendonce.Ref{{Size: -4}}, sendonce.KindInvalid},
		{"too long", []sendonce.Edit{{Keep: 10, Insert: 11}}, manifest(26, 11), sendonce.KindLimit},
	} {
		a := NewApplier(base, most)
		err := a.Add(tc.edits, tc.refs)
		wantKind(t, tc.name, err, tc.kind)
		if err != nil && (len(a.Manifest()) != 0 || a.Add([]sendonce.Edit{{Keep: 10}}, nil) != nil) {
			t.Errorf("%s: the Applier is not as before", tc.name)
		}
		if m, again := Apply(base, tc.edits, tc.refs, most); fmt.Sprint(again) != fmt.Sprint(err) || err != nil && m != nil {
			t.Errorf("%s: Apply gives %d references, %v", tc.name, len(m), again)
		}
	}
	_, err := Apply(base, []sendonce.Edit{{Keep: 1}}, nil, -1)
	wantKind(t, "a negative limit", err, sendonce.KindLimit)
}

// A script that is cut anywhere between its edits gives the same.
func TestApplierInParts(t *testing.T) {
	base := manifest(27, 2000)
	next := slices.Concat(base[:100], manifest(28, 7), base[300:900], manifest(29, 9), base[901:])
	edits, refs := Diff(base, next)
	a := NewApplier(base, len(next))
	for _, e := range edits {
		if err := a.Add([]sendonce.Edit{e}, refs[:e.Insert]); err != nil {
			t.Fatal(err)
		}
		refs = refs[e.Insert:]
	}
	if !slices.Equal(a.Manifest(), next) {
		t.Error("the parts give another manifest")
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 5, 2, 1, 3, 0}, uint8(10), uint8(2), int16(100))
	f.Add([]byte{255, 255, 255}, uint8(3), uint8(0), int16(-1))
	f.Fuzz(func(t *testing.T, script []byte, base, inserted uint8, limit int16) {
		count := func(b byte) uint64 {
			if b >= 250 {
				return math.MaxUint64 - uint64(255-b)
			}
			return uint64(b)
		}
		var edits []sendonce.Edit
		want := 0
		for ; len(script) >= 3; script = script[3:] {
			e := sendonce.Edit{Skip: count(script[0]), Keep: count(script[1]), Insert: count(script[2])}
			edits = append(edits, e)
			want += int(e.Keep + e.Insert)
		}
		m, err := Apply(manifest(1, int(base)), edits, manifest(2, int(inserted)), int(limit))
		if err == nil && (len(m) != want || len(m) > int(max(limit, 0))) {
			t.Fatalf("%d references, want %d, limit %d", len(m), want, limit)
		}
	})
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte("the quick brown fox"), []byte("a quick brown dog"))
	f.Add([]byte("aaaaaaaaab"), []byte("baaaaaaaa"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		refs := func(s []byte) (m sendonce.Manifest) {
			for _, c := range s {
				m = append(m, sendonce.Ref{ID: sendonce.ID{c}, Size: 1})
			}
			return m
		}
		checkDiff(t, refs(a), refs(b))
	})
}

func BenchmarkDiff100k(b *testing.B) {
	base := manifest(30, 100_000)
	half := slices.Concat(base[:50_000], manifest(31, 3), base[50_001:])
	var many sendonce.Manifest
	for i := range base {
		if many = append(many, base[i]); i%100 == 0 {
			many[i] = manifest(uint64(i)<<20, 1)[0]
		}
	}
	for name, next := range map[string]sendonce.Manifest{"one": half, "many": many} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(100_000 * 40)
			b.ReportAllocs()
			for b.Loop() {
				Diff(base, next)
			}
		})
	}
}
