package indexdb

import (
	"context"
	"time"

	"sendonce"
)

// pageSize bounds the rows that one transaction of a long job handles.
const pageSize = 4096

// AdvanceEpoch implements Maintainer.
func (db *DB) AdvanceEpoch(ctx context.Context, tenant sendonce.TenantID) (epoch, oldest uint64, err error) {
	err = db.update(ctx, "advance epoch", func(t Txn) error {
		v, err := get(t, tenantKey(rowEpoch, tenant))
		if err == nil && v == nil {
			err = notFound("there is no tenant %d", tenant)
		}
		if err != nil {
			return err
		}
		if epoch, err = rec(decodeEpoch(v))("the epoch"); err != nil {
			return err
		}
		epoch++
		oldest = epoch
		t.Put(tenantKey(rowEpoch, tenant), encodeEpoch(epoch))
		prefix := tenantKey(rowLease, tenant)
		return t.Scan(prefix, after(prefix), func(_, v []byte) (bool, error) {
			l, err := rec(decodeLease(v))("a lease")
			oldest = min(oldest, l.epoch)
			return true, err
		})
	})
	return epoch, oldest, err
}

// DropReferences implements Maintainer.
func (db *DB) DropReferences(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.ID) error {
	return db.update(ctx, "drop references", func(t Txn) error {
		v, err := get(t, tenantKey(rowEpoch, tenant))
		if err != nil {
			return err
		}
		epoch, err := rec(decodeEpoch(v))("the epoch")
		if err != nil {
			return err
		}
		var drop [][]byte
		for _, id := range ids {
			prefix := append(append(ChunkPrefix(tenant, id), chunkReference), folder[:]...)
			err := t.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
				e, err := rec(decodeEpoch(v))("a reference")
				if e < epoch {
					drop = append(drop, append([]byte(nil), k...))
				}
				return true, err
			})
			if err != nil {
				return err
			}
		}
		for _, k := range drop {
			t.Delete(k)
		}
		return nil
	})
}

// ExpireReceipts implements Maintainer. It reads all chunk rows of the tenant,
// a page at a time, and is meant to run now and then.
func (db *DB) ExpireReceipts(ctx context.Context, tenant sendonce.TenantID, before time.Time) (n int, err error) {
	const op = "expire receipts"
	prefix := tenantKey(rowChunk, tenant)
	for start, end := prefix, after(prefix); start != nil; {
		if err := ctx.Err(); err != nil {
			return n, wrap(op, err)
		}
		var old [][]byte
		err := db.view(ctx, op, func(r Reader) error {
			old = nil
			from := start
			start = nil
			rows := 0
			return r.Scan(from, end, func(k, v []byte) (bool, error) {
				if rows++; rows > 16*pageSize || len(old) == pageSize {
					start = append([]byte(nil), k...)
					return false, nil
				}
				if expired, err := receiptBefore(k, v, before); !expired || err != nil {
					return true, err
				}
				old = append(old, append([]byte(nil), k...))
				return true, nil
			})
		})
		if err != nil {
			return n, err
		}
		if len(old) == 0 {
			continue
		}
		var removed int
		err = db.update(ctx, op, func(t Txn) (err error) {
			removed, err = removeReceipts(t, tenant, old, before)
			return err
		})
		if err != nil {
			return n, err
		}
		n += removed
	}
	return n, nil
}

// receiptBefore reports whether a chunk row is a receipt recorded before a time.
func receiptBefore(k, v []byte, before time.Time) (bool, error) {
	if row, _, ok := chunkSuffix(k); !ok || row != chunkReceipt {
		return false, nil
	}
	at, err := rec(decodeReceipt(v))("a receipt")
	return err == nil && at.Before(before), err
}

// removeReceipts deletes those of the rows that are still there and still old,
// and whose device has no push session.
func removeReceipts(t Txn, tenant sendonce.TenantID, keys [][]byte, before time.Time) (n int, err error) {
	values, err := t.Get(keys...)
	if err != nil {
		return 0, err
	}
	busy := map[sendonce.DeviceID]bool{}
	for i, k := range keys {
		if values[i] == nil {
			continue
		}
		expired, err := receiptBefore(k, values[i], before)
		if err != nil {
			return 0, err
		}
		_, s, _ := chunkSuffix(k)
		pushing, known := busy[s.device]
		if !known {
			prefix := leasePrefix(tenant, s.device)
			err := first(t, prefix, after(prefix), func(_, _ []byte) error { pushing = true; return nil })
			if err != nil {
				return 0, err
			}
			busy[s.device] = pushing
		}
		if expired && !pushing {
			t.Delete(k)
			n++
		}
	}
	return n, nil
}

// ExpireLeases implements Maintainer.
func (db *DB) ExpireLeases(ctx context.Context, tenant sendonce.TenantID, before time.Time) (n int, err error) {
	err = db.update(ctx, "expire leases", func(t Txn) error {
		n = 0
		var old [][]byte
		prefix := tenantKey(rowLease, tenant)
		err := t.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
			l, err := rec(decodeLease(v))("a lease")
			if err == nil && l.time.Before(before) {
				old = append(old, append([]byte(nil), k...))
			}
			return true, err
		})
		for _, k := range old {
			t.Delete(k)
			n++
		}
		return err
	})
	return n, err
}

// Sweep implements Maintainer.
func (db *DB) Sweep(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) (removed []sendonce.ID, err error) {
	err = db.update(ctx, "sweep", func(t Txn) error {
		removed = nil
		states, err := (&chunkQuery{tenant: tenant}).run(t, ids)
		if err != nil {
			return err
		}
		seen := map[sendonce.ID]bool{}
		for i, c := range states {
			if !c.located || c.references > 0 || c.receipts > 0 || seen[ids[i]] {
				continue
			}
			seen[ids[i]] = true
			t.Delete(locationKey(tenant, ids[i]))
			removed = append(removed, ids[i])
		}
		return nil
	})
	return removed, err
}

// FlagDamaged implements Maintainer. IDs without a location are passed over.
func (db *DB) FlagDamaged(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) error {
	return db.update(ctx, "flag damaged chunks", func(t Txn) error {
		for _, id := range ids {
			key := locationKey(tenant, id)
			v, err := get(t, key)
			if err != nil {
				return err
			}
			if v == nil {
				continue
			}
			l, err := decodeLocation(id, v)
			if err != nil {
				return err
			}
			l.damaged = true
			t.Put(key, encodeLocation(l))
		}
		return nil
	})
}
