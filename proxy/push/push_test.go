package push

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/protocol"
)

// What is acknowledged is what was added, whatever the order.
func TestAckRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := ackRange{above: map[uint64]bool{}}
		added, told := map[uint64]bool{}, map[uint64]bool{}
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			ops := rapid.SliceOfN(rapid.Uint64Range(1, 30), 1, 5).Draw(t, "ops")
			for _, op := range ops {
				added[op] = true
			}
			for _, ack := range a.add(ops) {
				if told[ack.Op] = true; !added[ack.Op] {
					t.Fatalf("pack %d is acknowledged, and is not there", ack.Op)
				}
				for op := uint64(1); op <= ack.Through; op++ {
					if told[op] = true; !added[op] {
						t.Fatalf("pack %d is acknowledged by %+v, and is not there", op, ack)
					}
				}
			}
			for op := range added {
				if !told[op] {
					t.Fatalf("pack %d is not acknowledged", op)
				}
			}
		}
	})
	a := ackRange{above: map[uint64]bool{}}
	for op := range uint64(maxAbove + 100) {
		a.add([]uint64{op + 2}) // the first never comes
	}
	if len(a.above) > maxAbove {
		t.Errorf("%d gaps are kept", len(a.above))
	}
}

func TestReplies(t *testing.T) {
	r := replies{byID: map[sendonce.OpID]*protocol.Committed{}}
	id := func(i int) sendonce.OpID { return sendonce.OpID{byte(i), byte(i >> 8)} }
	for i := range maxReplies + 10 {
		r.add(id(i), &protocol.Committed{Op: uint64(i)})
		r.add(id(i), &protocol.Committed{Op: 1 << 40}) // the first answer counts
	}
	if len(r.byID) != maxReplies || len(r.order) != maxReplies || r.byID[id(9)] != nil {
		t.Errorf("%d and %d are remembered", len(r.byID), len(r.order))
	}
	for i := 10; i < maxReplies+10; i++ {
		if c := r.byID[id(i)]; c == nil || c.Op != uint64(i) {
			t.Fatalf("the answer to %d is %+v", i, c)
		}
	}
}

func TestPushTable(t *testing.T) {
	table, stop := newPushTable(), make(chan struct{})
	open := func(k pushKey) *push {
		t.Helper()
		p := &push{replaced: make(chan struct{})}
		if err := table.begin(k, p, 2, stop); err != nil {
			t.Fatal(err)
		}
		return p
	}
	one, two := pushKey{sendonce.DeviceID{1}, sendonce.PushID{1}}, pushKey{sendonce.DeviceID{1}, sendonce.PushID{2}}
	theirs := pushKey{sendonce.DeviceID{2}, sendonce.PushID{1}}
	first := open(one)
	open(two)
	open(theirs) // the limit is for each device
	if err := table.begin(pushKey{one.device, sendonce.PushID{3}}, &push{}, 2, stop); sendonce.KindOf(err) != sendonce.KindLimit {
		t.Errorf("a third push: %v", err)
	}
	if table.count() != 3 || table.find(one, time.Minute, nil) != first || table.find(theirs, time.Minute, nil) == first {
		t.Error("a push is not found by its device and its number")
	}
	if p := table.find(pushKey{theirs.device, two.push}, time.Millisecond, nil); p != nil {
		t.Error("a device reaches another's push")
	}
	// The same push opened again: the new one waits until the old one has ended.
	second := make(chan *push)
	go func() {
		p := &push{replaced: make(chan struct{})}
		if err := table.begin(one, p, 2, stop); err != nil {
			p = nil
		}
		second <- p
	}()
	<-first.replaced
	table.end(one)
	if p := <-second; p == nil || table.find(one, time.Minute, nil) != p {
		t.Error("the push was not replaced")
	}
	// One that stops waiting, and a Data stream that does.
	close(stop)
	if err := table.begin(one, &push{}, 2, stop); sendonce.KindOf(err) != sendonce.KindUnavailable {
		t.Errorf("begun while stopping: %v", err)
	}
	if table.find(pushKey{}, time.Hour, stop) != nil {
		t.Error("nothing was found")
	}
	table.drain(time.Millisecond)
	if table.count() != 3 {
		t.Error("draining ends pushes")
	}
	go func() {
		for _, k := range []pushKey{one, two, theirs} {
			table.end(k)
		}
	}()
	table.drain(time.Hour)
}

func TestOfferFrames(t *testing.T) {
	ref := func(n byte) sendonce.Ref { return sendonce.Ref{ID: sendonce.ID{n}, Size: 9} }
	p := &push{s: New(Env{Limits: Limits{PushRefs: 40}}), offers: map[uint64]*offer{}}
	collect := func(f *protocol.Offer) error { _, err := p.collect(f); return err }
	for _, f := range []*protocol.Offer{
		{Op: 3, Refs: []sendonce.Ref{ref(1), ref(2)}},
		{Op: 3, Edits: []sendonce.Edit{{Keep: 4, Insert: 1}}, Refs: []sendonce.Ref{ref(3)}, Last: true},
	} {
		if err := collect(f); err != nil {
			t.Fatal(err)
		}
	}
	o := p.offers[3]
	if got, want := fmt.Sprint(o.Edits), fmt.Sprint([]sendonce.Edit{{Insert: 2}, {Keep: 4, Insert: 1}}); got != want || len(o.Refs) != 3 || !o.last {
		t.Errorf("%s of %d references, want %s", got, len(o.Refs), want)
	}
	if p.refs != o.cost() {
		t.Errorf("%d are counted, it costs %d", p.refs, o.cost())
	}
	for name, f := range map[string]*protocol.Offer{"complete already": {Op: 3}, "earlier": {Op: 2}} {
		if err := collect(f); sendonce.KindOf(err) != sendonce.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := collect(&protocol.Offer{Op: 4}); err != nil {
		t.Fatal(err)
	}
	if err := collect(&protocol.Offer{Op: 5}); sendonce.KindOf(err) != sendonce.KindInvalid {
		t.Errorf("one begins before another is complete: %v", err)
	}
	if err := collect(&protocol.Offer{Op: 4, Refs: make([]sendonce.Ref, 40)}); sendonce.KindOf(err) != sendonce.KindLimit {
		t.Errorf("too many references: %v", err)
	}
	p.forget(3)
	p.forget(4)
	p.forget(9)
	if p.refs != 0 || len(p.offers) != 0 {
		t.Errorf("%d are counted after all are forgotten", p.refs)
	}
}
