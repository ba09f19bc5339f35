package blobtest

import (
	"context"
	"errors"
	"testing"

	"sendonce"
	"sendonce/blobstore"
)

func TestMem(t *testing.T) {
	Run(t, func(testing.TB) (blobstore.Store, func() blobstore.Store) { return NewMem(), nil })
}

func TestMemWithManySegments(t *testing.T) {
	Run(t, func(testing.TB) (blobstore.Store, func() blobstore.Store) {
		m := NewMem()
		m.SegmentBytes = 100
		return m, nil
	})
}

func TestRefuse(t *testing.T) {
	no := errors.New("no")
	s := Refuse(no)
	if _, err := s.Put(context.Background(), [][]byte{{1}}); err != no {
		t.Errorf("Put: %v", err)
	}
	if err := s.Get(context.Background(), nil, nil); err != no {
		t.Errorf("Get: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestFaulty(t *testing.T) {
	ctx := context.Background()
	full := &sendonce.Error{Op: "put", Kind: sendonce.KindFull}
	var calls []Call
	var fail Call
	f := &Faulty{Store: NewMem(), Hook: func(c Call) error {
		calls = append(calls, c)
		if c == fail {
			return full
		}
		return nil
	}}
	record := [][]byte{{1, 2}, {3}}

	fail = Call{Op: "put", N: 2}
	if _, err := f.Put(ctx, record); err != full {
		t.Fatalf("Put: %v, want the hook's error", err)
	}
	if list, _ := f.Store.(*Mem).Segments(ctx); len(list) != 0 {
		t.Fatal("a Put that failed before the store has stored something")
	}
	fail.Done = true
	if _, err := f.Put(ctx, record); err != full {
		t.Fatalf("Put: %v, want the hook's error", err)
	}
	if list, _ := f.Store.(*Mem).Segments(ctx); len(list) != 1 || list[0].Records != 2 {
		t.Fatalf("a Put whose answer was lost left %+v", list)
	}
	fail = Call{}
	locs, err := f.Put(ctx, record)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := f.Get(ctx, locs, func(int, []byte) error { n++; return nil }); err != nil || n != 2 {
		t.Fatalf("Get: %v, %d records", err, n)
	}
	fail = Call{Op: "get", N: 2}
	if err := f.Get(ctx, locs, func(int, []byte) error { t.Error("fn called"); return nil }); err != full {
		t.Fatalf("Get: %v, want the hook's error", err)
	}
	if len(calls) != 1+2+2+2+1 {
		t.Errorf("the hook saw %d calls", len(calls))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
