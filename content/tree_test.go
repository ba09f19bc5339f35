package content

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sendonce"
)

func TestInlineContent(t *testing.T) {
	data := []byte("abc")
	c := InlineContent(data)
	data[0] = 'x'
	if string(c.Inline) != "abc" {
		t.Errorf("the content has %q: it is no copy", c.Inline)
	}
	if !InlineContent(nil).IsEmpty() || InlineContent([]byte{}).Inline != nil {
		t.Error("no data is not the empty content")
	}
	defer func() {
		if recover() == nil {
			t.Error("too much data is taken")
		}
	}()
	InlineContent(make([]byte, sendonce.MaxInline+1))
}

func TestDescribeThenLoad(t *testing.T) {
	h := NewHasher(testKey)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(60, 3000), rapid.Just(20_000)).Draw(t, "n")
		m := manifest(rapid.Uint64().Draw(t, "seed"), n)
		var p pages
		c, err := Describe(h, m, p.emit)
		if err != nil {
			t.Fatal(err)
		}
		quiet, err := Describe(h, m, nil)
		if err != nil || !quiet.Equal(c) {
			t.Fatalf("without emit: %+v, %v, want %+v", quiet, err, c)
		}
		if c.IsTree() != (n > sendonce.MaxDirectRefs) {
			t.Fatalf("%d references make %+v", n, c)
		}
		got, err := Load(h, c, p.get)
		if err != nil || !slices.Equal(got, m) {
			t.Fatalf("Load gives %d references, %v, want %d", len(got), err, n)
		}
		if c.IsTree() {
			if p.order[len(p.order)-1] != c.Root {
				t.Fatal("the root is not the last page emitted")
			}
			if p.asked != len(p.order) {
				t.Fatalf("Load asked for %d pages of %d", p.asked, len(p.order))
			}
		}
		if n == 0 {
			return
		}
		first := rapid.IntRange(0, n-1).Draw(t, "first")
		count := rapid.IntRange(1, n-first).Draw(t, "count")
		got = got[:0]
		err = Walk(h, c, uint64(first), uint64(count), p.get, func(refs []sendonce.Ref) error {
			got = append(got, refs...)
			return nil
		})
		if err != nil || !slices.Equal(got, m[first:first+count]) {
			t.Fatalf("Walk of %d+%d gives %d references, %v", first, count, len(got), err)
		}
	})
}

// Page sizes are as the format says, whatever level.
func TestPageRule(t *testing.T) {
	h := NewHasher(testKey)
	var p pages
	c, err := Describe(h, manifest(6, 200_000), p.emit)
	if err != nil {
		t.Fatal(err)
	}
	if c.Level < 1 {
		t.Fatalf("level %d", c.Level)
	}
	last := map[uint8]int{}
	count := map[uint8]int{}
	forced := 0
	for i, id := range p.order {
		level, _, err := ParsePage(nil, p.byID[id])
		if err != nil {
			t.Fatal(err)
		}
		last[level] = i
		count[level]++
	}
	for i, id := range p.order {
		level, entries, _ := ParsePage(nil, p.byID[id])
		if len(p.byID[id]) > MaxPage {
			t.Errorf("a page has %d bytes", len(p.byID[id]))
		}
		for j, e := range entries[:len(entries)-1] {
			if j+1 >= minEntries && binary.BigEndian.Uint16(e.ID[:])%512 == 0 {
				t.Errorf("page %d goes on after entry %d", i, j)
			}
		}
		end := entries[len(entries)-1]
		switch {
		case len(entries) == MaxPageEntries:
			forced++
		case i != last[level] && (len(entries) < minEntries || binary.BigEndian.Uint16(end.ID[:])%512 != 0):
			t.Errorf("page %d of level %d ends with %d entries and %v", i, level, len(entries), end.ID)
		}
	}
	if count[c.Level] != 1 || forced == 0 {
		t.Errorf("%d roots, %d pages of the largest size", count[c.Level], forced)
	}
}

// An edit in the middle of a long list changes a few pages of each level.
func TestEditChangesFewPages(t *testing.T) {
	h := NewHasher(testKey)
	m := manifest(7, 100_000)
	var before, after pages
	c, err := Describe(h, m, before.emit)
	if err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string]sendonce.Manifest{
		"replace": slices.Concat(m[:50_000], manifest(8, 1), m[50_001:]),
		"insert":  slices.Concat(m[:50_000], manifest(9, 3), m[50_000:]),
		"delete":  slices.Concat(m[:50_000], m[50_002:]),
		"append":  slices.Concat(m, manifest(10, 1)),
	} {
		after = pages{}
		if _, err := Describe(h, changed, after.emit); err != nil {
			t.Fatal(err)
		}
		fresh := 0
		for id := range after.byID {
			if before.byID[id] == nil {
				fresh++
			}
		}
		if limit := 4 * (int(c.Level) + 1); fresh == 0 || fresh > limit {
			t.Errorf("%s: %d of %d pages are new, want at most %d", name, fresh, len(after.byID), limit)
		}
	}
}

func TestDescribeErrors(t *testing.T) {
	h := NewHasher(testKey)
	id := sendonce.ID{1}
	for _, m := range []sendonce.Manifest{
		{{ID: id, Size: 0}},
		{{ID: id, Size: -1}},
		{{Size: 0}},
		{{ID: id, Size: sendonce.MaxChunk + 1}},
		{{Size: math.MaxInt64}, {ID: id, Size: 1}},
	} {
		_, err := Describe(h, m, nil)
		wantKind(t, fmt.Sprint(m), err, sendonce.KindInvalid)
	}
	stop := errors.New("stop")
	for _, n := range []int{17, 5000} {
		if _, err := Describe(h, manifest(11, n), func(Page) error { return stop }); err != stop {
			t.Errorf("emit's error becomes %v", err)
		}
	}
	if _, err := Describe(h, make(sendonce.Manifest, 1), nil); err == nil {
		t.Error("a reference of no bytes is taken")
	}
}

// hostile returns a content whose root page holds the entries.
func hostile(h *Hasher, p *pages, level uint8, entries []Entry) sendonce.Content {
	data := AppendPage(nil, level, entries)
	id := h.Page(data)
	p.emit(Page{id, data})
	c := sendonce.Content{Root: id, Level: level}
	for _, e := range entries {
		c.Count += e.Refs
	}
	return c
}

func TestLoadErrors(t *testing.T) {
	h := NewHasher(testKey)
	var p pages
	m := manifest(12, 3000)
	c, err := Describe(h, m, p.emit)
	if err != nil {
		t.Fatal(err)
	}
	load := func(name string, c sendonce.Content, kind sendonce.ErrKind) {
		t.Helper()
		_, err := Load(h, c, p.get)
		wantKind(t, name, err, kind)
	}
	load("inline", InlineContent([]byte("x")), sendonce.KindInvalid)
	load("bad direct reference", sendonce.Content{Refs: []sendonce.Ref{{Size: -1}}}, sendonce.KindInvalid)
	load("tree and direct references", sendonce.Content{Root: c.Root, Level: c.Level, Count: c.Count, Refs: m[:1]}, sendonce.KindInvalid)
	load("no count", sendonce.Content{Root: c.Root, Level: c.Level}, sendonce.KindInvalid)
	load("wrong count", sendonce.Content{Root: c.Root, Level: c.Level, Count: c.Count + 1}, sendonce.KindDamaged)
	load("huge count", sendonce.Content{Root: c.Root, Level: c.Level, Count: MaxRefs + 1}, sendonce.KindLimit)
	load("wrong level", sendonce.Content{Root: c.Root, Level: c.Level + 1, Count: c.Count}, sendonce.KindDamaged)
	load("huge level", sendonce.Content{Root: c.Root, Level: MaxLevel + 1, Count: c.Count}, sendonce.KindInvalid)
	load("page is not there", sendonce.Content{Root: sendonce.ID{7}, Level: 1, Count: 100}, sendonce.KindDamaged)

	leaf := hostile(h, &p, 0, []Entry{{ID: sendonce.ID{1}, Bytes: 5, Refs: 1}})
	load("a leaf where a page is expected", hostile(h, &p, 2, []Entry{{ID: leaf.Root, Bytes: 5, Refs: 1}}), sendonce.KindDamaged)
	load("wrong bytes", hostile(h, &p, 1, []Entry{{ID: leaf.Root, Bytes: 6, Refs: 1}}), sendonce.KindDamaged)
	load("wrong references", hostile(h, &p, 1, []Entry{{ID: leaf.Root, Bytes: 5, Refs: 2}}), sendonce.KindDamaged)
	load("thin pages", hostile(h, &p, 1, []Entry{{ID: leaf.Root, Bytes: 5, Refs: 1}, {ID: leaf.Root, Bytes: 5, Refs: 1}}), sendonce.KindDamaged)

	p.byID[p.order[0]] = append(bytes.Clone(p.byID[p.order[0]]), 0)
	load("a changed page", c, sendonce.KindDamaged)

	stop := errors.New("stop")
	if _, err := Load(h, c, func([]sendonce.ID) ([][]byte, error) { return nil, stop }); err != stop {
		t.Errorf("get's error becomes %v", err)
	}
	_, err = Load(h, c, func([]sendonce.ID) ([][]byte, error) { return nil, nil })
	wantKind(t, "get returns too few", err, sendonce.KindInternal)
	if err := Walk(h, leaf, 0, 0, p.get, func([]sendonce.Ref) error { return stop }); err != stop {
		t.Errorf("fn's error becomes %v", err)
	}
	for _, r := range [][2]uint64{{2, 0}, {0, 2}, {1, 1}, {1, math.MaxUint64}, {math.MaxUint64, 1}} {
		wantKind(t, fmt.Sprint("range ", r), Walk(h, leaf, r[0], r[1], p.get, nil), sendonce.KindInvalid)
	}
	if m, err := Load(h, sendonce.Content{}, nil); err != nil || len(m) != 0 {
		t.Errorf("the empty content gives %v, %v", m, err)
	}
}

func TestParsePageErrors(t *testing.T) {
	good := AppendPage(nil, 1, []Entry{{ID: sendonce.ID{1}, Bytes: 300, Refs: 64}, {ID: sendonce.ID{2}, Bytes: 5, Refs: 1}})
	if _, _, err := ParsePage(nil, good); err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	set := func(i int, v byte) []byte { return change(func(b []byte) []byte { b[i] = v; return b }) }
	sizes := pageHeader + 2*32
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"version 0":       set(0, 0),
		"level":           set(1, MaxLevel+1),
		"no entries":      set(2, 0),
		"more entries":    set(2, 3),
		"too many":        set(3, 255),
		"zero page ID":    set(pageHeader, 0),
		"size 0":          set(sizes+2, 0),
		"references 0":    set(sizes+3, 0),
		"thin page":       set(sizes+3, 63),
		"cut off":         good[:len(good)-1],
		"something after": append(bytes.Clone(good), 1),
		"long number":     slices.Concat(good[:len(good)-1], []byte{0x81, 0}),
		"huge number":     slices.Concat(good[:len(good)-1], bytes.Repeat([]byte{255}, 9), []byte{1}),
		"many references": slices.Concat(good[:len(good)-1], binary.AppendUvarint(nil, MaxRefs)),
		"large chunk":     AppendPage(nil, 0, []Entry{{ID: sendonce.ID{1}, Bytes: sendonce.MaxChunk + 1, Refs: 1}}),
		"sum":             AppendPage(nil, 0, []Entry{{Bytes: math.MaxInt64, Refs: 1}, {Bytes: 1, Refs: 1}}),
	} {
		_, _, err := ParsePage(nil, b)
		wantKind(t, name, err, sendonce.KindDamaged)
	}
	_, _, err := ParsePage(nil, set(0, pageVersion+1))
	wantKind(t, "version 2", err, sendonce.KindNewerFormat)
}

func FuzzPage(f *testing.F) {
	f.Add(AppendPage(nil, 0, []Entry{{ID: sendonce.ID{1}, Bytes: 300, Refs: 1}, {Bytes: 1 << 40, Refs: 1}}))
	f.Add(AppendPage(nil, 1, []Entry{{ID: sendonce.ID{1}, Bytes: 300, Refs: 64}, {ID: sendonce.ID{2}, Bytes: 5, Refs: 1}}))
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		level, entries, err := ParsePage(nil, b)
		if err == nil && !bytes.Equal(AppendPage(nil, level, entries), b) {
			t.Fatal("parse then append gives other bytes")
		}
	})
}

// The tree's pages come from the input, so that Load meets every kind of lie
// under good hashes.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{0, 3, 1, 5, 1, 5, 1, 5, 1, 1, 1, 15, 3}, uint64(3), uint8(1))
	f.Add([]byte{0, 64, 1, 1}, uint64(64), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, count uint64, level uint8) {
		h := NewHasher(testKey)
		var p pages
		ids := []sendonce.ID{{}, {1}}
		for len(b) >= 2 {
			pageLevel, n := b[0], int(b[1])
			b = b[2:]
			var entries []Entry
			for range n {
				if len(b) < 3 {
					break
				}
				entries = append(entries, Entry{ID: ids[int(b[0])%len(ids)], Bytes: int64(b[1]), Refs: uint64(b[2])})
				b = b[3:]
			}
			data := AppendPage(nil, pageLevel, entries)
			ids = append(ids, h.Page(data))
			p.emit(Page{h.Page(data), data})
		}
		c := sendonce.Content{Root: ids[len(ids)-1], Count: count, Level: level}
		m, err := Load(h, c, p.get)
		if err != nil {
			return
		}
		if uint64(len(m)) != count {
			t.Fatalf("%d references, the count is %d", len(m), count)
		}
		if err := CheckRefs(m); err != nil {
			t.Fatal(err)
		}
	})
}

func TestGoldenPages(t *testing.T) {
	h := NewHasher(testKey)
	for _, g := range goldenTrees {
		want := golden(t, g.file)
		var p pages
		c, err := Describe(h, manifest(g.seed, g.refs), p.emit)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, id := range p.order {
			got.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(p.byID[id]))))
			got.Write(p.byID[id])
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: the pages are not what they were", g.file)
		}
		if c.Root.String() != g.root || c.Level != g.level {
			t.Errorf("%s: root %v, level %d, want %s, %d", g.file, c.Root, c.Level, g.root, g.level)
		}
		// And the old pages open.
		old := pages{}
		for b := want; len(b) > 0; {
			n := 4 + int(binary.LittleEndian.Uint32(b))
			old.emit(Page{h.Page(b[4:n]), b[4:n]})
			b = b[n:]
		}
		m, err := Load(h, c, old.get)
		if err != nil || !slices.Equal(m, manifest(g.seed, g.refs)) {
			t.Errorf("%s does not open: %d references, %v", g.file, len(m), err)
		}
	}
}

func BenchmarkDescribe100k(b *testing.B) {
	h := NewHasher(testKey)
	m := manifest(13, 100_000)
	b.SetBytes(int64(len(m)) * 40)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Describe(h, m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad100k(b *testing.B) {
	h := NewHasher(testKey)
	var p pages
	c, err := Describe(h, manifest(13, 100_000), p.emit)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(100_000 * 40)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(h, c, p.get); err != nil {
			b.Fatal(err)
		}
	}
}
