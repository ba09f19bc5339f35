package vault

import (
	"context"

	"sendonce"
	"sendonce/content"
	"sendonce/indexdb"
)

// Read reads chunks (or pages) in the order that suits the store. ids may
// repeat; each chunk is handed out once.
//
// whole, if not nil, is asked about every stored pack that holds wanted chunks,
// with the wanted ones by their index in the pack; if it returns true the pack is
// its business (nothing of it was decoded or checked beyond the record's
// checksum) and fn does not hear of it. fn gets each other wanted chunk, checked
// against its ID. p.Payload and plain are valid only during the call. Errors of
// the callbacks end Read and are returned as they are.
//
// bad lists the IDs that could not be had: no location, or bytes that do not
// match (I14). The latter are flagged in the index, if it can, so that a device
// that has them is asked to send them again.
func (v *Vault) Read(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID, whole func(p Pack, wanted []uint32) (bool, error), fn func(id sendonce.ID, plain []byte) error) (bad []sendonce.ID, err error) {
	h, err := v.Hasher(ctx, tenant)
	if err != nil {
		return nil, err
	}
	rows, err := v.index.Locate(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	r := reading{v: v, ctx: ctx, tenant: tenant, h: h, whole: whole, fn: fn, at: map[sendonce.Location]int{}}
	seen := make(map[sendonce.ID]bool, len(ids))
	for i, row := range rows {
		if seen[ids[i]] {
			continue
		}
		seen[ids[i]] = true
		if row.Location.IsZero() {
			bad = append(bad, ids[i])
			continue
		}
		r.want(row)
	}
	if err := r.get(); err != nil {
		return nil, err
	}
	if len(r.bad) > 0 {
		if m, ok := v.index.(indexdb.Maintainer); ok {
			if err := m.FlagDamaged(ctx, tenant, r.bad); err != nil {
				return nil, err
			}
		}
	}
	return append(bad, r.bad...), nil
}

// reading is one Read.
type reading struct {
	v      *Vault
	ctx    context.Context
	tenant sendonce.TenantID
	h      *content.Hasher
	whole  func(Pack, []uint32) (bool, error)
	fn     func(sendonce.ID, []byte) error

	at   map[sendonce.Location]int
	locs []sendonce.Location
	rows [][]indexdb.Stored // wanted at each location
	done []bool
	bad  []sendonce.ID
}

func (r *reading) want(row indexdb.Stored) {
	i, ok := r.at[row.Location]
	if !ok {
		i = len(r.locs)
		r.at[row.Location] = i
		r.locs, r.rows, r.done = append(r.locs, row.Location), append(r.rows, nil), append(r.done, false)
	}
	r.rows[i] = append(r.rows[i], row)
}

// get reads all locations. A record that the engine itself finds damaged ends a
// Get; then the rest is read one by one, so that the others are not lost with it.
func (r *reading) get() error {
	if len(r.locs) == 0 {
		return nil
	}
	err := r.v.store.Get(r.ctx, r.locs, r.record)
	if err == nil || sendonce.KindOf(err) != sendonce.KindDamaged {
		return err
	}
	for i, loc := range r.locs {
		if r.done[i] {
			continue
		}
		err := r.v.store.Get(r.ctx, []sendonce.Location{loc}, func(_ int, record []byte) error { return r.record(i, record) })
		if sendonce.KindOf(err) == sendonce.KindDamaged {
			r.lost(i)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// lost gives up on what is wanted of a record.
func (r *reading) lost(i int) {
	r.done[i] = true
	for _, row := range r.rows[i] {
		r.bad = append(r.bad, row.ID)
	}
}

// record takes what is wanted out of one record.
func (r *reading) record(i int, record []byte) error {
	if r.done[i] {
		return nil
	}
	rec, err := content.ParseRecord(record)
	if record == nil || err != nil || rec.Tenant != r.tenant {
		r.lost(i)
		return nil
	}
	var wanted []uint32
	for _, row := range r.rows[i] {
		if int(row.Index) >= len(rec.IDs) || rec.IDs[row.Index] != row.ID {
			r.bad = append(r.bad, row.ID)
			continue
		}
		wanted = append(wanted, row.Index)
	}
	r.done[i] = true
	if r.whole != nil && rec.Kind == content.RecordChunks && len(wanted) > 0 {
		p := Pack{IDs: rec.IDs, Sizes: rec.Sizes, Encoding: rec.Encoding, Payload: rec.Payload}
		if taken, err := r.whole(p, wanted); taken || err != nil {
			return err
		}
	}
	plain, done, err := r.v.decode(rec.Encoding, rec.Payload, rec.Sizes)
	if err != nil {
		for _, j := range wanted {
			r.bad = append(r.bad, rec.IDs[j])
		}
		return nil
	}
	defer done()
	id := r.h.Chunk
	if rec.Kind == content.RecordPages {
		id = r.h.Page
	}
	take := make([]bool, len(rec.IDs))
	for _, j := range wanted {
		take[j] = true
	}
	return content.Split(plain, rec.Sizes, func(j int, chunk []byte) error {
		switch {
		case !take[j]:
			return nil
		case id(chunk) != rec.IDs[j]:
			r.bad = append(r.bad, rec.IDs[j])
			return nil
		}
		return r.fn(rec.IDs[j], chunk)
	})
}

// Repack packs chunks together again. The payload is new memory. Plain must
// have at most sendonce.MaxPack bytes.
func (v *Vault) Repack(ids []sendonce.ID, sizes []uint32, plain []byte) (Pack, error) {
	packer, _ := v.packers.Get().(*content.Packer)
	if packer == nil {
		var err error
		if packer, err = content.NewPacker(content.Fastest); err != nil {
			return Pack{}, err
		}
	}
	defer v.packers.Put(packer)
	encoding, payload := packer.Encode(nil, plain)
	return Pack{IDs: ids, Sizes: sizes, Encoding: encoding, Payload: payload}, nil
}
