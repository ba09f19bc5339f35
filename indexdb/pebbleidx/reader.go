package pebbleidx

import (
	"bytes"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"sendonce"
)

// source is what a reader reads: a snapshot, or a transaction's batch over the
// database.
type source interface {
	NewIter(*pebble.IterOptions) (*pebble.Iterator, error)
}

// reader implements indexdb.Reader. Making an iterator costs more than a seek,
// so those of finished scans are kept for the next ones. It serves one goroutine.
type reader struct {
	src     source
	version uint64 // rises with each write of the transaction
	idle    []cursor
}

// cursor is an iterator and the version of the transaction that it shows.
type cursor struct {
	it      *pebble.Iterator
	version uint64
}

// take returns an iterator over [lower, upper) that sees all writes so far.
func (r *reader) take(lower, upper []byte) (cursor, error) {
	// The bottom level's filters are used by seeks for a prefix and by nothing
	// else, so the option serves plain scans too.
	o := &pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: true}
	n := len(r.idle)
	if n == 0 {
		it, err := r.src.NewIter(o)
		return cursor{it, r.version}, wrap("read index", "", err)
	}
	c := r.idle[n-1]
	r.idle = r.idle[:n-1]
	if c.version != r.version {
		c.it.SetOptions(o) // refreshes its view of the batch
		c.version = r.version
	} else {
		c.it.SetBounds(lower, upper)
	}
	return c, nil
}

// give takes an iterator back and returns its error, if that is worse than err.
func (r *reader) give(c cursor, err error) error {
	if e := c.it.Error(); e != nil {
		if err == nil {
			err = wrap("read index", "", e)
		}
		c.it.Close() // repeats the error that is returned
		return err
	}
	r.idle = append(r.idle, c)
	return err
}

func (r *reader) close() (err error) {
	for _, c := range r.idle {
		if e := c.it.Close(); err == nil {
			err = e
		}
	}
	r.idle = nil
	return err
}

func value(it *pebble.Iterator) ([]byte, error) {
	v, err := it.ValueAndErr()
	return v, wrap("read index", "", err)
}

// Get implements indexdb.Reader. Many keys are read in their order, which finds
// neighbours in one block.
func (r *reader) Get(keys ...[]byte) ([][]byte, error) {
	c, err := r.take(nil, nil)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(keys))
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool { return bytes.Compare(keys[order[a]], keys[order[b]]) < 0 })
	for _, i := range order {
		// For a key that is its own prefix this finds the key or nothing.
		if !c.it.SeekPrefixGE(keys[i]) || !bytes.Equal(c.it.Key(), keys[i]) {
			if c.it.Error() != nil {
				break
			}
			continue
		}
		v, err := value(c.it)
		if err != nil {
			return nil, r.give(c, err)
		}
		out[i] = append([]byte{}, v...)
	}
	return out, r.give(c, nil)
}

// Scan implements indexdb.Reader.
func (r *reader) Scan(start, end []byte, fn func(key, value []byte) (bool, error)) error {
	c, err := r.take(start, end)
	if err != nil {
		return err
	}
	for ok := c.it.First(); ok; ok = c.it.Next() {
		var more bool
		v, err := value(c.it)
		if err == nil {
			more, err = fn(c.it.Key(), v)
		}
		if !more || err != nil {
			return r.give(c, err)
		}
	}
	return r.give(c, nil)
}

// ScanReverse implements indexdb.Reader.
func (r *reader) ScanReverse(start, end []byte, fn func(key, value []byte) (bool, error)) error {
	c, err := r.take(start, end)
	if err != nil {
		return err
	}
	for ok := c.it.Last(); ok; ok = c.it.Prev() {
		var more bool
		v, err := value(c.it)
		if err == nil {
			more, err = fn(c.it.Key(), v)
		}
		if !more || err != nil {
			return r.give(c, err)
		}
	}
	return r.give(c, nil)
}

// Prefixes implements indexdb.Reader: one iterator, moving forward, and for a
// prefix that is not there usually nothing but a look into a few filters.
func (r *reader) Prefixes(prefixes [][]byte, fn func(i int, key, value []byte) error) error {
	c, err := r.take(nil, nil)
	if err != nil {
		return err
	}
	for i, p := range prefixes {
		if i > 0 && bytes.Compare(prefixes[i-1], p) >= 0 {
			return r.give(c, &sendonce.Error{Op: "read index", Kind: sendonce.KindInternal,
				Detail: "prefixes that are not sorted and distinct"})
		}
		for ok := c.it.SeekPrefixGE(p); ok; ok = c.it.Next() {
			v, err := value(c.it)
			if err == nil {
				err = fn(i, c.it.Key(), v)
			}
			if err != nil {
				return r.give(c, err)
			}
		}
		if c.it.Error() != nil {
			break
		}
	}
	return r.give(c, nil)
}

// txn implements indexdb.Txn over an indexed batch.
type txn struct {
	reader
	b   *pebble.Batch
	err error // of the first write that failed
}

// Put implements indexdb.Txn.
func (t *txn) Put(key, value []byte) {
	t.version++
	if err := t.b.Set(key, value, nil); t.err == nil {
		t.err = err
	}
}

// Delete implements indexdb.Txn.
func (t *txn) Delete(key []byte) {
	t.version++
	if err := t.b.Delete(key, nil); t.err == nil {
		t.err = err
	}
}
