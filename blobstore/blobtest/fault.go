package blobtest

import (
	"context"

	"sendonce"
	"sendonce/blobstore"
)

// Refuse returns a store whose every method but Close returns err.
func Refuse(err error) blobstore.Store { return refuser{err} }

type refuser struct{ err error }

func (r refuser) Put(context.Context, [][]byte) ([]sendonce.Location, error) { return nil, r.err }

func (r refuser) Get(context.Context, []sendonce.Location, func(int, []byte) error) error {
	return r.err
}

func (r refuser) Close() error { return nil }

// Call describes a call to a Faulty store.
type Call struct {
	Op   string // "put" or "get"
	N    int    // records or locations concerned
	Done bool   // the store has done its part; an error now loses the answer only
}

// Faulty fails the calls that Hook picks. Hook is asked twice for each Put and
// Get, before and after the store's own part; an error that it returns before
// keeps the call from the store, one that it returns after replaces the answer
// of a call that succeeded. Hook may be called concurrently, and may block.
//
// Faulty hides the optional abilities of Store.
type Faulty struct {
	Store blobstore.Store
	Hook  func(Call) error
}

var _ blobstore.Store = (*Faulty)(nil)

// Put implements blobstore.Store.
func (f *Faulty) Put(ctx context.Context, records [][]byte) ([]sendonce.Location, error) {
	c := Call{Op: "put", N: len(records)}
	if err := f.Hook(c); err != nil {
		return nil, err
	}
	locs, err := f.Store.Put(ctx, records)
	if err != nil {
		return nil, err
	}
	c.Done = true
	if err := f.Hook(c); err != nil {
		return nil, err
	}
	return locs, nil
}

// Get implements blobstore.Store.
func (f *Faulty) Get(ctx context.Context, locs []sendonce.Location, fn func(i int, record []byte) error) error {
	c := Call{Op: "get", N: len(locs)}
	if err := f.Hook(c); err != nil {
		return err
	}
	if err := f.Store.Get(ctx, locs, fn); err != nil {
		return err
	}
	c.Done = true
	return f.Hook(c)
}

// Close implements blobstore.Store.
func (f *Faulty) Close() error { return f.Store.Close() }
