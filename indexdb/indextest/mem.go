package indextest

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"sendonce"
	"sendonce/indexdb"
)

// Mem is an engine in memory: an immutable tree that each transaction replaces
// whole. A reader keeps the tree that it began with; writers follow one another.
// "Durable" means: until the process ends.
type Mem struct {
	data   *memData
	closed atomic.Bool
}

type memData struct {
	writing sync.Mutex
	root    atomic.Pointer[leaf]
	seed    maphash.Seed
}

// NewMem returns an empty memory engine.
func NewMem() indexdb.Engine { return newMem() }

func newMem() *Mem { return &Mem{data: &memData{seed: maphash.MakeSeed()}} }

// Reopen returns an engine with the same data, as after a restart.
func (m *Mem) Reopen() *Mem { return &Mem{data: m.data} }

func (m *Mem) ready(ctx context.Context) error {
	if m.closed.Load() {
		return &sendonce.Error{Op: "memory engine", Kind: sendonce.KindUnavailable, Detail: "it is closed"}
	}
	return ctx.Err()
}

// View implements indexdb.Engine.
func (m *Mem) View(ctx context.Context, fn func(indexdb.Reader) error) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	return fn(&memTxn{root: m.data.root.Load()})
}

// Update implements indexdb.Engine.
func (m *Mem) Update(ctx context.Context, fn func(indexdb.Txn) error) error {
	m.data.writing.Lock()
	defer m.data.writing.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	t := &memTxn{root: m.data.root.Load(), seed: m.data.seed}
	if err := fn(t); err != nil {
		return err
	}
	m.data.root.Store(t.root)
	return nil
}

// Write implements indexdb.Engine.
func (m *Mem) Write(ctx context.Context, ops []indexdb.Op) error {
	return m.Update(ctx, func(t indexdb.Txn) error {
		for _, op := range ops {
			if op.Value == nil {
				t.Delete(op.Key)
			} else {
				t.Put(op.Key, op.Value)
			}
		}
		return nil
	})
}

// Close implements indexdb.Engine.
func (m *Mem) Close() error {
	m.closed.Store(true)
	return nil
}

// memTxn reads one tree, and replaces it when it writes.
type memTxn struct {
	root *leaf
	seed maphash.Seed
}

func (t *memTxn) Get(keys ...[]byte) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if l := t.root.find(string(k)); l != nil {
			out[i] = append([]byte{}, l.value...)
		}
	}
	return out, nil
}

func (t *memTxn) Scan(start, end []byte, fn func(key, value []byte) (bool, error)) error {
	_, err := t.root.ascend(string(start), string(end), end == nil, fn)
	return err
}

func (t *memTxn) ScanReverse(start, end []byte, fn func(key, value []byte) (bool, error)) error {
	_, err := t.root.descend(string(start), string(end), end == nil, fn)
	return err
}

func (t *memTxn) Prefixes(prefixes [][]byte, fn func(i int, key, value []byte) error) error {
	root := t.root
	for i, p := range prefixes {
		if len(p) != indexdb.ChunkPrefixLen || i > 0 && string(prefixes[i-1]) >= string(p) {
			return &sendonce.Error{Op: "memory engine", Kind: sendonce.KindInternal, Detail: "prefixes are not sorted, distinct chunk prefixes"}
		}
		_, err := root.ascend(string(p), "", true, func(k, v []byte) (bool, error) {
			if !strings.HasPrefix(string(k), string(p)) {
				return false, nil
			}
			return true, fn(i, k, v)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *memTxn) Put(key, value []byte) {
	k := string(key)
	t.root = t.root.put(&leaf{key: k, value: string(value), rank: maphash.String(t.seed, k)})
}

func (t *memTxn) Delete(key []byte) { t.root = t.root.delete(string(key)) }

// leaf is a node of a treap (Seidel and Aragon, "Randomized search trees",
// 1996): a search tree by key, a heap by rank. Leaves never change.
type leaf struct {
	key, value  string
	rank        uint64
	left, right *leaf
}

func (l *leaf) find(key string) *leaf {
	for l != nil && l.key != key {
		if key < l.key {
			l = l.left
		} else {
			l = l.right
		}
	}
	return l
}

// split returns the leaves before key and those after it.
func (l *leaf) split(key string) (before, after *leaf) {
	if l == nil {
		return nil, nil
	}
	c := *l
	switch {
	case key < l.key:
		before, c.left = l.left.split(key)
		return before, &c
	case key > l.key:
		c.right, after = l.right.split(key)
		return &c, after
	}
	return l.left, l.right
}

func (l *leaf) put(n *leaf) *leaf {
	if l == nil || n.rank > l.rank || n.key == l.key {
		n.left, n.right = l.split(n.key)
		return n
	}
	c := *l
	if n.key < l.key {
		c.left = l.left.put(n)
	} else {
		c.right = l.right.put(n)
	}
	return &c
}

func (l *leaf) delete(key string) *leaf {
	switch {
	case l == nil:
		return nil
	case l.key == key:
		return join(l.left, l.right)
	}
	c := *l
	if key < l.key {
		c.left = l.left.delete(key)
	} else {
		c.right = l.right.delete(key)
	}
	return &c
}

// join puts two trees together, all of a before all of b.
func join(a, b *leaf) *leaf {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.rank > b.rank:
		c := *a
		c.right = join(a.right, b)
		return &c
	}
	c := *b
	c.left = join(a, b.left)
	return &c
}

// ascend visits the keys in [start, end), all to the end with open; it reports
// whether to go on.
func (l *leaf) ascend(start, end string, open bool, fn func(k, v []byte) (bool, error)) (bool, error) {
	if l == nil {
		return true, nil
	}
	if l.key > start {
		if more, err := l.left.ascend(start, end, open, fn); !more || err != nil {
			return false, err
		}
	}
	if !open && l.key >= end {
		return false, nil
	}
	if l.key >= start {
		if more, err := fn([]byte(l.key), []byte(l.value)); !more || err != nil {
			return false, err
		}
	}
	return l.right.ascend(start, end, open, fn)
}

// descend is ascend in the other direction.
func (l *leaf) descend(start, end string, open bool, fn func(k, v []byte) (bool, error)) (bool, error) {
	if l == nil {
		return true, nil
	}
	if open || l.key < end {
		if more, err := l.right.descend(start, end, open, fn); !more || err != nil {
			return false, err
		}
		if l.key < start {
			return true, nil
		}
		if more, err := fn([]byte(l.key), []byte(l.value)); !more || err != nil {
			return false, err
		}
	}
	return l.left.descend(start, end, open, fn)
}
