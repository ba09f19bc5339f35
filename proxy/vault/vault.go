// Package vault is how the proxy sees a tenant's chunks: it joins the index
// (where things are), the store (their bytes) and the formats of package content,
// and checks every byte that it decodes.
//
// Invariants: nothing that Identify, Manifest or Read returns was taken on
// trust: chunks and pages are hashed (I14); memory is bounded by the sizes that
// were announced or by the window that was asked for. What it does not do:
// decide who may see what; callers have asked the index before.
//
// Read vault.go first, then manifest.go and read.go.
package vault

import (
	"context"
	"fmt"
	"sync"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/content"
	"sendonce/indexdb"
)

// Vault reads and writes the chunks and pages of all tenants. All methods may be
// called concurrently.
type Vault struct {
	index   indexdb.Index
	store   blobstore.Store
	unpack  *content.Unpacker
	buffers sync.Pool // *[]byte that plain bytes are decoded into
	packers sync.Pool // *content.Packer

	mu      sync.Mutex
	hashers map[sendonce.TenantID]*content.Hasher // a tenant's key never changes
}

// New returns a Vault over an index and a store, which it does not close.
func New(index indexdb.Index, store blobstore.Store) (*Vault, error) {
	u, err := content.NewUnpacker()
	if err != nil {
		return nil, err
	}
	return &Vault{index: index, store: store, unpack: u, hashers: map[sendonce.TenantID]*content.Hasher{}}, nil
}

// Hasher returns the tenant's Hasher. After the first call for a tenant it does
// not ask the index any more.
func (v *Vault) Hasher(ctx context.Context, tenant sendonce.TenantID) (*content.Hasher, error) {
	v.mu.Lock()
	h := v.hashers[tenant]
	v.mu.Unlock()
	if h != nil {
		return h, nil
	}
	t, err := v.index.Tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	h = content.NewHasher(t.Key)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hashers[tenant] = h
	return h, nil
}

// Pack is chunks or pages that are stored together.
type Pack struct {
	Pages    bool
	IDs      []sendonce.ID
	Sizes    []uint32 // plain bytes of each
	Encoding uint8
	Payload  []byte
	// Record is nil, or the memory that holds Payload after Room(len(IDs)) bytes
	// for Put to fill in.
	Record []byte
}

// Room is how many bytes a stored pack of n chunks has before its payload.
func Room(n int) int { return content.RecordRoom(n) }

// Identify unpacks a pack and returns the ID of each chunk. The sizes are hard
// limits: not a byte more than their sum is produced. Errors: KindDamaged,
// KindLimit or KindNewerFormat for a pack that does not unpack to exactly these
// sizes.
func (v *Vault) Identify(ctx context.Context, tenant sendonce.TenantID, encoding uint8, payload []byte, sizes []uint32) ([]sendonce.ID, error) {
	h, err := v.Hasher(ctx, tenant)
	if err != nil {
		return nil, err
	}
	plain, done, err := v.decode(encoding, payload, sizes)
	if err != nil {
		return nil, err
	}
	defer done()
	ids := make([]sendonce.ID, len(sizes))
	err = content.Split(plain, sizes, func(i int, chunk []byte) error {
		ids[i] = h.Chunk(chunk)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// decode unpacks a payload; plain is valid until done is called.
func (v *Vault) decode(encoding uint8, payload []byte, sizes []uint32) (plain []byte, done func(), err error) {
	raw := 0
	for _, n := range sizes {
		if n > sendonce.MaxPack {
			raw = sendonce.MaxPack
		}
		if raw += int(n); raw > sendonce.MaxPack {
			return nil, nil, &sendonce.Error{Op: "decode pack", Kind: sendonce.KindLimit, Detail: fmt.Sprintf("more than %d plain bytes", sendonce.MaxPack)}
		}
	}
	if encoding == content.EncodingRaw && len(payload) == raw {
		return payload, func() {}, nil // it is plain where it lies
	}
	buf, _ := v.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	done = func() { v.buffers.Put(buf) }
	plain, err = v.unpack.Decode((*buf)[:0], encoding, payload, raw)
	if err != nil {
		done()
		return nil, nil, err
	}
	if cap(plain) <= keepBuffer {
		*buf = plain[:0]
	}
	return plain, done, nil
}

// keepBuffer is the largest buffer that is kept between packs.
const keepBuffer = 2 << 20

// Put makes packs durable in the store in one step and returns where each chunk
// is, in the order of the packs and of their IDs. The index is not told. Payloads
// are not kept.
func (v *Vault) Put(ctx context.Context, tenant sendonce.TenantID, packs []Pack) ([]indexdb.Stored, error) {
	if len(packs) == 0 {
		return nil, nil
	}
	records := make([][]byte, len(packs))
	n := 0
	for i, p := range packs {
		rec := content.Record{Kind: content.RecordChunks, Tenant: tenant, Encoding: p.Encoding, IDs: p.IDs, Sizes: p.Sizes, Payload: p.Payload}
		if p.Pages {
			rec.Kind = content.RecordPages
		}
		if err := rec.Check(); err != nil {
			return nil, err
		}
		if records[i] = p.Record; p.Record != nil {
			content.FillRecord(p.Record, &rec)
		} else {
			records[i] = content.AppendRecord(nil, &rec)
		}
		n += len(p.IDs)
	}
	locs, err := v.store.Put(ctx, records)
	if err != nil {
		return nil, err
	}
	if len(locs) != len(packs) {
		return nil, &sendonce.Error{Op: "store packs", Kind: sendonce.KindInternal, Detail: fmt.Sprintf("%d locations for %d records", len(locs), len(packs))}
	}
	rows := make([]indexdb.Stored, 0, n)
	for i, p := range packs {
		for j, id := range p.IDs {
			rows = append(rows, indexdb.Stored{ID: id, Location: locs[i], Index: uint32(j), Size: p.Sizes[j]})
		}
	}
	return rows, nil
}
