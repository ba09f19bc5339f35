package content

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"sendonce"
)

// goldenIDs prints an ID of each domain.
func goldenIDs() string {
	var out bytes.Buffer
	h := NewHasher(testKey)
	for _, n := range []int{0, 1, 64, 1024, 1025, 8192, 8193, 65536, 200_000} {
		data := stream(uint64(n), n)
		fmt.Fprintf(&out, "chunk %d %v\npage %d %v\n", n, h.Chunk(data), n, h.Page(data))
	}
	for _, n := range []int{2, 16} {
		fmt.Fprintf(&out, "refs %d %v\n", n, h.Root(sendonce.Content{Refs: manifest(1, n)}))
	}
	return out.String()
}

func TestGoldenIDs(t *testing.T) {
	if got, want := goldenIDs(), string(golden(t, "ids.txt")); got != want {
		t.Errorf("the IDs are now\n%swant\n%s", got, want)
	}
}

// The first test vector of the BLAKE3 authors' test_vectors.json: keyed hash of
// nothing under "whats the Elvish word for friend".
func TestPublishedVector(t *testing.T) {
	h := NewHasher([32]byte([]byte("whats the Elvish word for friend")))
	const want = "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
	if got := h.Chunk(nil).String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDomainsAndKeysDiffer(t *testing.T) {
	h := NewHasher(testKey)
	other := testKey
	other[0]++
	data := []byte("some bytes")
	seen := map[sendonce.ID]string{}
	for name, id := range map[string]sendonce.ID{
		"chunk": h.Chunk(data), "page": h.Page(data), "refs": sum(&h.refs, data), "other tenant": NewHasher(other).Chunk(data),
	} {
		if twin, ok := seen[id]; ok {
			t.Errorf("%s and %s have the same ID", name, twin)
		}
		seen[id] = name
	}
}

func TestRoot(t *testing.T) {
	h := NewHasher(testKey)
	m := manifest(2, 16)
	for _, c := range []sendonce.Content{{}, InlineContent([]byte("x")), {Refs: m[:1]}} {
		if !h.Root(c).IsZero() {
			t.Errorf("%+v has a root", c)
		}
	}
	if root := (sendonce.ID{9}); h.Root(sendonce.Content{Root: root, Count: 17}) != root {
		t.Error("the root of a tree is not its own")
	}
	first := h.Root(sendonce.Content{Refs: m})
	m[15].Size++
	if h.Root(sendonce.Content{Refs: m}) == first {
		t.Error("a changed size does not change the root")
	}
}

func TestHasherConcurrently(t *testing.T) {
	h := NewHasher(testKey)
	data := stream(3, 100_000)
	want := h.Chunk(data)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				h.Page(data[:i])
				if got := h.Chunk(data); got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestHashingAllocatesNothing(t *testing.T) {
	h := NewHasher(testKey)
	data := stream(4, 70_000)
	var id sendonce.ID
	if n := testing.AllocsPerRun(100, func() { id = h.Chunk(data) }); n >= 1 || id.IsZero() {
		t.Errorf("%v allocations for each chunk", n)
	}
}

func BenchmarkChunk64K(b *testing.B) {
	h := NewHasher(testKey)
	data := stream(5, 64<<10)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		h.Chunk(data)
	}
}
