package indexdb

import (
	"context"

	"sendonce"
)

// resolve turns a caller's seq (0: the head) into one to read at, and refuses
// folders and seqs that do not exist.
func resolve(r Reader, p place, at uint64) (uint64, error) {
	v, err := get(r, p.key(rowHead))
	if err != nil {
		return 0, err
	}
	if v == nil {
		return 0, notFound("there is no folder %s", p.folder)
	}
	h, err := rec(decodeHead(v))("a folder's head")
	switch {
	case err != nil:
		return 0, err
	case at == 0:
		return h.cursor.Seq, nil
	case at > h.cursor.Seq:
		return 0, notFound("the folder has no sequence number %d yet", at)
	}
	return at, nil
}

// Nodes implements Tree. Errors: KindNotFound for an unknown folder, and for a
// seq that the journal has not reached.
func (db *DB) Nodes(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, at uint64, ids []sendonce.NodeID) (out []*sendonce.Node, err error) {
	p := place{tenant, folder}
	err = db.view(ctx, "read nodes", func(r Reader) error {
		at, err := resolve(r, p, at)
		if err != nil {
			return err
		}
		out = make([]*sendonce.Node, len(ids))
		for i, id := range ids {
			n, err := loadNode(r, p, id, at)
			if err != nil {
				return err
			}
			if n != nil {
				out[i] = &n.Node
			}
		}
		return nil
	})
	return out, err
}

// Creators implements Tree.
func (db *DB) Creators(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.NodeID) (out []sendonce.DeviceID, err error) {
	p := place{tenant, folder}
	err = db.view(ctx, "read creators", func(r Reader) error {
		out = make([]sendonce.DeviceID, len(ids))
		for i, id := range ids {
			n, err := loadNode(r, p, id, head)
			if err != nil {
				return err
			}
			if n != nil {
				out[i] = n.creator
			}
		}
		return nil
	})
	return out, err
}

// Children implements Tree. fn runs inside a read transaction: it must not call
// the index, and should not wait for anything slow.
func (db *DB) Children(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, at uint64, parent sendonce.NodeID, from string, fn func(*sendonce.Node) (bool, error)) error {
	p := place{tenant, folder}
	return db.view(ctx, "list directory", func(r Reader) error {
		at, err := resolve(r, p, at)
		if err != nil {
			return err
		}
		return slots(r, p, at, parent, from, func(name string, id sendonce.NodeID) (bool, error) {
			n, err := loadNode(r, p, id, at)
			switch {
			case err != nil:
				return false, err
			case !n.live() || n.Parent != parent || n.Name != name:
				return false, damaged("the slot of %q and its node %s disagree", name, id)
			}
			return fn(&n.Node)
		})
	})
}

// skipLimit is how many rows are stepped over one by one before seeking: a seek
// costs about as much as that many steps.
const skipLimit = 16

// slots calls fn for the taken slots of a directory at seq at, in byte order of
// names after from, until fn returns false. Of each name only the newest
// revision not after `at` matters; rows stepped over beyond a few are skipped by
// seeking.
func slots(r Reader, p place, at uint64, parent sendonce.NodeID, from string, fn func(name string, id sendonce.NodeID) (bool, error)) error {
	prefix := p.slots(parent)
	start, end := prefix, after(prefix)
	if from != "" {
		start = after(p.slotName(parent, from))
	}
	for start != nil {
		var done []byte // the name that has been decided; nil before the first
		skipped := 0
		resume := []byte(nil)
		err := r.Scan(start, end, func(k, v []byte) (bool, error) {
			_, name, rev, ok := parseSlot(k)
			if !ok {
				return false, damaged("a slot's key is malformed")
			}
			if done != nil && string(done) == string(name) {
				if skipped++; skipped > skipLimit {
					resume = after(p.slotName(parent, string(name)))
					return false, nil
				}
				return true, nil
			}
			if rev > at {
				if skipped++; skipped > skipLimit {
					resume = p.slot(parent, string(name), at)
					return false, nil
				}
				return true, nil
			}
			done, skipped = append(done[:0], name...), 0
			if len(v) == 0 {
				return true, nil
			}
			if len(v) != 16 {
				return false, damaged("a slot's value is malformed")
			}
			return fn(string(name), sendonce.NodeID(v))
		})
		if err != nil {
			return err
		}
		start = resume
	}
	return nil
}

// Revisions implements Tree. fn runs inside a read transaction, as for Children.
func (db *DB) Revisions(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, id sendonce.NodeID, fn func(*sendonce.Node) (bool, error)) error {
	p := place{tenant, folder}
	return db.view(ctx, "list revisions", func(r Reader) error {
		prefix := p.nodes(id)
		return r.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
			_, rev, ok := parseNode(k)
			if !ok {
				return false, damaged("a node's key is malformed")
			}
			n, err := decodeNode(id, rev, v)
			if err != nil {
				return false, err
			}
			return fn(&n.Node)
		})
	})
}
