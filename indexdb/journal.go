package indexdb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"sendonce"
)

// chainContext separates the chain's hashes from all others.
const chainContext = "sendonce chain 1\x00"

// chainOf returns the chain hash after an entry: SHA-256 over chainContext, the
// previous chain, the folder, the sequence number (8 bytes), the op ID, the
// device, the time (8 bytes, nanoseconds), the snapshot flag (1 byte), the
// number of nodes (4 bytes), their IDs, and the digest. Integers are big-endian.
func chainOf(folder sendonce.FolderID, prev [32]byte, e *Entry) (sum [32]byte) {
	b := make([]byte, 0, 256+16*len(e.Nodes))
	b = append(append(append(b, chainContext...), prev[:]...), folder[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Seq)
	b = append(append(b, e.Op[:]...), e.Device[:]...)
	b = appendTime(b, e.Time)
	if e.Snapshot {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Nodes)))
	for i := range e.Nodes {
		b = append(b, e.Nodes[i][:]...)
	}
	return sha256.Sum256(append(b, e.Digest[:]...))
}

// digester sums node records: for each, in the order of Entry.Nodes (ascending),
// the ID, the length of the record (4 bytes, big-endian) and the record.
type digester struct{ b []byte }

func (d *digester) add(id sendonce.NodeID, record []byte) {
	d.b = binary.BigEndian.AppendUint32(append(d.b, id[:]...), uint32(len(record)))
	d.b = append(d.b, record...)
}

func (d *digester) sum() [32]byte { return sha256.Sum256(d.b) }

// Head implements Journal.
func (db *DB) Head(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID) (c sendonce.Cursor, err error) {
	err = db.view(ctx, "read head", func(r Reader) error {
		f, err := loadFolder(r, place{tenant, folder})
		if err == nil {
			c = f.Head
		}
		return err
	})
	return c, err
}

// Entries implements Journal. fn runs inside a read transaction, as for
// Children. KindNotFound for an unknown folder.
func (db *DB) Entries(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, from uint64, limit int, fn func(Entry) error) error {
	p := place{tenant, folder}
	return db.view(ctx, "read journal", func(r Reader) error {
		if _, err := resolve(r, p, 0); err != nil {
			return err
		}
		if from == head {
			return nil
		}
		n := 0
		return r.Scan(p.entry(from+1), after(p.key(rowEntry)), func(k, v []byte) (bool, error) {
			e, err := parseEntry(k, v)
			if err == nil {
				err = fn(e)
			}
			n++
			return limit == 0 || n < limit, err
		})
	})
}

func parseEntry(k, v []byte) (Entry, error) {
	if len(k) != placeLen+8 {
		return Entry{}, damaged("a journal key is malformed")
	}
	return rec(decodeEntry(binary.BigEndian.Uint64(k[placeLen:]), v))("a journal entry")
}

// CheckCursor implements Journal. Of a folder that does not exist no cursor is
// held.
func (db *DB) CheckCursor(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, c sendonce.Cursor) (ok bool, err error) {
	p := place{tenant, folder}
	err = db.view(ctx, "check cursor", func(r Reader) error {
		ok = false
		v, err := r.Get(p.key(rowFolder), p.entry(c.Seq))
		switch {
		case err != nil || v[0] == nil:
			return err
		case c.Seq == 0:
			ok = c.Chain == [32]byte{}
			return nil
		case v[1] == nil:
			return nil
		}
		e, err := rec(decodeEntry(c.Seq, v[1]))("a journal entry")
		ok = err == nil && e.Chain == c.Chain
		return err
	})
	return ok, err
}
