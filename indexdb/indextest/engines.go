package indextest

import (
	"context"

	"sendonce/indexdb"
)

// Refuse returns an engine that answers every call with err.
func Refuse(err error) indexdb.Engine { return refuse{err} }

type refuse struct{ err error }

func (r refuse) View(context.Context, func(indexdb.Reader) error) error { return r.err }
func (r refuse) Update(context.Context, func(indexdb.Txn) error) error  { return r.err }
func (r refuse) Write(context.Context, []indexdb.Op) error              { return r.err }
func (r refuse) Close() error                                           { return r.err }

// Faulty is an engine whose calls fail when Hook says so. Hook is called before
// each call of the engine ("view", "update", "write", "close"), of a reader
// ("get", "scan", "scan reverse", "prefixes"), and once before an update that
// would succeed is written ("apply"); it may be called concurrently.
type Faulty struct {
	indexdb.Engine
	Hook func(op string) error
}

// View implements indexdb.Engine.
func (f Faulty) View(ctx context.Context, fn func(indexdb.Reader) error) error {
	if err := f.Hook("view"); err != nil {
		return err
	}
	return f.Engine.View(ctx, func(r indexdb.Reader) error { return fn(faultyReader{r, f.Hook}) })
}

// Update implements indexdb.Engine.
func (f Faulty) Update(ctx context.Context, fn func(indexdb.Txn) error) error {
	if err := f.Hook("update"); err != nil {
		return err
	}
	return f.Engine.Update(ctx, func(t indexdb.Txn) error {
		if err := fn(faultyTxn{faultyReader{t, f.Hook}, t}); err != nil {
			return err
		}
		return f.Hook("apply")
	})
}

// Write implements indexdb.Engine.
func (f Faulty) Write(ctx context.Context, ops []indexdb.Op) error {
	if err := f.Hook("write"); err != nil {
		return err
	}
	return f.Engine.Write(ctx, ops)
}

// Close implements indexdb.Engine; the inner engine is closed in any case.
func (f Faulty) Close() error {
	err := f.Hook("close")
	if inner := f.Engine.Close(); err == nil {
		err = inner
	}
	return err
}

type faultyReader struct {
	r    indexdb.Reader
	hook func(op string) error
}

func (f faultyReader) Get(keys ...[]byte) ([][]byte, error) {
	if err := f.hook("get"); err != nil {
		return nil, err
	}
	return f.r.Get(keys...)
}

func (f faultyReader) Scan(start, end []byte, fn func(key, value []byte) (bool, error)) error {
	if err := f.hook("scan"); err != nil {
		return err
	}
	return f.r.Scan(start, end, fn)
}

func (f faultyReader) ScanReverse(start, end []byte, fn func(key, value []byte) (bool, error)) error {
	if err := f.hook("scan reverse"); err != nil {
		return err
	}
	return f.r.ScanReverse(start, end, fn)
}

func (f faultyReader) Prefixes(prefixes [][]byte, fn func(i int, key, value []byte) error) error {
	if err := f.hook("prefixes"); err != nil {
		return err
	}
	return f.r.Prefixes(prefixes, fn)
}

type faultyTxn struct {
	faultyReader
	t indexdb.Txn
}

func (f faultyTxn) Put(key, value []byte) { f.t.Put(key, value) }
func (f faultyTxn) Delete(key []byte)     { f.t.Delete(key) }
