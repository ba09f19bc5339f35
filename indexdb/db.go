package indexdb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sort"
	"time"

	"sendonce"
)

// Options are what a DB needs from outside. Now and Rand are required.
type Options struct {
	Now  func() time.Time // for stored times; decides only when receipts and op results expire
	Rand io.Reader        // for tenant keys; must be cryptographic
	Log  *slog.Logger     // nil: nothing is logged
}

// DB is the index: every rule of this package over one Engine. It implements
// Index and Maintainer.
type DB struct {
	e   Engine
	now func() time.Time
	rnd io.Reader
	log *slog.Logger
}

var (
	_ Index      = (*DB)(nil)
	_ Maintainer = (*DB)(nil)
)

// New opens the index that an engine holds, or makes a new one in an empty
// engine: the format version and the tenant "default", with a random key and
// sendonce.DefaultParams. The engine belongs to the DB from then on, unless an
// error is returned. Errors: KindNewerFormat, KindDamaged, and the engine's.
func New(e Engine, o Options) (*DB, error) {
	const op = "open index"
	if o.Now == nil || o.Rand == nil {
		return nil, wrap(op, invalid("Options.Now and Options.Rand are required"))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{e: e, now: o.Now, rnd: o.Rand, log: o.Log}
	var key [32]byte
	if _, err := io.ReadFull(o.Rand, key[:]); err != nil {
		return nil, wrap(op, err)
	}
	// Looking first keeps an engine that exists free of writes at every start.
	var have bool
	err := e.View(context.Background(), func(r Reader) (err error) {
		have, err = checkFormat(r)
		return err
	})
	if err == nil && !have {
		err = e.Update(context.Background(), func(t Txn) error {
			if have, err := checkFormat(t); have || err != nil {
				return err
			}
			t.Put([]byte{rowFormat}, []byte{FormatVersion})
			t.Put(tenantKey(rowEpoch, sendonce.DefaultTenant), encodeEpoch(1))
			t.Put(tenantKey(rowTenant, sendonce.DefaultTenant),
				encodeTenant(&Tenant{Name: "default", Key: key, Params: sendonce.DefaultParams}))
			return nil
		})
	}
	if err != nil {
		return nil, wrap(op, err)
	}
	return db, nil
}

// checkFormat reports whether there is an index of this version, and refuses a
// newer one and data that is none.
func checkFormat(r Reader) (bool, error) {
	v, err := get(r, []byte{rowFormat})
	switch {
	case err != nil:
		return false, err
	case v == nil:
		var other bool
		err := r.Scan(nil, nil, func(_, _ []byte) (bool, error) { other = true; return false, nil })
		if err == nil && other {
			err = damaged("there are rows, but no format version")
		}
		return false, err
	case len(v) != 1 || v[0] == 0:
		return false, damaged("the format version is malformed")
	case v[0] > FormatVersion:
		return false, &sendonce.Error{Kind: sendonce.KindNewerFormat,
			Detail: fmt.Sprintf("the index has format %d, this version reads up to %d", v[0], FormatVersion),
			Hint:   "use the sendonce version that wrote it, or a newer one"}
	}
	return true, nil
}

// Close ends the engine.
func (db *DB) Close() error { return wrap("close index", db.e.Close()) }

func (db *DB) view(ctx context.Context, op string, fn func(Reader) error) error {
	return wrap(op, db.e.View(ctx, fn))
}

func (db *DB) update(ctx context.Context, op string, fn func(Txn) error) error {
	return wrap(op, db.e.Update(ctx, fn))
}

// get reads one key; nil if it is not there.
func get(r Reader, key []byte) ([]byte, error) {
	v, err := r.Get(key)
	if err != nil {
		return nil, err
	}
	return v[0], nil
}

// first calls fn with the first pair in [start, end), if there is one.
func first(r Reader, start, end []byte, fn func(k, v []byte) error) error {
	return r.Scan(start, end, func(k, v []byte) (bool, error) { return false, fn(k, v) })
}

// loadNode returns a node as it was at seq at, nil if it did not exist.
func loadNode(r Reader, p place, id sendonce.NodeID, at uint64) (n *record, err error) {
	err = first(r, p.node(id, at), after(p.nodes(id)), func(k, v []byte) (err error) {
		_, rev, ok := parseNode(k)
		if !ok {
			return damaged("a node's key is malformed")
		}
		n, err = decodeNode(id, rev, v)
		return err
	})
	return n, err
}

// loadSlot returns the node that had a slot at seq at, zero if none.
func loadSlot(r Reader, p place, parent sendonce.NodeID, name string, at uint64) (id sendonce.NodeID, err error) {
	err = first(r, p.slot(parent, name, at), after(p.slotName(parent, name)), func(k, v []byte) error {
		switch len(v) {
		case 0:
		case len(id):
			copy(id[:], v)
		default:
			return damaged("a slot's value is malformed")
		}
		return nil
	})
	return id, err
}

const head = ^uint64(0) // as a seq: whatever is newest

// rec turns a decoding error into one that names the row.
func rec[T any](v T, err error) func(what string) (T, error) {
	return func(what string) (T, error) {
		if err != nil {
			return v, damaged("the record of %s is malformed", what)
		}
		return v, nil
	}
}

// loadFolder returns a folder with its head; KindNotFound if there is none.
func loadFolder(r Reader, p place) (*Folder, error) {
	v, err := r.Get(p.key(rowFolder), p.key(rowHead))
	if err != nil {
		return nil, err
	}
	return parseFolder(p, v[0], v[1])
}

func parseFolder(p place, row, headValue []byte) (*Folder, error) {
	if row == nil || headValue == nil {
		return nil, notFound("there is no folder %s", p.folder)
	}
	f, err := rec(decodeFolder(p, row))("a folder")
	if err != nil {
		return nil, err
	}
	h, err := rec(decodeHead(headValue))("a folder's head")
	if err != nil {
		return nil, err
	}
	f.Bytes, f.Files, f.Head = h.bytes, h.files, h.cursor
	return &f, nil
}

func sortedFolders[V any](m map[sendonce.FolderID]V) []sendonce.FolderID {
	ids := make([]sendonce.FolderID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return bytes.Compare(ids[i][:], ids[j][:]) < 0 })
	return ids
}
