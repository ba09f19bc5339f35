package content

import (
	"encoding/binary"
	"sync"

	"github.com/zeebo/blake3"

	"sendonce"
)

// The contexts from which the keys of the other domains are derived (BLAKE3,
// section 6.2, key derivation mode). They are part of the format.
const (
	pageContext = "sendonce 2026-11-22 v1 manifest page"
	refsContext = "sendonce 2026-11-22 v1 direct references"
)

// Hasher makes the IDs of one tenant: BLAKE3 in keyed mode, 32 bytes of output
// (J. O'Connor et al., "BLAKE3: one function, fast everywhere", 2020). It is safe
// for concurrent use and allocates nothing per chunk.
type Hasher struct {
	chunks, pages, refs sync.Pool // of *blake3.Hasher, each with its domain's key
}

// NewHasher returns the Hasher of the tenant with the given key. Chunks are
// hashed under the key itself, everything else under keys derived from it.
func NewHasher(tenantKey [32]byte) *Hasher {
	h := &Hasher{}
	h.chunks.New = keyed(tenantKey)
	var key [32]byte
	blake3.DeriveKey(pageContext, tenantKey[:], key[:])
	h.pages.New = keyed(key)
	blake3.DeriveKey(refsContext, tenantKey[:], key[:])
	h.refs.New = keyed(key)
	return h
}

func keyed(key [32]byte) func() any {
	return func() any {
		b, err := blake3.NewKeyed(key[:])
		if err != nil {
			panic(err) // only for a key that has not 32 bytes
		}
		return b
	}
}

func sum(pool *sync.Pool, data []byte) (id sendonce.ID) {
	b := pool.Get().(*blake3.Hasher)
	b.Reset()
	b.Write(data)
	b.Sum(id[:0])
	pool.Put(b)
	return id
}

// Chunk returns the ID of a chunk's plain bytes.
func (h *Hasher) Chunk(data []byte) sendonce.ID { return sum(&h.chunks, data) }

// Page returns the ID of an encoded page of a manifest tree.
func (h *Hasher) Page(page []byte) sendonce.ID { return sum(&h.pages, page) }

// Root returns what protocol.Change.Root carries to check that both ends mean
// the same content: the root page of a tree; the keyed hash of two or more direct
// references (each the 32 bytes of the ID and the size as 8 bytes, little
// endian); the zero ID, which means no check, for everything else.
func (h *Hasher) Root(c sendonce.Content) sendonce.ID {
	if c.IsTree() {
		return c.Root
	}
	if len(c.Refs) < 2 {
		return sendonce.ID{}
	}
	flat := make([]byte, 0, len(c.Refs)*40)
	for _, r := range c.Refs {
		flat = append(flat, r.ID[:]...)
		flat = binary.LittleEndian.AppendUint64(flat, uint64(r.Size))
	}
	return sum(&h.refs, flat)
}
