package indexdb

import (
	"bytes"
	"context"
	"sort"

	"sendonce"
)

// asker is what an Asker may call present.
type asker struct {
	device sendonce.DeviceID
	// readable tells of each folder whose references were met, so that a role
	// is worked out once a folder and not once a row.
	readable map[sendonce.FolderID]sendonce.Role
	d        *Device
}

// loadAsker returns KindUnauthorized for a device that is unknown, revoked or of
// another tenant.
func loadAsker(r Reader, who Asker) (*asker, error) {
	d, err := loadDevice(r, who.Device)
	if err != nil {
		return nil, err
	}
	return newAsker(d, who)
}

func newAsker(d *Device, who Asker) (*asker, error) {
	if d == nil || d.Revoked || d.Tenant != who.Tenant {
		return nil, unauthorized("the device is not enrolled, or was revoked")
	}
	return &asker{device: who.Device, d: d, readable: map[sendonce.FolderID]sendonce.Role{}}, nil
}

// mayRead reports whether a reference in a scope lets the asker call its chunk
// present: the reader of a folder reads all its scopes, a push-only device owns
// its own.
func (a *asker) mayRead(s scope) bool {
	role, ok := a.readable[s.folder]
	if !ok {
		role = a.d.Role(s.folder)
		a.readable[s.folder] = role
	}
	return role.CanRead() || role == sendonce.RolePushOnly && s.device == a.device
}

// chunkState is what the rows of one chunk say.
type chunkState struct {
	location   locationRow // of a chunk that has one
	located    bool
	allowed    bool // in a scope that the asker may read or owns, or its own receipt
	receipt    bool // the asker's own
	references int  // rows, whosever
	receipts   int
	inFolder   bool   // a reference in the folder asked about
	ownEpoch   uint64 // epoch of the reference in the scope asked about, 0 if none
}

func (c *chunkState) usable() bool { return c.located && !c.location.damaged }

// chunkQuery reads the rows of many chunks in one sorted pass.
type chunkQuery struct {
	tenant sendonce.TenantID
	who    *asker            // nil: nobody asks, allowed stays false
	folder sendonce.FolderID // for inFolder
	scope  scope             // for ownEpoch
}

// run returns one state for each ID, in order. IDs may repeat; a zero ID has the
// zero state.
func (q *chunkQuery) run(r Reader, ids []sendonce.ID) ([]chunkState, error) {
	order := make([]int32, 0, len(ids))
	for i := range ids {
		if !ids[i].IsZero() {
			order = append(order, int32(i))
		}
	}
	sort.Slice(order, func(a, b int) bool { return bytes.Compare(ids[order[a]][:], ids[order[b]][:]) < 0 })
	keys := make([]byte, 0, len(order)*ChunkPrefixLen)
	prefixes := make([][]byte, 0, len(order))
	group := make([]int32, 0, len(order)) // the ID that answers for each prefix
	for _, i := range order {
		if n := len(group); n > 0 && ids[group[n-1]] == ids[i] {
			continue
		}
		at := len(keys)
		keys = appendChunk(keys, q.tenant, ids[i])
		prefixes = append(prefixes, keys[at:len(keys):len(keys)])
		group = append(group, i)
	}
	states := make([]chunkState, len(ids))
	err := r.Prefixes(prefixes, func(p int, key, value []byte) error {
		i := group[p]
		return q.row(&states[i], ids[i], key, value)
	})
	if err != nil {
		return nil, err
	}
	for g, o := 0, 0; o < len(order); o++ { // copy to the repeated IDs
		if ids[order[o]] != ids[group[g]] {
			g++
		}
		states[order[o]] = states[group[g]]
	}
	return states, nil
}

func (q *chunkQuery) row(c *chunkState, id sendonce.ID, key, value []byte) (err error) {
	kind, s, ok := chunkSuffix(key)
	if !ok {
		return damaged("chunk %s has a row of unknown form", id)
	}
	switch kind {
	case chunkLocation:
		c.located = true
		c.location, err = decodeLocation(id, value)
	case chunkReference:
		c.references++
		c.inFolder = c.inFolder || s.folder == q.folder
		c.allowed = c.allowed || q.who != nil && q.who.mayRead(s)
		if s == q.scope {
			c.ownEpoch, err = rec(decodeEpoch(value))("a reference")
		}
	case chunkReceipt:
		c.receipts++
		if q.who != nil && s.device == q.who.device {
			c.receipt, c.allowed = true, true
		}
	}
	return err
}

// Present implements Chunks. A device that is not enrolled or was revoked gets
// KindUnauthorized.
func (db *DB) Present(ctx context.Context, who Asker, ids []sendonce.ID) (out []bool, err error) {
	err = db.view(ctx, "look up chunks", func(r Reader) error {
		a, err := loadAsker(r, who)
		if err != nil {
			return err
		}
		states, err := (&chunkQuery{tenant: who.Tenant, who: a}).run(r, ids)
		out = make([]bool, len(states))
		for i := range states {
			out[i] = states[i].allowed && states[i].usable()
		}
		return err
	})
	return out, err
}

// Locate implements Chunks.
func (db *DB) Locate(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) (out []Stored, err error) {
	err = db.view(ctx, "locate chunks", func(r Reader) error {
		keys := make([][]byte, len(ids))
		for i := range ids {
			keys[i] = locationKey(tenant, ids[i])
		}
		values, err := r.Get(keys...)
		if err != nil {
			return err
		}
		out = make([]Stored, len(ids))
		for i, v := range values {
			out[i].ID = ids[i]
			if v == nil {
				continue
			}
			l, err := decodeLocation(ids[i], v)
			if err != nil {
				return err
			}
			if !l.damaged {
				out[i] = l.Stored
			}
		}
		return nil
	})
	return out, err
}

// AddStored implements Chunks. It is a transaction and not a blind write: a
// sweep that removes a location at the same time must come before it (and the
// location is written again) or after it (and finds the receipt).
func (db *DB) AddStored(ctx context.Context, tenant sendonce.TenantID, device sendonce.DeviceID, chunks []Stored) error {
	const op = "record stored chunks"
	if err := checkStored(chunks); err != nil {
		return wrap(op, err)
	}
	now := db.now()
	return db.update(ctx, op, func(t Txn) error {
		keys := make([][]byte, len(chunks))
		for i := range chunks {
			keys[i] = locationKey(tenant, chunks[i].ID)
		}
		values, err := t.Get(keys...)
		if err != nil {
			return err
		}
		for i := range chunks {
			var have *locationRow
			if values[i] != nil {
				l, err := decodeLocation(chunks[i].ID, values[i])
				if err != nil {
					return err
				}
				have = &l
			}
			putLocation(t, keys[i], have, chunks[i])
		}
		if !device.IsZero() {
			receipt := encodeReceipt(now)
			for i := range chunks {
				t.Put(receiptKey(tenant, chunks[i].ID, device), receipt)
			}
		}
		return nil
	})
}

// putLocation keeps a usable location and writes, or heals, any other.
func putLocation(t Txn, key []byte, have *locationRow, s Stored) {
	if have == nil || have.damaged {
		t.Put(key, encodeLocation(locationRow{Stored: s}))
	}
}

func checkStored(chunks []Stored) error {
	for i := range chunks {
		if chunks[i].ID.IsZero() || chunks[i].Location.IsZero() {
			return invalid("a stored chunk without an ID or a location")
		}
	}
	return nil
}

// Referenced implements Chunks.
func (db *DB) Referenced(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.ID) (out []bool, err error) {
	err = db.view(ctx, "look up references", func(r Reader) error {
		states, err := (&chunkQuery{tenant: tenant, folder: folder}).run(r, ids)
		out = make([]bool, len(states))
		for i := range states {
			out[i] = states[i].inFolder
		}
		return err
	})
	return out, err
}

// BeginPush implements Chunks. Errors: KindUnauthorized if the device may not
// push to the folder, KindNotFound for a folder that does not exist.
func (db *DB) BeginPush(ctx context.Context, who Asker, push sendonce.PushID) (epoch uint64, err error) {
	now := db.now()
	err = db.update(ctx, "begin push", func(t Txn) error {
		a, err := loadAsker(t, who)
		if err != nil {
			return err
		}
		if !a.d.Role(who.Folder).CanPush() {
			return unauthorized("the device may not push to this folder")
		}
		if _, err := loadFolder(t, place{who.Tenant, who.Folder}); err != nil {
			return err
		}
		key := leaseKey(who.Tenant, who.Device, who.Folder, push)
		v, err := t.Get(tenantKey(rowEpoch, who.Tenant), key)
		if err != nil {
			return err
		}
		epoch, err = rec(decodeEpoch(v[0]))("the epoch")
		if err == nil && v[1] != nil {
			var l leaseRow
			l, err = rec(decodeLease(v[1]))("a lease")
			epoch = l.epoch
		}
		if err == nil {
			t.Put(key, encodeLease(leaseRow{epoch, now}))
		}
		return err
	})
	return epoch, err
}

// EndPush implements Chunks.
func (db *DB) EndPush(ctx context.Context, who Asker, push sendonce.PushID) error {
	key := leaseKey(who.Tenant, who.Device, who.Folder, push)
	return wrap("end push", db.e.Write(ctx, []Op{{Key: key}}))
}
