package indextest

import (
	"errors"
	"reflect"
	"time"

	"sendonce"
	"sendonce/indexdb"
)

// present checks who may call what present.
func present(w *world) {
	alice := w.peer(sendonce.RoleReadWrite, "alice")
	bob := w.peer(sendonce.RoleReadWrite, "bob")
	boss := w.as(w.enrol(sendonce.RoleAdmin, ""), bob.who.Folder)
	reader := w.as(w.enrol(sendonce.RoleReadOnly, "alice"), alice.who.Folder)
	sensor := w.as(w.enrol(sendonce.RolePushOnly, "alice"), alice.who.Folder)
	sensor2 := w.as(w.enrol(sendonce.RolePushOnly, ""), alice.who.Folder)
	stored, referenced, pushed, nowhere := w.chunk(), w.chunk(), w.chunk(), w.chunk()
	all := []sendonce.ID{stored, referenced, sendonce.ID{}, pushed, nowhere, referenced}

	must(w.t, w.ix.AddStored(ctx, tenant, alice.who.Device, w.stored(stored, referenced)))
	must(w.t, w.ix.AddStored(ctx, tenant, sensor.who.Device, w.stored(pushed)))
	expect := func(p *peer, name, want string) {
		w.t.Helper()
		if got := p.present(all...); got != want {
			w.t.Errorf("%s sees %s, want %s", name, got, want)
		}
	}
	expect(alice, "alice, by receipt", "++---+")
	expect(bob, "bob", "------")
	expect(sensor, "the sensor, by receipt", "---+--")
	alice.ok(chunked(w.node(), alice.root(), "a", referenced))
	sensor.ok(chunked(w.node(), alice.root(), "s", pushed))
	w.restart()
	expect(alice, "alice", "++-+-+")
	expect(reader, "a reader of her folder", "-+-+-+")
	expect(bob, "bob", "------")
	expect(boss, "one who may read all", "-+-+-+")
	expect(sensor, "the sensor", "---+--")
	expect(sensor2, "another sensor", "------")
	if got := alice.present(); got != "" {
		w.t.Errorf("of nothing: %q", got)
	}

	refs, err := w.ix.Referenced(ctx, tenant, alice.who.Folder, all)
	must(w.t, err)
	if !reflect.DeepEqual(refs, []bool{false, true, false, true, false, true}) {
		w.t.Errorf("referenced: %v", refs)
	}
	refs, err = w.ix.Referenced(ctx, tenant, bob.who.Folder, all)
	must(w.t, err)
	if !reflect.DeepEqual(refs, make([]bool, 6)) {
		w.t.Errorf("referenced by bob's folder: %v", refs)
	}
	// A chunk that is there already is received again, and kept where it is.
	first, err := w.ix.Locate(ctx, tenant, all)
	must(w.t, err)
	must(w.t, w.ix.AddStored(ctx, tenant, bob.who.Device, w.stored(referenced)))
	second, err := w.ix.Locate(ctx, tenant, all)
	must(w.t, err)
	if !reflect.DeepEqual(first, second) || first[1].Location.IsZero() || first[1].Size != 1000 || !first[4].Location.IsZero() || first[4].ID != nowhere {
		w.t.Errorf("located at %v, then at %v", first, second)
	}
	expect(bob, "bob, by receipt", "-+---+")
	for _, bad := range []indexdb.Stored{{}, {ID: stored}, {Location: sendonce.Location{Segment: 1}}} {
		if err := w.ix.AddStored(ctx, tenant, sendonce.DeviceID{}, []indexdb.Stored{bad}); sendonce.KindOf(err) != sendonce.KindInvalid {
			w.t.Errorf("stored %+v: %v", bad, err)
		}
	}
	if _, err := w.ix.Present(ctx, w.as(w.device(), alice.who.Folder).who, all); sendonce.KindOf(err) != sendonce.KindUnauthorized {
		w.t.Errorf("a stranger asks: %v", err)
	}
}

// ownChunksAfterRestart: what a push-only device has sent it never sends again,
// though it may read nothing, and though both ends forget what was in memory.
func ownChunksAfterRestart(w *world) {
	folder := w.folder("backup", sendonce.NamesExact)
	sensor := w.as(w.enrol(sendonce.RolePushOnly, "backup"), folder)
	id := w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, sensor.who.Device, w.stored(id)))
	w.restart()
	if got := sensor.present(id); got != "+" {
		w.t.Error("its receipt is forgotten")
	}
	node := w.node()
	sensor.ok(chunked(node, sensor.root(), "dump", id))
	w.restart()
	if got := sensor.present(id); got != "+" {
		w.t.Error("its reference is forgotten")
	}
	// Nor does its own old revision keep others from learning nothing.
	other := w.as(w.enrol(sendonce.RolePushOnly, "backup"), folder)
	if got := other.present(id); got != "-" {
		w.t.Error("another push-only device sees it")
	}
	other.missing([]indexdb.Change{chunked(w.node(), other.root(), "stolen", id)}, id)
}

// missing commits what must be refused for chunks.
func (p *peer) missing(changes []indexdb.Change, ids ...sendonce.ID) {
	p.t.Helper()
	_, err := p.commit(changes...)
	var m *indexdb.MissingError
	if sendonce.KindOf(err) != sendonce.KindMissing || !errors.As(err, &m) {
		p.t.Fatalf("nothing missing, but %v", err)
	}
	if !reflect.DeepEqual(m.IDs, ids) {
		p.t.Errorf("missing %v, want %v", m.IDs, ids)
	}
}

func swept(w *world) {
	m := w.maintainer()
	p := w.peer(sendonce.RoleReadWrite, "f")
	kept, receipt, loose := w.chunk(), w.chunk(), w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(kept, receipt)))
	must(w.t, w.ix.AddStored(ctx, tenant, sendonce.DeviceID{}, w.stored(loose)))
	p.ok(chunked(w.node(), p.root(), "a", kept))
	removed, err := m.Sweep(ctx, tenant, []sendonce.ID{loose, kept, receipt, w.chunk(), loose})
	must(w.t, err)
	if !reflect.DeepEqual(removed, []sendonce.ID{loose}) {
		w.t.Errorf("swept %v", removed)
	}
	if n, err := m.ExpireReceipts(ctx, tenant, w.clock.Add(time.Second)); err != nil || n != 1 {
		w.t.Errorf("%d receipts expired, %v", n, err)
	}
	if removed, err = m.Sweep(ctx, tenant, []sendonce.ID{receipt}); err != nil || len(removed) != 1 {
		w.t.Errorf("swept %v, %v", removed, err)
	}
	w.restart()
	if got := p.present(kept, receipt, loose); got != "+--" {
		w.t.Errorf("after the sweep: %s", got)
	}
	where, err := w.ix.Locate(ctx, tenant, []sendonce.ID{receipt})
	must(w.t, err)
	if !where[0].Location.IsZero() {
		w.t.Error("a swept chunk is located")
	}
	p.missing([]indexdb.Change{chunked(w.node(), p.root(), "b", kept, receipt, loose)}, receipt, loose)
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(receipt, loose)))
	p.ok(chunked(w.node(), p.root(), "b", kept, receipt, loose))
}

func damagedChunks(w *world) {
	m := w.maintainer()
	p := w.peer(sendonce.RoleReadWrite, "f")
	id := w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(id)))
	p.ok(chunked(w.node(), p.root(), "a", id))
	must(w.t, m.FlagDamaged(ctx, tenant, []sendonce.ID{id, w.chunk()}))
	w.restart()
	m = w.maintainer()
	if got := p.present(id); got != "-" {
		w.t.Error("a damaged chunk is called present")
	}
	where, err := w.ix.Locate(ctx, tenant, []sendonce.ID{id})
	must(w.t, err)
	if !where[0].Location.IsZero() {
		w.t.Error("a damaged chunk is located")
	}
	p.missing([]indexdb.Change{chunked(w.node(), p.root(), "b", id)}, id)
	healed := w.stored(id)
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, healed))
	where, err = w.ix.Locate(ctx, tenant, []sendonce.ID{id})
	must(w.t, err)
	if where[0] != healed[0] || p.present(id) != "+" {
		w.t.Errorf("healed: at %+v, want %+v", where[0], healed[0])
	}
	// A commit's own packs heal too.
	must(w.t, m.FlagDamaged(ctx, tenant, []sendonce.ID{id}))
	_, err = w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: w.op(), Stored: w.stored(id), Changes: []indexdb.Change{chunked(w.node(), p.root(), "b", id)}})
	must(w.t, err)
	if p.present(id) != "+" {
		w.t.Error("a commit's stored chunk did not heal")
	}
}

func leases(w *world) {
	m := w.maintainer()
	p := w.peer(sendonce.RoleReadWrite, "f")
	push := sendonce.PushID{1}
	begin := func(push sendonce.PushID) uint64 {
		w.t.Helper()
		e, err := w.ix.BeginPush(ctx, p.who, push)
		must(w.t, err)
		return e
	}
	first := begin(push)
	epoch, oldest, err := m.AdvanceEpoch(ctx, tenant)
	must(w.t, err)
	if epoch != first+1 || oldest != first {
		w.t.Errorf("epoch %d with the oldest lease at %d, after a push at %d", epoch, oldest, first)
	}
	w.restart()
	m = w.maintainer()
	if again := begin(push); again != first {
		w.t.Errorf("a push that goes on is in epoch %d, began in %d", again, first)
	}
	if e := begin(sendonce.PushID{2}); e != epoch {
		w.t.Errorf("a new push is in epoch %d, not %d", e, epoch)
	}
	must(w.t, w.ix.EndPush(ctx, p.who, push))
	must(w.t, w.ix.EndPush(ctx, p.who, push))
	if epoch, oldest, err = m.AdvanceEpoch(ctx, tenant); err != nil || oldest != epoch-1 {
		w.t.Errorf("epoch %d, oldest %d, %v", epoch, oldest, err)
	}
	if n, err := m.ExpireLeases(ctx, tenant, w.clock); err != nil || n != 0 {
		w.t.Errorf("%d leases expired too early, %v", n, err)
	}
	if n, err := m.ExpireLeases(ctx, tenant, w.clock.Add(1)); err != nil || n != 1 {
		w.t.Errorf("%d leases expired, %v", n, err)
	}
	if epoch, oldest, err = m.AdvanceEpoch(ctx, tenant); err != nil || oldest != epoch {
		w.t.Errorf("without leases: epoch %d, oldest %d, %v", epoch, oldest, err)
	}
	if _, err := w.ix.BeginPush(ctx, w.as(w.enrol(sendonce.RoleReadOnly, "f"), p.who.Folder).who, push); sendonce.KindOf(err) != sendonce.KindUnauthorized {
		w.t.Errorf("a reader begins a push: %v", err)
	}
	if _, err := w.ix.BeginPush(ctx, w.as(w.enrol(sendonce.RoleAdmin, ""), w.folderID()).who, push); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("a push to no folder: %v", err)
	}
}

func receipts(w *world) {
	m := w.maintainer()
	p := w.peer(sendonce.RoleReadWrite, "f")
	old, renewed, used := w.chunk(), w.chunk(), w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(old, renewed, used)))
	w.clock = w.clock.Add(time.Hour)
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(renewed)))
	p.ok(chunked(w.node(), p.root(), "a", used))
	_, err := w.ix.BeginPush(ctx, p.who, sendonce.PushID{1})
	must(w.t, err)
	if n, err := m.ExpireReceipts(ctx, tenant, w.clock); err != nil || n != 0 {
		w.t.Errorf("%d receipts expired under a push, %v", n, err)
	}
	must(w.t, w.ix.EndPush(ctx, p.who, sendonce.PushID{1}))
	if n, err := m.ExpireReceipts(ctx, tenant, w.clock); err != nil || n != 1 {
		w.t.Errorf("%d receipts expired, want the old one; %v", n, err)
	}
	if got := p.present(old, renewed, used); got != "-++" {
		w.t.Errorf("after expiry: %s", got)
	}
	if n, err := m.ExpireReceipts(ctx, tenant, w.clock.Add(1)); err != nil || n != 1 {
		w.t.Errorf("%d receipts expired, want the renewed one (the commit gave up its own); %v", n, err)
	}
}

// epochs: a reference written while the collector marks is not dropped.
func epochs(w *world) {
	m := w.maintainer()
	p := w.peer(sendonce.RoleReadWrite, "f")
	q := w.peer(sendonce.RoleReadWrite, "g")
	id := w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(id)))
	must(w.t, w.ix.AddStored(ctx, tenant, q.who.Device, w.stored(id)))
	drop := func() {
		w.t.Helper()
		must(w.t, m.DropReferences(ctx, tenant, q.who.Folder, []sendonce.ID{id}))
	}
	p.ok(chunked(w.node(), p.root(), "a", id))
	q.ok(chunked(w.node(), q.root(), "a", id))
	_, _, err := m.AdvanceEpoch(ctx, tenant)
	must(w.t, err)
	q.ok(chunked(w.node(), q.root(), "b", id)) // written anew, in the new epoch
	drop()
	if got := q.present(id); got != "+" {
		w.t.Fatal("a reference that was written in this epoch is gone")
	}
	// What no retained revision names goes, from this folder's scope only: of a
	// tree the index knows the root, and takes the collector's word for the rest.
	loose, root := w.chunk(), w.chunk()
	for _, p := range []*peer{p, q} {
		must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(loose, root)))
		p.ok(tree(w.node(), p.root(), "tree", root, loose))
	}
	_, _, err = m.AdvanceEpoch(ctx, tenant)
	must(w.t, err)
	must(w.t, m.DropReferences(ctx, tenant, q.who.Folder, []sendonce.ID{loose}))
	if p, q := p.present(loose), q.present(loose); p != "+" || q != "-" {
		w.t.Errorf("after one folder's references were dropped: %s there, %s elsewhere", q, p)
	}
	if removed, err := m.Sweep(ctx, tenant, []sendonce.ID{loose}); err != nil || len(removed) != 0 {
		w.t.Errorf("swept %v, %v", removed, err)
	}
}
