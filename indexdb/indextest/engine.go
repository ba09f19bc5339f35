package indextest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/indexdb"
)

// RunEngine checks that what newEngine makes, an empty engine each time, keeps
// the contract of indexdb.Engine. The engine is closed by the suite.
func RunEngine(t *testing.T, newEngine func(t testing.TB) indexdb.Engine) {
	open := func(t testing.TB) indexdb.Engine {
		e := newEngine(t)
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return e
	}
	t.Run("Values", func(t *testing.T) { engineValues(t, open(t)) })
	t.Run("FailedUpdate", func(t *testing.T) { engineFailedUpdate(t, open(t)) })
	t.Run("Consistent", func(t *testing.T) { engineConsistent(t, open(t)) })
	t.Run("Counter", func(t *testing.T) { engineCounter(t, open(t)) })
	t.Run("Nested", func(t *testing.T) { engineNested(t, open(t)) })
	t.Run("Closed", func(t *testing.T) {
		e := newEngine(t)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.View(context.Background(), func(indexdb.Reader) error { return nil }); err == nil {
			t.Error("a closed engine answers")
		}
		if err := e.Write(context.Background(), []indexdb.Op{{Key: []byte("a")}}); err == nil {
			t.Error("a closed engine writes")
		}
	})
	t.Run("Model", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			e := newEngine(t)
			engineModel(rt, e)
			if err := e.Close(); err != nil {
				rt.Fatal(err)
			}
		})
	})
}

func engineValues(t *testing.T, e indexdb.Engine) {
	ctx := context.Background()
	must(t, e.Update(ctx, func(x indexdb.Txn) error {
		x.Put([]byte("empty"), nil)
		x.Put([]byte("full"), []byte("v"))
		x.Put([]byte("gone"), []byte("v"))
		x.Delete([]byte("gone"))
		x.Delete([]byte("never"))
		return nil
	}))
	must(t, e.Write(ctx, []indexdb.Op{{Key: []byte("blind"), Value: []byte{}}, {Key: []byte("full2"), Value: []byte("w")}}))
	must(t, e.Write(ctx, nil))
	must(t, e.View(ctx, func(r indexdb.Reader) error {
		v, err := r.Get([]byte("full"), []byte("empty"), []byte("gone"), []byte("blind"), []byte("full2"), []byte("full"), []byte("ful"))
		if err != nil {
			return err
		}
		for i, want := range []string{"v", "", "-", "", "w", "v", "-"} {
			if got := v[i]; got == nil && want != "-" || got != nil && string(got) != want {
				t.Errorf("value %d is %q, want %q", i, got, want)
			}
		}
		v[0][0] = 'x' // what was returned is the caller's
		again, err := r.Get([]byte("full"))
		if err == nil && string(again[0]) != "v" {
			t.Errorf("a caller's write shows: %q", again[0])
		}
		return err
	}))
}

func engineFailedUpdate(t *testing.T, e indexdb.Engine) {
	ctx := context.Background()
	mine := errors.New("mine")
	err := e.Update(ctx, func(x indexdb.Txn) error { x.Put([]byte("a"), []byte("1")); return mine })
	if !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	must(t, e.View(ctx, func(r indexdb.Reader) error {
		v, err := r.Get([]byte("a"))
		if err == nil && v[0] != nil {
			t.Error("a failed update wrote")
		}
		return err
	}))
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.Update(stopped, func(indexdb.Txn) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

// engineConsistent checks that a view does not see writes made while it lasts.
func engineConsistent(t *testing.T, e indexdb.Engine) {
	ctx := context.Background()
	key := []byte("k")
	must(t, e.Write(ctx, []indexdb.Op{{Key: key, Value: []byte("1")}}))
	must(t, e.View(ctx, func(r indexdb.Reader) error {
		if _, err := r.Get(key); err != nil {
			return err
		}
		wrote := make(chan error)
		go func() { wrote <- e.Write(ctx, []indexdb.Op{{Key: key, Value: []byte("2")}}) }()
		if err := <-wrote; err != nil {
			return err
		}
		v, err := r.Get(key)
		if err == nil && string(v[0]) != "1" {
			t.Errorf("the view moved to %q", v[0])
		}
		return err
	}))
}

// engineCounter has many transactions read, add and write.
func engineCounter(t *testing.T, e indexdb.Engine) {
	const workers, rounds = 8, 20
	ctx := context.Background()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				err := e.Update(ctx, func(x indexdb.Txn) error {
					v, err := x.Get([]byte("n"))
					if err != nil {
						return err
					}
					var n uint64
					if v[0] != nil {
						n = binary.BigEndian.Uint64(v[0])
					}
					x.Put([]byte("n"), binary.BigEndian.AppendUint64(nil, n+1))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, e.View(ctx, func(r indexdb.Reader) error {
		v, err := r.Get([]byte("n"))
		if err == nil && binary.BigEndian.Uint64(v[0]) != workers*rounds {
			t.Errorf("counted %d, want %d", binary.BigEndian.Uint64(v[0]), workers*rounds)
		}
		return err
	}))
}

// engineNested scans inside a scan, and reads what the transaction wrote since.
func engineNested(t *testing.T, e indexdb.Engine) {
	must(t, e.Update(context.Background(), func(x indexdb.Txn) error {
		for i := range 4 {
			x.Put([]byte{'a', byte(i)}, []byte{byte(i)})
		}
		var seen []string
		err := x.Scan([]byte("a"), []byte("b"), func(k, _ []byte) (bool, error) {
			x.Put(append([]byte{'b'}, k[1]), nil)
			inner := 0
			err := x.Scan([]byte("b"), nil, func(_, _ []byte) (bool, error) { inner++; return true, nil })
			seen = append(seen, fmt.Sprint(k[1], inner))
			return true, err
		})
		if got := fmt.Sprint(seen); got != "[0 1 1 2 2 3 3 4]" {
			t.Errorf("nested scans saw %s", got)
		}
		return err
	}))
}

// engineModel compares random transactions with a map.
func engineModel(t *rapid.T, e indexdb.Engine) {
	ctx := context.Background()
	model := map[string]string{}
	id := rapid.Custom(func(t *rapid.T) sendonce.ID {
		var id sendonce.ID
		id[0], id[31] = byte(rapid.IntRange(0, 2).Draw(t, "high")), byte(rapid.IntRange(1, 4).Draw(t, "low"))
		return id
	})
	key := rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "chunk") {
			suffix := rapid.SampledFrom([]string{"L", "R1", "R2", "U"}).Draw(t, "suffix")
			return string(indexdb.ChunkPrefix(1, id.Draw(t, "id"))) + suffix
		}
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{'b', 'c', 0, 0xff}), 1, 4).Draw(t, "key"))
	})
	for range rapid.IntRange(1, 6).Draw(t, "transactions") {
		next := make(map[string]string, len(model))
		for k, v := range model {
			next[k] = v
		}
		n := rapid.IntRange(0, 8).Draw(t, "writes")
		var ops []indexdb.Op
		for range n {
			k, v := key.Draw(t, "k"), rapid.StringN(0, 3, -1).Draw(t, "v")
			op := indexdb.Op{Key: []byte(k)}
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				delete(next, k)
			} else {
				next[k] = v
				op.Value = append([]byte{}, v...)
			}
			ops = append(ops, op)
		}
		if rapid.Bool().Draw(t, "blind") {
			must(t, e.Write(ctx, ops))
		} else {
			must(t, e.Update(ctx, func(x indexdb.Txn) error {
				for _, op := range ops {
					if op.Value == nil {
						x.Delete(op.Key)
					} else {
						x.Put(op.Key, op.Value)
					}
				}
				return engineCompare(t, x, next, key, id)
			}))
		}
		model = next
		must(t, e.View(ctx, func(r indexdb.Reader) error { return engineCompare(t, r, model, key, id) }))
	}
}

func engineCompare(t *rapid.T, r indexdb.Reader, model map[string]string, key *rapid.Generator[string], id *rapid.Generator[sendonce.ID]) error {
	keys := make([]string, 0, len(model))
	for k := range model {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	list := func(start, end string, open bool) (out []string) {
		for _, k := range keys {
			if k >= start && (open || k < end) {
				out = append(out, fmt.Sprintf("%x=%x", k, model[k]))
			}
		}
		return out
	}
	start, end, open := key.Draw(t, "start"), key.Draw(t, "end"), rapid.Bool().Draw(t, "open")
	if start > end {
		start, end = end, start
	}
	var upper []byte
	if !open {
		upper = []byte(end)
	}
	var got []string
	collect := func(k, v []byte) (bool, error) {
		got = append(got, fmt.Sprintf("%x=%x", k, v))
		return true, nil
	}
	if err := r.Scan([]byte(start), upper, collect); err != nil {
		return err
	}
	want := list(start, end, open)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("scan of %x to %x gives %v, want %v", start, upper, got, want)
	}
	got = nil
	if err := r.ScanReverse([]byte(start), upper, collect); err != nil {
		return err
	}
	for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
		got[i], got[j] = got[j], got[i]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("reverse scan of %x to %x gives, turned round, %v, want %v", start, upper, got, want)
	}
	ids := rapid.SliceOfNDistinct(id, 0, 8, rapid.ID[sendonce.ID]).Draw(t, "ids")
	sort.Slice(ids, func(a, b int) bool { return bytes.Compare(ids[a][:], ids[b][:]) < 0 })
	prefixes := make([][]byte, len(ids))
	want = nil
	for i, id := range ids {
		prefixes[i] = indexdb.ChunkPrefix(1, id)
		for _, k := range keys {
			if bytes.HasPrefix([]byte(k), prefixes[i]) {
				want = append(want, fmt.Sprintf("%d %x=%x", i, k, model[k]))
			}
		}
	}
	got = nil
	err := r.Prefixes(prefixes, func(i int, k, v []byte) error {
		got = append(got, fmt.Sprintf("%d %x=%x", i, k, v))
		return nil
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("prefixes give %v, want %v", got, want)
	}
	return err
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, sendonce.HintOf(err))
	}
}
