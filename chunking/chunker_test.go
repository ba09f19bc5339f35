package chunking

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sendonce"
)

func TestCheck(t *testing.T) {
	ok := []sendonce.Params{
		sendonce.DefaultParams,
		testParams,
		{Algorithm: 1, Min: 64, Avg: 128, Max: 129},
		{Algorithm: 1, Min: 1 << 20, Avg: 4 << 20, Max: sendonce.MaxChunk},
	}
	for _, p := range ok {
		if err := Check(p); err != nil {
			t.Errorf("Check(%+v) = %v", p, err)
		}
	}
	bad := []struct {
		p    sendonce.Params
		kind sendonce.ErrKind
	}{
		{sendonce.Params{}, sendonce.KindInvalid},
		{sendonce.Params{Algorithm: 2, Min: 64, Avg: 128, Max: 256}, sendonce.KindNewerFormat},
		{sendonce.Params{Algorithm: 1, Min: 63, Avg: 128, Max: 256}, sendonce.KindInvalid},
		{sendonce.Params{Algorithm: 1, Min: 64, Avg: 0, Max: 256}, sendonce.KindInvalid},
		{sendonce.Params{Algorithm: 1, Min: 64, Avg: 129, Max: 256}, sendonce.KindInvalid},
		{sendonce.Params{Algorithm: 1, Min: 128, Avg: 128, Max: 256}, sendonce.KindInvalid},
		{sendonce.Params{Algorithm: 1, Min: 64, Avg: 128, Max: 128}, sendonce.KindInvalid},
		{sendonce.Params{Algorithm: 1, Min: 64, Avg: 128, Max: sendonce.MaxChunk + 1}, sendonce.KindInvalid},
	}
	for _, b := range bad {
		if err := Check(b.p); sendonce.KindOf(err) != b.kind {
			t.Errorf("Check(%+v) = %v, want kind %v", b.p, err, b.kind)
		}
		if _, err := New(b.p); err == nil {
			t.Errorf("New(%+v) accepts what Check does not", b.p)
		}
	}
}

// content draws bytes with runs of zeros of every interesting length.
func content(t *rapid.T) []byte {
	var data []byte
	for range rapid.IntRange(0, 4).Draw(t, "pieces") {
		n := rapid.OneOf(
			rapid.IntRange(0, 3000),
			rapid.SampledFrom([]int{minRun - 1, minRun, minRun + 1, 2*minRun - 1}),
			rapid.IntRange(0, 2*minRun),
		).Draw(t, "length")
		if rapid.Bool().Draw(t, "zero") {
			data = append(data, make([]byte, n)...)
		} else {
			data = append(data, stream(rapid.Uint64().Draw(t, "seed"), n)...)
		}
	}
	return data
}

// holesIn draws holes that cover parts of data's zeros.
func holesIn(t *rapid.T, data []byte) [][2]int64 {
	var holes [][2]int64
	for i := 0; i < len(data); {
		n := leadingZeros(data[i:])
		if n > 100 && rapid.Bool().Draw(t, "hole") {
			from := rapid.IntRange(0, n-1).Draw(t, "from")
			to := rapid.IntRange(from+1, n).Draw(t, "to")
			if rapid.Bool().Draw(t, "whole") {
				from, to = 0, n
			}
			holes = append(holes, [2]int64{int64(i + from), int64(i + to)})
		}
		i += max(n, 1)
	}
	return holes
}

// The cutting is what the definition says, with holes and without, whatever the
// read size, and the Chunker's past does not matter.
func TestPureFunctionOfBytes(t *testing.T) {
	chunkers := map[int]*Chunker{}
	for _, size := range []int{997, minRun - 1, minRun, minRun + 1, defaultReadSize} {
		chunkers[size] = newChunker(t, testParams, size)
	}
	rapid.Check(t, func(rt *rapid.T) {
		data := content(rt)
		want := model(t, testParams, data)
		holes := holesIn(rt, data)
		sizes := slices.Sorted(maps.Keys(chunkers))
		for _, size := range []int{rapid.SampledFrom(sizes).Draw(rt, "read size"), defaultReadSize} {
			c := chunkers[size]
			if got := collect(t, c, bytes.NewReader(data), int64(len(data))); !equalChunks(got, want) {
				rt.Fatalf("read size %d:\n got%s\nwant%s", size, describe(got), describe(want))
			}
			if got := collect(t, c, &sparse{data: data, holes: holes}, int64(len(data))); !equalChunks(got, want) {
				rt.Fatalf("read size %d, holes %v:\n got%s\nwant%s", size, holes, describe(got), describe(want))
			}
		}
	})
}

func FuzzChunker(f *testing.F) {
	f.Add([]byte("abc"), uint32(0), uint32(10), uint16(100))
	f.Add(stream(1, 9000), uint32(4000), uint32(minRun), uint16(1000))
	f.Add(make([]byte, 300), uint32(20), uint32(minRun-300), uint16(65535))
	f.Fuzz(func(t *testing.T, text []byte, at, zeros uint32, readSize uint16) {
		at = min(at, uint32(len(text)))
		zeros %= 5 * minRun
		data := slices.Concat(text[:at], make([]byte, zeros), text[at:])
		c := newChunker(t, testParams, int(readSize)+64)
		got := collect(t, c, bytes.NewReader(data), int64(len(data)))
		if want := model(t, testParams, data); !equalChunks(got, want) {
			t.Fatalf("\n got%s\nwant%s", describe(got), describe(want))
		}
	})
}

// A reset of the outside chunker forgets the average; the second source must be
// cut like the first.
func TestAverageSurvivesReset(t *testing.T) {
	c := newChunker(t, sendonce.DefaultParams, defaultReadSize)
	data := stream(7, 4<<20)
	first := collect(t, c, bytes.NewReader(data), int64(len(data)))
	second := collect(t, c, bytes.NewReader(data), int64(len(data)))
	if !equalChunks(first, second) {
		t.Fatalf("the second pass differs:\nfirst%s\nsecond%s", describe(first), describe(second))
	}
	// Only the largest size would be cut at an average of 1 MiB: 16 chunks.
	if len(first) < 35 || len(first) > 70 {
		t.Errorf("4 MiB give %d chunks, want about 50", len(first))
	}
	// Behind a zero extent there is a reset too.
	withRun := slices.Concat(data, make([]byte, minRun), data)
	all := collect(t, c, bytes.NewReader(withRun), int64(len(withRun)))
	if len(all) != 2*len(first)+1 || !all[len(first)].Zero {
		t.Errorf("twice the data around a zero extent: %d chunks, want %d", len(all), 2*len(first)+1)
	}
}

// Behind an insertion the boundaries are the old ones again.
func TestResync(t *testing.T) {
	c := newChunker(t, sendonce.DefaultParams, defaultReadSize)
	data := stream(8, 8<<20)
	before := collect(t, c, bytes.NewReader(data), int64(len(data)))
	const at = 3 << 20
	changed := slices.Concat(data[:at], []byte("an insertion"), data[at:])
	known := map[string]bool{}
	for _, chunk := range before {
		known[string(chunk.Data)] = true
	}
	fresh := 0
	for _, chunk := range collect(t, c, bytes.NewReader(changed), int64(len(changed))) {
		if !known[string(chunk.Data)] {
			fresh++
		}
	}
	if fresh == 0 || fresh > 3 {
		t.Errorf("an insertion makes %d new chunks, want 1 to 3", fresh)
	}
}

// A hole is one extent however large, and nothing of it is read; zeros that are
// read on both sides belong to it.
func TestHugeHole(t *testing.T) {
	const size = 1 << 50
	src := &hugeHole{from: 300_000, to: size - 100_000, size: size}
	c := newChunker(t, sendonce.DefaultParams, defaultReadSize)
	got := collect(t, c, src, size)
	// 300,000 bytes of data of which the last 1,000 are zero; 100,000 at the end
	// that begin with 1,000 zeros.
	var zero []Chunk
	var sum int64
	for _, chunk := range got {
		sum += chunk.Length
		if chunk.Zero {
			zero = append(zero, chunk)
		}
	}
	want := Chunk{Offset: 299_000, Length: size - 100_000 + 1_000 - 299_000, Zero: true}
	if len(zero) != 1 || !equalChunks(zero, []Chunk{want}) {
		t.Errorf("zero extents%s, want%s", describe(zero), describe([]Chunk{want}))
	}
	if sum != size {
		t.Errorf("the chunks have %d bytes, want %d", sum, int64(size))
	}
	if src.read != 400_000 {
		t.Errorf("%d bytes were read, want 400000", src.read)
	}
}

type hugeHole struct{ from, to, size, read int64 }

func (h *hugeHole) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = 1
		if o := off + int64(i); o >= h.from-1000 && o < h.to+1000 {
			p[i] = 0
		}
	}
	h.read += int64(len(p))
	return len(p), nil
}

func (h *hugeHole) NextData(off int64) (start, end int64, err error) {
	switch {
	case off < h.from:
		return off, h.from, nil
	default:
		return max(off, h.to), h.size, nil
	}
}

// What is delivered of a source that is not as long as it was said to be.
func TestSizeIsWrong(t *testing.T) {
	data := slices.Concat(stream(9, 200_000), make([]byte, 2*minRun), stream(10, 5_000), make([]byte, minRun))
	c := newChunker(t, testParams, 10_000)
	for _, real := range []int{0, 1, 255, 256, 70_000, 200_001, 250_000, 200_000 + 2*minRun, len(data) - 10, len(data)} {
		for _, said := range []int{0, 1, 255, 256, 257, 150_000, 300_000, len(data), len(data) + 1, len(data) + 3*minRun} {
			part := data[:min(real, said)]
			want := model(t, testParams, part)
			if got := collect(t, c, bytes.NewReader(data[:real]), int64(said)); !equalChunks(got, want) {
				t.Errorf("size %d, said to be %d:\n got%s\nwant%s", real, said, describe(got), describe(want))
			}
			src := &sparse{data: data[:real]}
			if got := collect(t, c, src, int64(said)); !equalChunks(got, want) {
				t.Errorf("size %d, said to be %d, told of holes:\n got%s\nwant%s", real, said, describe(got), describe(want))
			}
		}
	}
	if got := collect(t, c, bytes.NewReader(data), -5); len(got) != 0 {
		t.Errorf("a negative size gives%s", describe(got))
	}
}

// brokenHoles is a source whose NextData fails or talks nonsense.
type brokenHoles struct {
	*bytes.Reader
	next func(off int64) (int64, int64, error)
}

func (b brokenHoles) NextData(off int64) (int64, int64, error) { return b.next(off) }

func TestHolesCannotBeTold(t *testing.T) {
	data := slices.Concat(stream(11, 100_000), make([]byte, minRun), stream(12, 100_000))
	c := newChunker(t, testParams, defaultReadSize)
	want := model(t, testParams, data)
	fails := brokenHoles{bytes.NewReader(data), func(int64) (int64, int64, error) { return 0, 0, errors.New("no") }}
	if got := collect(t, c, fails, int64(len(data))); !equalChunks(got, want) {
		t.Errorf("NextData fails:\n got%s\nwant%s", describe(got), describe(want))
	}
	// Nonsense must end, and deliver no more than was said.
	for _, answer := range [][2]int64{{0, 0}, {5, 3}, {math.MaxInt64, math.MaxInt64}, {0, 10}, {-7, math.MaxInt64}, {math.MinInt64, math.MinInt64}} {
		odd := brokenHoles{bytes.NewReader(data), func(int64) (int64, int64, error) { return answer[0], answer[1], nil }}
		var sum int64
		for _, chunk := range collect(t, c, odd, int64(len(data))) {
			sum += chunk.Length
		}
		if sum > int64(len(data)) {
			t.Errorf("NextData answers %v: %d bytes delivered of %d", answer, sum, len(data))
		}
	}
}

// failing gives an error at and behind an offset.
type failing struct {
	data []byte
	at   int64
	err  error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		return 0, f.err
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}

func TestReadError(t *testing.T) {
	broken := errors.New("the disk is broken")
	data := slices.Concat(stream(13, 300_000), make([]byte, 4*minRun), stream(14, 300_000))
	for _, tc := range []struct {
		size, at int64
	}{
		{100, 50},                             // tiny
		{int64(len(data)), 0},                 // at the start
		{int64(len(data)), 200_000},           // inside a segment
		{int64(len(data)), 400_000},           // inside a run of zeros
		{int64(len(data)), 300_000 + 270_000}, // behind it
	} {
		c := newChunker(t, testParams, 50_000)
		c.Reset(failing{data, tc.at, broken}, tc.size)
		var err error
		for err == nil {
			_, err = c.Next(nil)
		}
		if err != broken {
			t.Errorf("failing at %d: %v", tc.at, err)
		}
		if _, again := c.Next(nil); again != broken {
			t.Errorf("failing at %d: the error does not stay: %v", tc.at, again)
		}
		// And the Chunker is as good as new.
		want := model(t, testParams, data)
		if got := collect(t, c, bytes.NewReader(data), int64(len(data))); !equalChunks(got, want) {
			t.Errorf("failing at %d: the next source is cut wrongly", tc.at)
		}
	}
	c := newChunker(t, testParams, 50_000)
	c.Reset(failing{nil, 0, nil}, 1000) // no bytes and no error
	if _, err := c.Next(nil); err != io.ErrNoProgress {
		t.Errorf("a source without progress: %v", err)
	}
}

func TestBeforeReset(t *testing.T) {
	c := newChunker(t, testParams, 1000)
	if _, err := c.Next(nil); err != io.EOF {
		t.Errorf("Next before Reset = %v, want io.EOF", err)
	}
}

// With room for Max bytes a chunk stays in the caller's memory, so that chunks
// can be laid side by side.
func TestCallersMemory(t *testing.T) {
	data := slices.Concat([]byte("x"), make([]byte, minRun), stream(15, 100_000), make([]byte, minRun), stream(16, 100))
	slab := make([]byte, 0, len(data)+int(testParams.Max))
	c := newChunker(t, testParams, defaultReadSize)
	c.Reset(bytes.NewReader(data), int64(len(data)))
	var rebuilt []byte
	for {
		chunk, err := c.Next(slab[len(slab):])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Zero {
			if chunk.Data != nil {
				t.Error("a zero extent has data")
			}
			rebuilt = append(rebuilt, make([]byte, chunk.Length)...)
			continue
		}
		n := len(slab)
		slab = slab[:n+len(chunk.Data)]
		if &chunk.Data[0] != &slab[n] {
			t.Fatalf("the chunk at %d is not in the caller's buffer", chunk.Offset)
		}
		rebuilt = append(rebuilt, slab[n:]...)
	}
	if !bytes.Equal(rebuilt, data) {
		t.Error("the chunks are not the content")
	}
}

func TestParallel(t *testing.T) {
	data := stream(17, 2<<20)
	want := collect(t, newChunker(t, sendonce.DefaultParams, defaultReadSize), bytes.NewReader(data), int64(len(data)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c, err := New(sendonce.DefaultParams)
			if err != nil {
				t.Error(err)
				return
			}
			for range 2 {
				c.Reset(bytes.NewReader(data), int64(len(data)))
				for i := 0; ; i++ {
					chunk, err := c.Next(nil)
					if err == io.EOF && i == len(want) {
						break
					}
					if err != nil || i == len(want) || !equalChunks([]Chunk{chunk}, want[i:i+1]) {
						t.Errorf("chunk %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// endless is a source of any size that takes no memory.
type endless struct{}

func (endless) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = byte((off + int64(i)) * 0x9E3779B1 >> 13)
	}
	return len(p), nil
}

// A Chunker allocates when it meets its first large source, and not after.
func TestMemoryIsBounded(t *testing.T) {
	c := newChunker(t, sendonce.DefaultParams, defaultReadSize)
	buf := make([]byte, 0, sendonce.DefaultParams.Max)
	pass := func(size int64) {
		c.Reset(endless{}, size)
		for {
			if _, err := c.Next(buf); err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if n := allocated(func() { pass(10_000) }); n > 4<<10 {
		t.Errorf("a tiny source allocates %d bytes", n)
	}
	if n := allocated(func() { pass(4 << 20) }); n > 1<<20 {
		t.Errorf("the first large source allocates %d bytes", n)
	}
	if n := allocated(func() { pass(16 << 20) }); n > 4<<10 {
		t.Errorf("the second large source allocates %d bytes", n)
	}
}
