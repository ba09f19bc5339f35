package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/blobstore/blobtest"
	"sendonce/content"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
)

const tenant = sendonce.DefaultTenant

var ctx = context.Background()

// house is a vault over memory engines.
type house struct {
	*Vault
	t      testing.TB
	index  *indexdb.DB
	hasher *content.Hasher
}

func newHouse(t testing.TB, store blobstore.Store) *house {
	t.Helper()
	index, err := indexdb.New(indextest.NewMem(), indexdb.Options{Now: time.Now, Rand: mathrand.NewChaCha8([32]byte{1})})
	h := &house{t: t, index: index}
	h.must(err)
	t.Cleanup(func() { index.Close() })
	h.Vault, err = New(index, store)
	h.must(err)
	h.hasher, err = h.Hasher(ctx, tenant)
	h.must(err)
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// pack packs chunks together.
func (h *house) pack(chunks ...[]byte) Pack {
	h.t.Helper()
	var ids []sendonce.ID
	var sizes []uint32
	for _, c := range chunks {
		ids, sizes = append(ids, h.hasher.Chunk(c)), append(sizes, uint32(len(c)))
	}
	p, err := h.Repack(ids, sizes, bytes.Join(chunks, nil))
	h.must(err)
	return p
}

// keep stores packs and tells the index.
func (h *house) keep(packs ...Pack) []indexdb.Stored {
	h.t.Helper()
	rows, err := h.Put(ctx, tenant, packs)
	h.must(err)
	h.must(h.index.AddStored(ctx, tenant, sendonce.DeviceID{}, rows))
	return rows
}

// get reads chunks and checks each.
func (h *house) get(ids ...sendonce.ID) (got map[sendonce.ID][]byte, bad []sendonce.ID) {
	h.t.Helper()
	got = map[sendonce.ID][]byte{}
	bad, err := h.Read(ctx, tenant, ids, nil, func(id sendonce.ID, plain []byte) error {
		if got[id] != nil || h.hasher.Chunk(plain) != id {
			h.t.Errorf("chunk %v came twice, or is not what it is called", id)
		}
		got[id] = bytes.Clone(plain)
		return nil
	})
	h.must(err)
	return got, bad
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	mathrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouse(t, blobtest.NewMem())
		want := map[sendonce.ID][]byte{}
		var ids []sendonce.ID
		for i := range rapid.IntRange(1, 5).Draw(rt, "packs") {
			var chunks [][]byte
			for j := range rapid.IntRange(1, 6).Draw(rt, "chunks") {
				c := noise(uint64(10*i+j), rapid.IntRange(1, 3000).Draw(rt, "size"))
				if rapid.Bool().Draw(rt, "compressible") {
					c = bytes.Repeat(c[:1], len(c))
				}
				chunks = append(chunks, c)
				want[h.hasher.Chunk(c)] = c
			}
			p := h.pack(chunks...)
			named, err := h.Identify(ctx, tenant, p.Encoding, p.Payload, p.Sizes)
			if err != nil || !slices.Equal(named, p.IDs) {
				rt.Fatalf("identified as %v, %v", named, err)
			}
			h.keep(p)
			ids = append(ids, p.IDs...)
		}
		ids = append(ids, rapid.SliceOf(rapid.SampledFrom(ids)).Draw(rt, "asked twice")...)
		got, bad := h.get(ids...)
		if len(bad) != 0 || len(got) != len(want) {
			rt.Fatalf("%d chunks came, want %d; not had: %v", len(got), len(want), bad)
		}
		for id, c := range want {
			if !bytes.Equal(got[id], c) {
				rt.Fatalf("chunk %v differs", id)
			}
		}
	})
}

func TestIdentifyRefuses(t *testing.T) {
	h := newHouse(t, blobtest.NewMem())
	p := h.pack(bytes.Repeat([]byte("a"), 5000), noise(1, 300))
	for name, c := range map[string]struct {
		encoding uint8
		payload  []byte
		sizes    []uint32
		kind     sendonce.ErrKind
	}{
		"fewer bytes than announced": {p.Encoding, p.Payload, []uint32{5000, 301}, sendonce.KindDamaged},
		"more bytes than announced":  {p.Encoding, p.Payload, []uint32{5000, 299}, sendonce.KindLimit},
		"cut":                        {p.Encoding, p.Payload[:len(p.Payload)-1], p.Sizes, sendonce.KindDamaged},
		"an unknown encoding":        {77, p.Payload, p.Sizes, sendonce.KindNewerFormat},
		"one chunk too large":        {p.Encoding, p.Payload, []uint32{1<<32 - 1}, sendonce.KindLimit},
		"too much together":          {p.Encoding, p.Payload, []uint32{sendonce.MaxPack, 1}, sendonce.KindLimit},
	} {
		if ids, err := h.Identify(ctx, tenant, c.encoding, c.payload, c.sizes); sendonce.KindOf(err) != c.kind || ids != nil {
			t.Errorf("%s: %v, %v", name, ids, err)
		}
	}
	if _, err := h.Identify(ctx, tenant+1, p.Encoding, p.Payload, p.Sizes); sendonce.KindOf(err) != sendonce.KindNotFound {
		t.Errorf("an unknown tenant: %v", err)
	}
}

// What cannot be had is named, flagged, and keeps nothing else back.
func TestDamage(t *testing.T) {
	good, lost, rotten := noise(1, 500), noise(2, 500), noise(3, 500)
	for name, spoil := range map[string]func(record []byte) ([]byte, error){
		"gone":                 func([]byte) ([]byte, error) { return nil, nil },
		"cut":                  func(r []byte) ([]byte, error) { return r[:len(r)-1], nil },
		"a flipped bit":        func(r []byte) ([]byte, error) { r[len(r)-1] ^= 1; return r, nil },
		"found by the engine":  func([]byte) ([]byte, error) { return nil, &sendonce.Error{Op: "get", Kind: sendonce.KindDamaged} },
		"another's record":     rewrite(func(r *content.Record) { r.Tenant++ }),
		"with another name":    rewrite(func(r *content.Record) { r.IDs[0][0] ^= 1 }),
		"with other bytes":     rewrite(func(r *content.Record) { r.Encoding, r.Payload = content.EncodingRaw, noise(9, 500) }),
		"that does not unpack": rewrite(func(r *content.Record) { r.Encoding = content.EncodingZstd }),
		"of another kind":      rewrite(func(r *content.Record) { r.Kind = content.RecordPages }),
	} {
		t.Run(name, func(t *testing.T) {
			store := &spoiled{Mem: blobtest.NewMem(), spoil: spoil}
			h := newHouse(t, store)
			packs := []Pack{h.pack(good), h.pack(rotten)}
			rows := h.keep(packs...)
			store.at = rows[1].Location
			unknown := h.hasher.Chunk(lost)
			got, bad := h.get(unknown, rows[1].ID, rows[0].ID)
			if len(got) != 1 || !bytes.Equal(got[rows[0].ID], good) || !slices.Equal(bad, []sendonce.ID{unknown, rows[1].ID}) {
				t.Fatalf("%d chunks came; not had: %v", len(got), bad)
			}
			there, err := h.index.Locate(ctx, tenant, []sendonce.ID{rows[0].ID, rows[1].ID})
			h.must(err)
			if there[0].Location.IsZero() || !there[1].Location.IsZero() {
				t.Errorf("flagged: %+v", there)
			}
			store.at = sendonce.Location{}
			h.keep(packs[1]) // somebody sends it again
			if got, bad := h.get(rows[1].ID); len(bad) != 0 || !bytes.Equal(got[rows[1].ID], rotten) {
				t.Error("it is not healed")
			}
		})
	}
}

// rewrite changes a record, and makes its checksum right again.
func rewrite(change func(*content.Record)) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		r, err := content.ParseRecord(b)
		if err != nil {
			return nil, err
		}
		change(&r)
		return content.AppendRecord(nil, &r), nil
	}
}

// spoiled is a store in which one record is not what was put there.
type spoiled struct {
	*blobtest.Mem
	at    sendonce.Location
	spoil func(record []byte) ([]byte, error)
}

func (s *spoiled) Get(ctx context.Context, locs []sendonce.Location, fn func(int, []byte) error) error {
	return s.Mem.Get(ctx, locs, func(i int, record []byte) error {
		if locs[i] == s.at {
			var err error
			if record, err = s.spoil(bytes.Clone(record)); err != nil {
				return err
			}
		}
		return fn(i, record)
	})
}

func TestWholePacks(t *testing.T) {
	h := newHouse(t, blobtest.NewMem())
	a, b, c := noise(1, 500), noise(2, 600), noise(3, 700)
	p, q := h.pack(a, b), h.pack(c)
	h.keep(p, q)
	ids := []sendonce.ID{q.IDs[0], p.IDs[1]}
	asked, loose := 0, 0
	chunk := func(id sendonce.ID, plain []byte) error {
		loose++
		if id != q.IDs[0] || !bytes.Equal(plain, c) {
			t.Errorf("chunk %v came apart from its pack", id)
		}
		return nil
	}
	bad, err := h.Read(ctx, tenant, ids, func(got Pack, wanted []uint32) (bool, error) {
		asked++
		if len(got.IDs) == 1 {
			return false, nil
		}
		if !slices.Equal(wanted, []uint32{1}) || !slices.Equal(got.IDs, p.IDs) || !slices.Equal(got.Sizes, p.Sizes) || got.Encoding != p.Encoding || !bytes.Equal(got.Payload, p.Payload) {
			t.Errorf("chunks %v of a pack %v", wanted, got.IDs)
		}
		return true, nil
	}, chunk)
	if err != nil || len(bad) != 0 || asked != 2 || loose != 1 {
		t.Errorf("%d packs and %d chunks, %v %v", asked, loose, bad, err)
	}
	stop := errors.New("stop")
	if _, err := h.Read(ctx, tenant, ids, func(Pack, []uint32) (bool, error) { return false, stop }, chunk); err != stop {
		t.Errorf("the error of whole: %v", err)
	}
	if _, err := h.Read(ctx, tenant, ids, nil, func(sendonce.ID, []byte) error { return stop }); err != stop {
		t.Errorf("the error of fn: %v", err)
	}
}

func TestManifests(t *testing.T) {
	store := &spoiled{Mem: blobtest.NewMem(), spoil: func([]byte) ([]byte, error) { return nil, nil }}
	h := newHouse(t, store)
	var m sendonce.Manifest
	for i := range 5000 {
		m = append(m, sendonce.Ref{ID: h.hasher.Chunk(noise(uint64(i), 32)), Size: int64(i + 1)})
	}
	base, err := h.Describe(ctx, tenant, nil, []sendonce.Edit{{Insert: 4000}}, m[:4000])
	h.must(err)
	d, err := h.Describe(ctx, tenant, m[:4000], []sendonce.Edit{{Keep: 4000, Insert: 1000}}, m[4000:])
	h.must(err)
	if !slices.Equal(d.Manifest, m) || d.Size != m.Size() || d.Root != h.hasher.Root(d.Content) || len(d.Pages) < 5 || d.Root == base.Root {
		t.Fatalf("described as %d references in %d pages", len(d.Manifest), len(d.Pages))
	}
	packs := PackPages(d.Pages)
	n := 0
	for _, p := range packs {
		if n += len(p.IDs); !p.Pages || len(p.Payload) > sendonce.PackTarget {
			t.Errorf("a pack of %d bytes", len(p.Payload))
		}
	}
	if n != len(d.Pages) {
		t.Errorf("%d pages are packed, there are %d", n, len(d.Pages))
	}
	rows := h.keep(packs...)
	got, err := h.Manifest(ctx, tenant, d.Content)
	if err != nil || !slices.Equal(got, m) {
		t.Errorf("%d references come back, %v", len(got), err)
	}
	var part sendonce.Manifest
	err = h.Walk(ctx, tenant, d.Content, 2000, 50, func(refs []sendonce.Ref) error { part = append(part, refs...); return nil })
	if err != nil || !slices.Equal(part, m[2000:2050]) {
		t.Errorf("a range of %d references, %v", len(part), err)
	}
	for _, c := range []sendonce.Content{{}, {Inline: []byte("x")}} {
		if got, err := h.Manifest(ctx, tenant, c); got != nil || err != nil {
			t.Errorf("%+v has %v, %v", c, got, err)
		}
	}
	store.at = rows[0].Location
	if _, err := h.Manifest(ctx, tenant, d.Content); sendonce.KindOf(err) != sendonce.KindDamaged {
		t.Errorf("pages are gone: %v", err)
	}
	if _, err := h.Describe(ctx, tenant, m[:3], []sendonce.Edit{{Keep: 4}}, nil); sendonce.KindOf(err) != sendonce.KindInvalid {
		t.Errorf("a script that does not fit: %v", err)
	}
	if _, err := h.Describe(ctx, tenant+1, nil, nil, nil); sendonce.KindOf(err) != sendonce.KindNotFound {
		t.Errorf("an unknown tenant: %v", err)
	}
	for range sendonce.PackTarget/1000 + 1 { // more than fit into one pack
		d.Pages = append(d.Pages, Page{Data: noise(1, 1000)})
	}
	if n := len(PackPages(d.Pages)); n < 2 {
		t.Errorf("%d packs", n)
	}
}

func TestPutRefuses(t *testing.T) {
	full := &sendonce.Error{Op: "put", Kind: sendonce.KindFull}
	h := newHouse(t, blobtest.Refuse(full))
	p := h.pack(noise(1, 100))
	if _, err := h.Put(ctx, tenant, []Pack{p}); !errors.Is(err, error(full)) {
		t.Errorf("a full store: %v", err)
	}
	if rows, err := h.Put(ctx, tenant, nil); rows != nil || err != nil {
		t.Errorf("no packs: %v, %v", rows, err)
	}
	if _, err := h.Read(ctx, tenant, p.IDs, nil, nil); err != nil {
		t.Errorf("reading what is nowhere asks the store: %v", err)
	}
	h = newHouse(t, forgetful{blobtest.NewMem()})
	if _, err := h.Put(ctx, tenant, []Pack{p}); sendonce.KindOf(err) != sendonce.KindInternal {
		t.Errorf("a store that forgets a location: %v", err)
	}
	h = newHouse(t, blobtest.NewMem())
	for name, change := range map[string]func(*Pack){
		"a size too few": func(p *Pack) { p.Sizes = nil },
		"no chunks":      func(p *Pack) { p.IDs, p.Sizes = nil, nil },
	} {
		bad := p
		change(&bad)
		if _, err := h.Put(ctx, tenant, []Pack{p, bad}); err == nil {
			t.Errorf("%s: it is stored", name)
		}
	}
}

// forgetful is a store whose answer is short.
type forgetful struct{ *blobtest.Mem }

func (forgetful) Put(context.Context, [][]byte) ([]sendonce.Location, error) { return nil, nil }

// FuzzRead puts any bytes where a record should be: what Read hands out hashes
// to the ID that was asked for, and everything else is named as bad.
func FuzzRead(f *testing.F) {
	h := newHouse(f, blobtest.NewMem())
	p := h.pack([]byte("first"), []byte(strings.Repeat("second", 50)))
	record := content.AppendRecord(nil, &content.Record{Kind: content.RecordChunks, Tenant: tenant, Encoding: p.Encoding, IDs: p.IDs, Sizes: p.Sizes, Payload: p.Payload})
	f.Add(record)
	f.Add(record[:len(record)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, record []byte) {
		store := &spoiled{Mem: blobtest.NewMem()}
		h := newHouse(t, store)
		rows := h.keep(p)
		store.at, store.spoil = rows[0].Location, func([]byte) ([]byte, error) { return record, nil }
		got, bad := h.get(p.IDs...)
		if len(got)+len(bad) != len(p.IDs) {
			t.Fatalf("%d chunks came and %d are bad, of %d", len(got), len(bad), len(p.IDs))
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	h := newHouse(b, blobtest.NewMem())
	var chunks [][]byte
	for i := range 16 {
		chunks = append(chunks, noise(uint64(i), 64<<10))
	}
	p := h.pack(chunks...)
	b.SetBytes(1 << 20)
	for b.Loop() {
		if ids, err := h.Identify(ctx, tenant, p.Encoding, p.Payload, p.Sizes); err != nil || len(ids) != 16 {
			b.Fatal(fmt.Sprint(ids, err))
		}
	}
}
