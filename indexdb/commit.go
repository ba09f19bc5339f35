package indexdb

import (
	"context"
	"slices"
	"time"

	"sendonce"
)

// opRetention is how long the result of an operation is repeated. After that a
// replay is refused, for ever: the row stays (docs/decisions/0010).
const opRetention = 30 * 24 * time.Hour

// Commit implements Journal. One transaction does it all, in this order: who may
// commit, was it done before, build the state after all changes (build), judge
// that state (judge*), look at the chunks, the quota, and write. Every check
// looks at the state after the whole commit, so that two names can be swapped,
// or a directory be emptied and removed, in one.
func (db *DB) Commit(ctx context.Context, c *Commit) (res Result, err error) {
	const op = "commit"
	if err := checkCommit(c); err != nil {
		return Result{}, wrap(op, err)
	}
	now := db.now()
	err = db.update(ctx, op, func(t Txn) (err error) {
		x := &committer{t: t, c: c, now: now, p: place{c.Who.Tenant, c.Who.Folder}}
		res, err = x.run()
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return res, nil
}

// committer is one attempt to apply one commit.
type committer struct {
	t   Txn
	c   *Commit
	now time.Time
	p   place

	who    *asker
	role   sendonce.Role
	folder *Folder
	epoch  uint64
	seq    uint64 // that this commit gets

	nodes     map[sendonce.NodeID]*nodeState // every node that was looked at
	changed   []*nodeState                   // in the order of the changes
	conflicts []ConflictNode
	failed    map[sendonce.NodeID]bool

	dirs  map[sendonce.NodeID]*dirState
	slots map[slotName]*slotState
	folds map[slotName]*slotState // by folded name; portable folders only
	paths map[sendonce.NodeID]pathInfo

	bytes, files int64 // of the folder after the commit

	chunks []chunkState
	ids    []sendonce.ID // of chunks
	refs   int           // ids[:refs] are to be referenced, the rest is only Stored
}

func (x *committer) run() (Result, error) {
	done, res, err := x.open()
	if done || err != nil {
		return res, err
	}
	for _, step := range []func() error{x.build, x.move, x.judgePlaces, x.judgeSlots, x.judgeEmpty, x.judgeReach} {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	if len(x.conflicts) > 0 {
		return Result{}, &sendonce.Error{Kind: sendonce.KindConflict, Err: &ConflictError{Nodes: x.conflicts}}
	}
	if err := x.judgeChunks(); err != nil {
		return Result{}, err
	}
	if err := x.judgeQuota(); err != nil {
		return Result{}, err
	}
	return x.write()
}

// open loads what the commit is about, and answers a replay.
func (x *committer) open() (done bool, res Result, err error) {
	who := x.c.Who
	v, err := x.t.Get(deviceKey(who.Device), opKey(who.Device, x.c.Op), x.p.key(rowFolder), x.p.key(rowHead),
		tenantKey(rowEpoch, who.Tenant))
	if err != nil {
		return false, res, err
	}
	var d *Device
	if v[0] != nil {
		if d, err = decodeDevice(who.Device, v[0]); err != nil {
			return false, res, err
		}
	}
	if x.who, err = newAsker(d, who); err != nil {
		return false, res, err
	}
	if x.role = d.Role(who.Folder); !x.role.CanPush() {
		return false, res, unauthorized("the device may not push to this folder")
	}
	if v[1] != nil {
		res, err = x.replay(v[1])
		return true, res, err
	}
	if x.folder, err = parseFolder(x.p, v[2], v[3]); err != nil {
		return false, res, err
	}
	if x.epoch, err = rec(decodeEpoch(v[4]))("the epoch"); err != nil {
		return false, res, err
	}
	x.seq = x.folder.Head.Seq + 1
	x.bytes, x.files = x.folder.Bytes, x.folder.Files
	x.nodes = make(map[sendonce.NodeID]*nodeState, 2*len(x.c.Changes))
	x.failed = map[sendonce.NodeID]bool{}
	x.dirs = map[sendonce.NodeID]*dirState{}
	x.slots = make(map[slotName]*slotState, len(x.c.Changes))
	x.folds = map[slotName]*slotState{}
	x.paths = map[sendonce.NodeID]pathInfo{}
	return false, res, nil
}

func (x *committer) replay(row []byte) (Result, error) {
	o, err := rec(decodeOp(row))("an operation")
	switch {
	case err != nil:
		return Result{}, err
	case o.folder != x.p.folder:
		return Result{}, invalid("the op ID was used for another folder")
	case x.now.Sub(o.recorded) > opRetention:
		return Result{}, &sendonce.Error{Kind: sendonce.KindTooOld,
			Detail: "the operation was done more than 30 days ago, and its result is no longer kept",
			Hint:   "read the folder's changes and make a new commit of what is still to be done"}
	}
	return Result{Cursor: o.cursor, Time: o.time, Replay: true}, nil
}

// conflict notes why a change fails; the first reason of each node counts.
// current is what the index holds, or nil.
func (x *committer) conflict(id sendonce.NodeID, reason ConflictReason, current *record) {
	if x.failed[id] {
		return
	}
	x.failed[id] = true
	n := ConflictNode{Node: id, Reason: reason}
	if current != nil {
		n.Current = &current.Node
		if x.role == sendonce.RolePushOnly {
			n.Current = &sendonce.Node{ID: current.ID, Kind: current.Kind}
		}
	}
	x.conflicts = append(x.conflicts, n)
}

// judgeChunks finds the chunks that are not there or not allowed.
func (x *committer) judgeChunks() error {
	seen := map[sendonce.ID]bool{}
	add := func(id sendonce.ID) {
		if !id.IsZero() && !seen[id] {
			seen[id] = true
			x.ids = append(x.ids, id)
		}
	}
	pages := map[sendonce.ID]bool{}
	own := map[sendonce.ID]bool{} // named in Refs: the role decides
	for i := range x.c.Changes {
		for _, id := range x.c.Changes[i].Refs {
			own[id] = true
			add(id)
		}
		for _, id := range x.c.Changes[i].Pages {
			pages[id] = true
			add(id)
		}
	}
	x.refs = len(x.ids)
	stored := make(map[sendonce.ID]bool, len(x.c.Stored))
	for i := range x.c.Stored {
		stored[x.c.Stored[i].ID] = true
		add(x.c.Stored[i].ID)
	}
	if len(x.ids) == 0 {
		return nil
	}
	var err error
	x.chunks, err = (&chunkQuery{tenant: x.p.tenant, who: x.who, scope: x.scope()}).run(x.t, x.ids)
	if err != nil {
		return err
	}
	var missing []sendonce.ID
	for i, id := range x.ids[:x.refs] {
		s := &x.chunks[i]
		if !stored[id] && (!s.usable() || own[id] && !s.allowed) {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return &sendonce.Error{Kind: sendonce.KindMissing, Err: &MissingError{IDs: missing}}
	}
	return nil
}

// scope is where this device's references go.
func (x *committer) scope() scope {
	s := scope{folder: x.p.folder}
	if x.role == sendonce.RolePushOnly {
		s.device = x.who.device
	}
	return s
}

// judgeQuota adds up sizes. A commit that shrinks the folder passes always.
func (x *committer) judgeQuota() error {
	for _, n := range x.changed {
		if n.before.live() {
			x.bytes -= n.before.Size
			x.files -= countable(n)
		}
	}
	for _, n := range x.changed {
		if n.after.live() {
			if n.after.Size > maxSize-x.bytes {
				return invalid("the sum of all sizes is out of range")
			}
			x.bytes += n.after.Size
			x.files += countable(n)
		}
	}
	if x.bytes < 0 || x.files < 0 {
		return damaged("the folder's counts are less than what its nodes add up to")
	}
	if q := x.folder.Quota; q > 0 && x.bytes > q && x.bytes > x.folder.Bytes {
		return &sendonce.Error{Kind: sendonce.KindFull, Detail: "the folder's quota is reached",
			Hint: "delete files, or ask for a larger quota"}
	}
	return nil
}

// countable is 1 but for the root, which is not counted among files.
func countable(n *nodeState) int64 {
	if n.root {
		return 0
	}
	return 1
}

// write puts everything into the transaction.
func (x *committer) write() (Result, error) {
	e := Entry{Seq: x.seq, Op: x.c.Op, Device: x.c.Who.Device, Snapshot: x.c.Snapshot}
	if !x.c.Time.IsZero() && x.c.Time.UnixNano() != 0 { // what a record can hold
		e.Time = time.Unix(0, x.c.Time.UnixNano()).UTC()
	}
	nodes := slices.Clone(x.changed)
	slices.SortFunc(nodes, func(a, b *nodeState) int { return slices.Compare(a.id[:], b.id[:]) })
	var d digester
	for _, n := range nodes {
		n.after.Rev = x.seq
		row := encodeNode(n.after)
		d.add(n.id, row)
		e.Nodes = append(e.Nodes, n.id)
		x.t.Put(x.p.node(n.id, x.seq), row)
	}
	e.Digest = d.sum()
	e.Chain = chainOf(x.p.folder, x.folder.Head.Chain, &e)
	cursor := sendonce.Cursor{Seq: x.seq, Chain: e.Chain}
	x.writeSlots()
	x.writeDirs()
	x.writeChunks()
	x.t.Put(x.p.entry(x.seq), encodeEntry(&e))
	x.t.Put(x.p.key(rowHead), encodeHead(headRow{cursor, x.bytes, x.files}))
	x.t.Put(opKey(x.c.Who.Device, x.c.Op), encodeOp(opRow{x.now, e.Time, x.p.folder, cursor}))
	return Result{Cursor: cursor, Time: e.Time}, nil
}

// writeChunks records what the commit stored, references what it names, and
// gives up the device's receipts for that.
func (x *committer) writeChunks() {
	index := make(map[sendonce.ID]int, len(x.ids))
	for i, id := range x.ids {
		index[id] = i
	}
	for _, s := range x.c.Stored {
		state := &x.chunks[index[s.ID]]
		var have *locationRow
		if state.located {
			have = &state.location
		}
		putLocation(x.t, locationKey(x.p.tenant, s.ID), have, s)
	}
	mine := x.scope()
	for i, id := range x.ids[:x.refs] {
		if x.chunks[i].ownEpoch != x.epoch {
			x.t.Put(referenceKey(x.p.tenant, id, mine), encodeEpoch(x.epoch))
		}
		if x.chunks[i].receipt {
			x.t.Delete(receiptKey(x.p.tenant, id, x.who.device))
		}
	}
}
