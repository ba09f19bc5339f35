package indextest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sendonce"
	"sendonce/indexdb"
)

func commitChunks(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	a, b, page, gone := w.chunk(), w.chunk(), w.chunk(), w.chunk()
	n, m := w.node(), w.node()
	p.missing([]indexdb.Change{chunked(n, p.root(), "n", a), tree(m, p.root(), "m", page, b)}, a, b, page)
	// What a commit stores counts as there and allowed.
	r, err := w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: w.op(), Stored: w.stored(a, b, page),
		Changes: []indexdb.Change{chunked(n, p.root(), "n", a), tree(m, p.root(), "m", page, b)}})
	must(w.t, err)
	if got := p.present(a, b, page); got != "+++" {
		w.t.Errorf("after the commit: %s", got)
	}
	// A page need only be there; a chunk that another owns is not allowed.
	other := w.peer(sendonce.RoleReadWrite, "g")
	other.missing([]indexdb.Change{tree(n, other.root(), "n", page, b)}, b)
	other.missing([]indexdb.Change{chunked(n, other.root(), "n", a, gone)}, a, gone)
	must(w.t, w.ix.AddStored(ctx, tenant, other.who.Device, w.stored(b)))
	other.ok(tree(n, other.root(), "n", page, b))
	// A revision may keep what its base holds without naming it.
	keep := chunked(n, p.root(), "", a)
	keep.Base, keep.SetPlace, keep.Refs = r.Cursor.Seq, false, nil
	keep.Content.Refs = append(keep.Content.Refs, sendonce.Ref{Size: 1 << 20})
	keep.Size += 1 << 20
	p.ok(keep)
	grown := tree(m, p.root(), "", w.chunk())
	grown.Base, grown.SetPlace, grown.Pages, grown.Content.Count, grown.Size = r.Cursor.Seq, false, nil, 2, 2000
	grown.Content.Root = page // as the base's: vouched for by it
	p.ok(grown)
	// References are counted once, and zero extents need none.
	p.ok(chunked(w.node(), p.root(), "twice", a, a))
	if got := w.as(w.enrol(sendonce.RoleReadOnly, "f"), p.who.Folder).present(a, b, page, gone); got != "+++-" {
		w.t.Errorf("a reader sees %s", got)
	}
}

func quota(w *world) {
	f, err := w.ix.CreateFolder(ctx, indexdb.Folder{ID: w.folderID(), Tenant: tenant, Name: "small", Quota: 100})
	must(w.t, err)
	p := w.as(w.enrol(sendonce.RoleReadWrite, "small"), f.ID)
	a, b := w.node(), w.node()
	hundred := fmt.Sprintf("%100s", "")
	p.ok(file(a, p.root(), "a", hundred))
	p.refused(sendonce.KindFull, file(b, p.root(), "b", "x"))
	p.refused(sendonce.KindFull, edit(a, 1, hundred+"x"))
	p.ok(dir(w.node(), p.root(), "free"))
	p.ok(edit(a, 1, "short"), file(b, p.root(), "b", hundred[:95]))
	p.ok(del(a, 3))
	list, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	if list[0].Bytes != 95 || list[0].Quota != 100 {
		w.t.Errorf("the folder counts %+v", list[0])
	}
	id := w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(id)))
	huge := chunked(w.node(), p.root(), "huge", id)
	huge.Content.Refs[0].Size, huge.Size = 1<<62, 1<<62
	p.refused(sendonce.KindInvalid, huge)
}

// setQuota changes a folder's quota, below what the folder holds, too.
func setQuota(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	other := w.peer(sendonce.RoleReadWrite, "g")
	before, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	a, b := w.node(), w.node()
	fifty := fmt.Sprintf("%50s", "")
	p.ok(file(a, p.root(), "a", fifty))
	set := func(bytes int64) { must(w.t, w.ix.SetQuota(ctx, tenant, p.who.Folder, bytes)) }

	set(60)
	w.restart()
	list, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	want := *before[0]
	want.Quota, want.Bytes, want.Files, want.Head = 60, 50, 1, list[0].Head
	if *list[0] != want || *list[1] != *before[1] {
		w.t.Errorf("the folders are %+v and %+v", list[0], list[1])
	}
	p.refused(sendonce.KindFull, file(b, p.root(), "b", fifty))
	other.ok(file(b, other.root(), "b", fifty))

	set(10) // less than it holds: nothing is lost, and it may shrink but not grow
	p.refused(sendonce.KindFull, edit(a, 1, fifty+"x"))
	p.ok(edit(a, 1, fifty[:49]))
	set(0)
	p.ok(file(b, p.root(), "b", fifty))

	for _, c := range []struct {
		tenant sendonce.TenantID
		folder sendonce.FolderID
		bytes  int64
		kind   sendonce.ErrKind
	}{
		{tenant, w.folderID(), 1, sendonce.KindNotFound},
		{tenant + 1, p.who.Folder, 1, sendonce.KindNotFound},
		{tenant, p.who.Folder, -1, sendonce.KindInvalid},
	} {
		if err := w.ix.SetQuota(ctx, c.tenant, c.folder, c.bytes); sendonce.KindOf(err) != c.kind {
			w.t.Errorf("SetQuota(%d, %s, %d): %v", c.tenant, c.folder, c.bytes, err)
		}
	}
}

func roles(w *world) {
	f := w.folder("f", sendonce.NamesExact)
	reader := w.as(w.enrol(sendonce.RoleReadOnly, "f"), f)
	stranger := w.as(w.enrol(sendonce.RoleReadWrite, "g"), f)
	unknown := w.as(w.device(), f)
	for _, p := range []*peer{reader, stranger, unknown} {
		p.refused(sendonce.KindUnauthorized, dir(w.node(), p.root(), "d"))
	}
	for _, role := range []sendonce.Role{sendonce.RoleReadWrite, sendonce.RoleAdmin} {
		p := w.as(w.enrol(role, ""), f)
		p.ok(dir(w.node(), p.root(), role.String()))
	}
}

// pushOnly checks what a push-only device may change, and what its conflicts
// tell.
func pushOnly(w *world) {
	owner := w.peer(sendonce.RoleReadWrite, "f")
	p := w.as(w.enrol(sendonce.RolePushOnly, "f"), owner.who.Folder)
	theirs, theirDir := w.node(), w.node()
	owner.ok(file(theirs, p.root(), "theirs", "secret"), dir(theirDir, p.root(), "dir"))

	mine, d, in := w.node(), w.node(), w.node()
	p.ok(file(mine, p.root(), "mine", "1"), dir(d, p.root(), "own"), file(in, d, "in", "2"))
	p.ok(edit(mine, 2, "11"), move(in, 2, p.root(), "out"))
	owner.ok(edit(mine, 3, "from the owner"))
	if n := owner.get(mine, 0); n.Rev != 4 {
		w.t.Errorf("the owner's revision is %d", n.Rev)
	}
	p.ok(edit(mine, 4, "still mine"))

	// Another's node is one that does not exist.
	no := w.node()
	p.conflict([]indexdb.Change{edit(theirs, 1, "x"), move(theirDir, 1, d, "x"), edit(no, 1, "x")},
		why(theirs, indexdb.ConflictRevision), why(theirDir, indexdb.ConflictRevision), why(no, indexdb.ConflictRevision))
	p.conflict([]indexdb.Change{file(no, theirDir, "x", "")}, why(no, indexdb.ConflictParent))
	p.conflict([]indexdb.Change{{Node: p.root(), SetMeta: true, Mode: 0o700}}, why(p.root(), indexdb.ConflictForbidden, p.root()))
	// A name that is taken shows, with ID and kind alone.
	_, err := p.commit(file(no, p.root(), "theirs", ""))
	var c *indexdb.ConflictError
	if !errors.As(err, &c) || len(c.Nodes) != 1 || c.Nodes[0].Current == nil {
		w.t.Fatalf("a name that is taken: %v", err)
	}
	if got := *c.Nodes[0].Current; got.Name != "" || got.Size != 0 || got.Rev != 0 || got.ID != theirs || got.Kind != sendonce.KindFile {
		w.t.Errorf("the conflict tells %+v", got)
	}
	// It deletes only to give the name to another node of its own.
	p.conflict([]indexdb.Change{del(in, 3)}, why(in, indexdb.ConflictForbidden, in))
	p.conflict([]indexdb.Change{del(in, 3), file(no, p.root(), "elsewhere", "")}, why(in, indexdb.ConflictForbidden, in))
	p.ok(del(in, 3), dir(no, p.root(), "out"))
	p.ok(move(no, 6, p.root(), "moved"))
	// References go to its own scope, also for what the owner revises later.
	id := w.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(id)))
	p.ok(chunked(w.node(), p.root(), "chunked", id))
	if p.present(id) != "+" || owner.present(id) != "+" {
		w.t.Error("the owner of the folder, or the device, does not see the device's chunk")
	}
	creators, err := w.ix.Creators(ctx, tenant, p.who.Folder, []sendonce.NodeID{mine, theirs})
	must(w.t, err)
	if creators[0] != p.who.Device || creators[1] != owner.who.Device {
		w.t.Error("a revision by another changed the creator")
	}
}

func portableNames(w *world) {
	f := w.folder("p", sendonce.NamesPortable)
	p := w.as(w.enrol(sendonce.RoleReadWrite, "p"), f)
	a, b := w.node(), w.node()
	p.ok(file(a, p.root(), "Readme", ""))
	p.conflict([]indexdb.Change{file(b, p.root(), "README", "")}, why(b, indexdb.ConflictName, a))
	p.conflict([]indexdb.Change{file(b, p.root(), "Readme", "")}, why(b, indexdb.ConflictSlot, a))
	for _, name := range []string{"aux.h", "a:b", "dot.", "a\u0308", "\xff"} {
		p.conflict([]indexdb.Change{file(b, p.root(), name, "")}, why(b, indexdb.ConflictName))
	}
	c := w.node()
	p.conflict([]indexdb.Change{file(b, p.root(), "new", ""), file(c, p.root(), "NEW", "")}, why(c, indexdb.ConflictName))
	p.ok(move(a, 1, p.root(), "README"))                                 // its own slot
	p.ok(move(a, 2, p.root(), "other"), file(b, p.root(), "readme", "")) // freed in the same commit
	p.ok(del(b, 3), file(c, p.root(), "ReadMe", ""))
	exact := w.peer(sendonce.RoleReadWrite, "exact")
	exact.ok(file(w.node(), exact.root(), "a", ""), file(w.node(), exact.root(), "A", ""), file(w.node(), exact.root(), "aux.h", ""))
}

// replay: I7.
func replay(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	n := w.node()
	c := &indexdb.Commit{Who: p.who, Op: w.op(), Time: w.clock, Changes: []indexdb.Change{file(n, p.root(), "a", "x")}}
	first, err := w.ix.Commit(ctx, c)
	must(w.t, err)
	p.ok(edit(n, 1, "y"))
	w.restart()
	w.clock = w.clock.Add(30 * 24 * time.Hour)
	later := *c
	later.Time = w.clock
	again, err := w.ix.Commit(ctx, &later)
	must(w.t, err)
	if !again.Replay || again.Cursor != first.Cursor || !again.Time.Equal(first.Time) {
		w.t.Errorf("replayed: %+v, at first %+v", again, first)
	}
	if p.head().Seq != 2 || string(p.get(n, 0).Content.Inline) != "y" {
		w.t.Error("a replay changed something")
	}
	// Another device's op of the same ID is another op.
	q := w.as(w.enrol(sendonce.RoleReadWrite, "f"), p.who.Folder)
	fresh, err := w.ix.Commit(ctx, &indexdb.Commit{Who: q.who, Op: c.Op, Changes: []indexdb.Change{file(w.node(), p.root(), "b", "x")}})
	if err != nil || fresh.Replay {
		w.t.Errorf("another's op: %+v, %v", fresh, err)
	}
	// For another folder it is a mistake.
	wide := w.as(p.who.Device, w.folder("g", sendonce.NamesExact))
	w.grant(p.who.Device, sendonce.RoleReadWrite, "g")
	if _, err := w.ix.Commit(ctx, &indexdb.Commit{Who: wide.who, Op: c.Op, Changes: c.Changes}); sendonce.KindOf(err) != sendonce.KindInvalid {
		w.t.Errorf("an op for two folders: %v", err)
	}
	// A refused op leaves no result: it may be tried again.
	op := w.op()
	bad := &indexdb.Commit{Who: p.who, Op: op, Changes: []indexdb.Change{edit(n, 1, "z")}}
	if _, err := w.ix.Commit(ctx, bad); sendonce.KindOf(err) != sendonce.KindConflict {
		w.t.Fatal(err)
	}
	bad.Changes[0].Base = 2
	if r, err := w.ix.Commit(ctx, bad); err != nil || r.Replay {
		w.t.Errorf("tried again: %+v, %v", r, err)
	}
	// After 30 days it is refused, for ever.
	w.clock = w.clock.Add(time.Second)
	if _, err := w.ix.Commit(ctx, c); sendonce.KindOf(err) != sendonce.KindTooOld {
		w.t.Errorf("an old replay: %v", err)
	}
}

// replayRace sends each of many commits several times at once.
func replayRace(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	for i := range 20 {
		c := &indexdb.Commit{Who: p.who, Op: w.op(), Changes: []indexdb.Change{file(w.node(), p.root(), fmt.Sprint(i), "")}}
		var wg sync.WaitGroup
		var firsts atomic.Int32
		results := make(chan sendonce.Cursor, 4)
		for range 4 {
			wg.Go(func() {
				r, err := w.ix.Commit(ctx, c)
				if err != nil {
					w.t.Errorf("replay %d: %v", i, err)
				}
				if !r.Replay {
					firsts.Add(1)
				}
				results <- r.Cursor
			})
		}
		wg.Wait()
		close(results)
		for r := range results {
			if r != p.head() || r.Seq != uint64(i+1) {
				w.t.Errorf("commit %d: one result is %d, the head %d", i, r.Seq, p.head().Seq)
			}
		}
		if firsts.Load() != 1 {
			w.t.Errorf("commit %d was done %d times", i, firsts.Load())
		}
	}
}

// committers: I8 under eight concurrent committers, who also fight for a name.
func committers(w *world) {
	const workers, rounds = 8, 15
	p := w.peer(sendonce.RoleReadWrite, "f")
	shared := w.node()
	p.ok(file(shared, p.root(), "shared", ""))
	var wg sync.WaitGroup
	var won atomic.Int64
	seqs := make(chan uint64, 2*workers*rounds)
	for i := range workers {
		ids := make([]sendonce.NodeID, rounds)
		ops := make([]sendonce.OpID, 2*rounds)
		for r := range rounds {
			ids[r], ops[2*r], ops[2*r+1] = w.node(), w.op(), w.op()
		}
		wg.Go(func() {
			for r := range rounds {
				res, err := w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: ops[2*r], Changes: []indexdb.Change{file(ids[r], p.root(), fmt.Sprint(i, " ", r), "x")}})
				if err != nil {
					w.t.Errorf("commit: %v", err)
					return
				}
				seqs <- res.Cursor.Seq
				n, err := w.ix.Nodes(ctx, tenant, p.who.Folder, 0, []sendonce.NodeID{shared})
				if err != nil {
					w.t.Error(err)
					return
				}
				res, err = w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: ops[2*r+1], Changes: []indexdb.Change{edit(shared, n[0].Rev, fmt.Sprint(i, r))}})
				switch {
				case err == nil:
					seqs <- res.Cursor.Seq
					won.Add(1)
				case sendonce.KindOf(err) != sendonce.KindConflict:
					w.t.Errorf("edit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	close(seqs)
	got := []uint64{1}
	for s := range seqs {
		got = append(got, s)
	}
	slices.Sort(got)
	for i, s := range got {
		if s != uint64(i+1) {
			w.t.Fatalf("sequence numbers have a gap or a double at %d: %d", i+1, s)
		}
	}
	if p.head().Seq != uint64(len(got)) {
		w.t.Errorf("the head is at %d after %d commits", p.head().Seq, len(got))
	}
	edits := 0
	must(w.t, w.ix.Revisions(ctx, tenant, p.who.Folder, shared, func(*sendonce.Node) (bool, error) { edits++; return true, nil }))
	if int64(edits) != won.Load()+1 {
		w.t.Errorf("%d revisions after %d edits that won", edits, won.Load())
	}
}

func cursors(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	check := func(c sendonce.Cursor) bool {
		w.t.Helper()
		ok, err := w.ix.CheckCursor(ctx, tenant, p.who.Folder, c)
		must(w.t, err)
		return ok
	}
	if !check(sendonce.Cursor{}) || check(sendonce.Cursor{Seq: 1}) || check(sendonce.Cursor{Chain: [32]byte{1}}) {
		w.t.Error("cursors before the first commit")
	}
	var all []sendonce.Cursor
	for i := range 5 {
		p.ok(dir(w.node(), p.root(), fmt.Sprint(i)))
		all = append(all, p.head())
	}
	w.restart()
	for _, c := range all {
		if !check(c) {
			w.t.Errorf("the cursor at %d is not known", c.Seq)
		}
		c.Chain[3]++
		if check(c) {
			w.t.Errorf("a forked cursor at %d passes", c.Seq)
		}
	}
	if check(sendonce.Cursor{Seq: 6, Chain: all[4].Chain}) {
		w.t.Error("a cursor ahead of the journal passes")
	}
	var seqs []uint64
	list := func(after uint64, limit int) []uint64 {
		w.t.Helper()
		seqs = nil
		must(w.t, w.ix.Entries(ctx, tenant, p.who.Folder, after, limit, func(e indexdb.Entry) error {
			if e.Chain != all[e.Seq-1].Chain {
				w.t.Errorf("entry %d has another chain than its commit's answer", e.Seq)
			}
			seqs = append(seqs, e.Seq)
			return nil
		}))
		return seqs
	}
	for _, c := range []struct {
		after uint64
		limit int
		want  string
	}{{0, 0, "[1 2 3 4 5]"}, {3, 0, "[4 5]"}, {1, 2, "[2 3]"}, {5, 0, "[]"}, {9, 0, "[]"}, {1<<64 - 1, 0, "[]"}} {
		if got := fmt.Sprint(list(c.after, c.limit)); got != c.want {
			w.t.Errorf("entries after %d, at most %d: %s, want %s", c.after, c.limit, got, c.want)
		}
	}
	stop := errors.New("stop")
	if err := w.ix.Entries(ctx, tenant, p.who.Folder, 0, 0, func(indexdb.Entry) error { return stop }); !errors.Is(err, stop) {
		w.t.Errorf("a callback's error: %v", err)
	}
}

// nameOrder: listings are in the byte order of names, also where one name is the
// beginning of another, and go on after any name.
func nameOrder(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	names := []string{"\x01", "a", "a\x01", "a\x01\x01", "a ", "ab", "a\xff", "b", "ü", "\xfe", "\xff", "\xff\xff"}
	var changes []indexdb.Change
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(names)) {
		changes = append(changes, file(w.node(), p.root(), names[i], ""))
	}
	p.ok(changes...)
	if got := p.names(0, p.root(), ""); !slices.Equal(got, names) {
		w.t.Errorf("listed %q, want %q", got, names)
	}
	for i, n := range names {
		if got := p.names(1, p.root(), n); !slices.Equal(got, names[i+1:]) {
			w.t.Errorf("after %q: %q, want %q", n, got, names[i+1:])
		}
	}
	if got := p.names(0, p.root(), "aa"); !slices.Equal(got, names[5:]) {
		w.t.Errorf("after a name that is not there: %q", got)
	}
	// A slot with a long history is skipped, before the point asked for and after.
	id := w.node()
	seq := p.ok(file(id, p.root(), "busy", ""))
	first := seq
	for range 40 {
		seq = p.ok(move(id, seq, p.root(), "busy2"))
		seq = p.ok(move(id, seq, p.root(), "busy"))
	}
	busy := append(append(append([]string{}, names[:8]...), "busy"), names[8:]...)
	for _, at := range []uint64{0, first, first + 20, first + 60} {
		if got := p.names(at, p.root(), ""); !slices.Equal(got, busy) {
			w.t.Errorf("at %d: %q, want %q", at, got, busy)
		}
	}
	if got := p.names(first-1, p.root(), ""); !slices.Equal(got, names) {
		w.t.Errorf("before it was there: %q", got)
	}
	n := 0
	must(w.t, w.ix.Children(ctx, tenant, p.who.Folder, 0, p.root(), "", func(*sendonce.Node) (bool, error) { n++; return n < 3, nil }))
	if n != 3 {
		w.t.Errorf("a listing that was stopped went on to %d", n)
	}
	if got := p.names(0, w.node(), ""); got != nil {
		w.t.Errorf("children of nothing: %q", got)
	}
}

// twoWorlds: I11. Two folders differ only in what a device may not read; what it
// is told is the same.
func twoWorlds(w *world) {
	secret := w.peer(sendonce.RoleReadWrite, "secret")
	owner := w.peer(sendonce.RoleReadWrite, "shared")
	spy := w.as(w.enrol(sendonce.RoleReadWrite, "mine"), owner.who.Folder)
	list, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	spy.who.Folder = list[0].ID
	sensor := w.as(w.enrol(sendonce.RolePushOnly, "shared"), owner.who.Folder)
	known, unknown := w.chunk(), w.chunk()
	their, no := w.node(), w.node()
	page := w.chunk()
	for _, p := range []*peer{secret, owner} {
		must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(known, page)))
		p.ok(chunked(w.node(), p.root(), "f", known), tree(w.node(), p.root(), "t", page, known))
	}
	owner.ok(dir(their, owner.root(), "their"))
	for _, p := range []*peer{spy, sensor} {
		if got := p.present(known, unknown, page); got != "---" {
			w.t.Errorf("present tells %s", got)
		}
		tell := func(id sendonce.ID) string {
			_, err := p.commit(chunked(sendonce.NodeID{1}, p.root(), "x", id))
			var m *indexdb.MissingError
			if !errors.As(err, &m) {
				return fmt.Sprint(err)
			}
			return fmt.Sprint(len(m.IDs), m.IDs[0] == id)
		}
		if a, b := tell(known), tell(unknown); a != b {
			w.t.Errorf("a commit tells of a chunk that is there: %s, of one that is not: %s", a, b)
		}
		tellNode := func(id sendonce.NodeID) string {
			var out string
			for _, c := range []indexdb.Change{edit(id, 1, "x"), del(id, 1), move(id, 3, p.root(), "y"), dir(sendonce.NodeID{2}, id, "z")} {
				_, err := p.commit(c)
				var e *indexdb.ConflictError
				if !errors.As(err, &e) {
					return fmt.Sprint(out, err)
				}
				out += fmt.Sprint(e.Nodes[0].Reason, e.Nodes[0].Current, " ")
			}
			return out
		}
		if a, b := tellNode(their), tellNode(no); a != b {
			w.t.Errorf("a commit tells of a node that is there: %s, of one that is not: %s", a, b)
		}
	}
}
