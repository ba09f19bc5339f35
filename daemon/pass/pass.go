// Package pass is one comparison of one folder with what is known of it, and the
// push of what differs: scan, plan, read, send, write down.
//
// Invariants: nothing local is changed (I5); a delete is sent only after the
// scan has listed its directory, and not if too many come at once (I15, P5); the
// state is written only after the server has acknowledged, in the same batch as
// the cursor. What it does not promise: that what other devices did is applied;
// it is recorded in Remote, and a clash is listed as a conflict.
//
// Read config.go (what goes in and comes out), pass.go (the round), then handler.go (what comes back from the push),
// then collect.go.
package pass

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon/plan"
	"sendonce/daemon/push"
	"sendonce/daemon/scan"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/protocol"
)

// pass is one round: a comparison of the folder with its state, and the push of
// what differs. One goroutine (run) feeds it; push calls its Handler methods.
type pass struct {
	Config
	*memory
	ctx   context.Context
	round int // from 1
	stats *push.Stats
	tree  fsys.Tree
	rd    state.Reader
	role  sendonce.Role

	report  scan.Report
	push    *push.Push           // nil until something is to be sent
	added   map[string]*addedDir // directories that are new in this scan, by path
	later   []scan.Change        // wait until this pass has deleted or moved what holds their name
	names   map[string]bool      // paths of later
	final   bool                 // later is being worked on
	ids     nodeIDs
	removed []scan.Change
	meter   *meter
	places  places

	out collector
	// retry: a further round may settle something at once. unsent: it must, for
	// changes were not sent and are not listed either.
	retry, unsent atomic.Bool
}

// addedDir is a directory that had no node when the scan saw it.
type addedDir struct {
	node    sendonce.NodeID
	blocked bool // not synced; neither is anything below it
	later   bool // waits
}

// item travels with a push job.
type item struct {
	change scan.Change
	local  plan.Local
	synced *sendonce.Node
	dec    plan.Decision
	job    *push.Job // of a file that was read
}

// maxRounds bounds the rounds that follow one another because chunks were gone
// or a commit lost a race.
const maxRounds = 3

// Run makes rounds until nothing is left that another one would settle. r is
// valid even with an error.
func Run(ctx context.Context, cfg Config, r *Result) error {
	m := &memory{}
	for round := 1; ; round++ {
		p := &pass{Config: cfg, memory: m, ctx: ctx, round: round, stats: &r.Stats, rd: cfg.State.Live(cfg.Folder.ID),
			added: make(map[string]*addedDir), names: make(map[string]bool)}
		p.meter = newMeter(cfg.Progress, p.stats, cfg.Session)
		err := p.run()
		p.meter.stop()
		if round == 1 {
			r.Report, r.Would = p.report, p.out.would.Load()
		}
		r.Conflicts, r.Skipped = p.out.notes()
		r.Dirs = p.Dirs
		switch {
		case err != nil || !p.retry.Load() || cfg.DryRun:
			return err
		case round == maxRounds && p.unsent.Load():
			return &sendonce.Error{Op: "sync", Path: cfg.Folder.Dir, Kind: sendonce.KindUnavailable, Detail: "the server did not take all changes, each time for a reason that should have passed",
				Hint: "run the same command again; if it stays so, see the server's log"}
		case round == maxRounds:
			return nil
		}
		cfg.Dirs = p.Dirs
	}
}

func (p *pass) run() (err error) {
	if err := p.openRoot(); err != nil {
		return err
	}
	defer p.tree.Close()
	// A running daemon's session is old: full passes, and rounds after a lost
	// race, ask anew.
	if err := p.pull(p.round > 1 || p.Shared && p.Dirs == nil); err != nil {
		return err
	}
	defer func() {
		if err != nil && p.push != nil {
			p.push.Abort()
		}
	}()
	p.meter.phase("scan")
	p.report, err = scan.Run(p.ctx, p.tree, p.rd, scan.Options{Root: p.Folder.ID.Root(), Workers: p.Workers, Subtrees: p.Dirs}, p.change)
	if err != nil {
		return p.cause(err)
	}
	for _, s := range p.report.Skipped {
		p.out.skip(s.Path, s.Reason)
	}
	if err := p.deletes(); err != nil {
		return p.cause(err)
	}
	p.final = true
	for _, ch := range p.later { // names that change places: the one commit moves them all
		if ch.Kind == scan.Moved {
			p.places.vacate(ch.Node)
		}
	}
	for _, ch := range p.later {
		if err := p.change(ch); err != nil {
			return p.cause(err)
		}
	}
	if p.push != nil {
		p.meter.phase("push")
		err = p.push.Finish()
		p.push = nil
	}
	// What was seen is worth writing down even if the push failed.
	if e := p.out.flush(p); err == nil {
		err = e
	}
	return err
}

// cause prefers the error that ended the push over the one that a feeder saw
// because of it.
func (p *pass) cause(err error) error {
	if p.push != nil {
		if e := p.push.Err(); e != nil {
			return e
		}
	}
	return err
}

// openRoot opens the root and makes sure that it is the directory that was
// attached (P5): an empty mount point must not look like a mass delete.
func (p *pass) openRoot() error {
	fail := func(detail string, err error) error {
		return &sendonce.Error{Op: "sync", Path: p.Folder.Dir, Kind: sendonce.KindRefused, Detail: detail, Err: err,
			Hint: "nothing was deleted; mount or restore the directory, or, if this is its new place, run: sendonce add " + p.Folder.Dir}
	}
	t, err := p.OpenTree(p.Folder.Dir)
	if err != nil {
		return fail("the folder's directory cannot be opened", err)
	}
	info, err := t.Lstat("")
	if err == nil && info.Type != fsys.Directory {
		err = errors.New("not a directory")
	}
	if err != nil {
		t.Close()
		return fail("the folder's directory cannot be read", err)
	}
	if info.Dev != p.Folder.Dev || info.Ino != p.Folder.Ino {
		t.Close()
		return fail("this is not the directory that was attached (another file system or inode): perhaps it is not mounted", nil)
	}
	p.tree = t
	return nil
}

// change is called by the scan for each difference, parents before children.
func (p *pass) change(ch scan.Change) error {
	if ch.Kind == scan.Removed {
		p.removed = append(p.removed, ch)
		return nil
	}
	if !p.final {
		p.meter.seen(ch)
	}
	if ch.Kind == scan.Touched {
		return p.out.local(p, *ch.Old, ch.Info)
	}
	parent, ok := p.parent(&ch)
	if !ok {
		return nil
	}
	it := &item{change: ch, local: plan.Local{Node: ch.Node, Parent: parent, Name: ch.Name, Kind: ch.Type, Mode: ch.Info.Mode, MTimeNS: ch.Info.MTimeNS}}
	if ch.Old != nil && ch.Kind != scan.Modified {
		it.local.Content, it.local.Target, it.local.Size = ch.Old.Content, ch.Old.Target, ch.Old.Stat.Size
	}
	if err := p.revive(it); err != nil {
		return err
	}
	wait, err := p.mustWait(it)
	if err != nil {
		return err
	}
	if wait {
		p.putOff(ch)
		return nil
	}
	if ch.Type == sendonce.KindSymlink && (ch.Kind == scan.Added || ch.Kind == scan.Modified) {
		target, err := p.tree.Readlink(ch.Path)
		if err != nil {
			p.out.skip(ch.Path, reasonOf(err))
			return nil
		}
		it.local.Target = target
	}
	if ch.Type == sendonce.KindFile && (ch.Kind == scan.Added || ch.Kind == scan.Modified) {
		return p.file(it)
	}
	return p.settled(it)
}

// parent returns the node that holds the entry; false if its directory is not
// synced, or waits.
func (p *pass) parent(ch *scan.Change) (sendonce.NodeID, bool) {
	if !ch.Parent.IsZero() {
		return ch.Parent, true
	}
	d := p.added[ch.ParentPath]
	switch {
	case d == nil: // its directory vanished, or could not be synced
		p.block(ch)
		return sendonce.NodeID{}, false
	case d.later && !p.final:
		p.putOff(*ch)
		return sendonce.NodeID{}, false
	case d.blocked:
		p.block(ch)
		return sendonce.NodeID{}, false
	}
	return d.node, true
}

func (p *pass) block(ch *scan.Change) {
	if ch.Type == sendonce.KindDir {
		p.added[ch.Path] = &addedDir{blocked: true}
	}
}

// putOff keeps an entry until this pass has deleted or moved what holds its
// name: a file that became a directory, say, or one that was moved to where
// another one has just left.
func (p *pass) putOff(ch scan.Change) {
	p.later = append(p.later, ch)
	p.names[ch.Path] = true
	if ch.Type == sendonce.KindDir && ch.Kind == scan.Added {
		p.added[ch.Path] = &addedDir{later: true}
	}
}

// mustWait reports whether the wanted name belongs to a node of ours that is not
// there any more, so that this pass will still give the name free.
func (p *pass) mustWait(it *item) (bool, error) {
	if p.final {
		return false, nil
	}
	slot, err := p.slot(it.local)
	if err != nil || slot == nil || slot.ID == it.local.Node {
		return false, err
	}
	row, err := p.rd.Local(slot.ID)
	return row != nil, err
}

// slot returns the live node under the wanted name, if it will still be there
// when this change is committed.
func (p *pass) slot(l plan.Local) (*sendonce.Node, error) {
	if p.places.isMade(l.Parent) { // nobody else knows of it
		return nil, nil
	}
	n, err := p.rd.RemoteSlot(l.Parent, l.Name)
	if n != nil && p.places.isVacated(n.ID) {
		n = nil
	}
	return n, err
}

// input collects what the planner must know.
func (p *pass) input(l plan.Local) (in plan.Input, err error) {
	in.Role, in.Names = p.role, p.Folder.Names
	in.SlotReused = l.Gone && p.role == sendonce.RolePushOnly // deletes asks for no others
	if !l.Node.IsZero() {
		if in.Synced, err = p.rd.Synced(l.Node); err != nil {
			return in, err
		}
		if in.Remote, err = p.rd.Remote(l.Node); err != nil {
			return in, err
		}
	}
	if !l.Gone {
		if in.ParentGone, err = p.places.deleted(p.rd, l.Parent); err != nil {
			return in, err
		}
		in.Slot, err = p.slot(l)
	}
	return in, err
}

// revive gives a new name of a push-only device back the node that it had before
// the file was deleted here: the device sees only its own nodes.
func (p *pass) revive(it *item) error {
	if p.role != sendonce.RolePushOnly || it.change.Kind != scan.Added {
		return nil
	}
	slot, err := p.slot(it.local)
	if err != nil || slot == nil || slot.Kind != it.local.Kind {
		return err
	}
	row, err := p.rd.Local(slot.ID)
	if err == nil && row == nil {
		it.local.Node = slot.ID
	}
	return err
}

// settled decides about an entry whose content is known already.
func (p *pass) settled(it *item) error {
	if err := p.decide(it); err != nil {
		return err
	}
	return p.act(it)
}

func (p *pass) decide(it *item) error {
	in, err := p.input(it.local)
	if err != nil {
		return err
	}
	it.synced = in.Synced
	it.dec = plan.Decide(it.local, in)
	switch it.dec.Verb {
	case plan.Create, plan.Update, plan.Delete:
		if why := p.refusal(it.change.Path); why != "" {
			it.dec = plan.Decision{Verb: plan.Conflict, Node: it.local.Node, Reason: why}
		}
	}
	return nil
}

// act carries a decision out. For files that need their bytes sent, file does
// so instead.
func (p *pass) act(it *item) error {
	ch := it.change
	switch it.dec.Verb {
	case plan.Create, plan.Update, plan.Delete:
		if it.dec.Verb == plan.Create {
			if err := p.newID(it); err != nil {
				return err
			}
		}
		p.note(it, it.local.Node)
		if it.dec.Verb == plan.Create && ch.Type == sendonce.KindDir {
			p.places.make(it.local.Node)
		}
		if it.dec.Verb == plan.Delete || it.dec.Place {
			p.places.vacate(it.local.Node)
		}
		return p.send(&push.Job{Change: p.toChange(it), Tag: it})
	case plan.Adopt:
		p.note(it, it.dec.Node)
		return p.adopt(it)
	case plan.Forget:
		return p.out.forget(p, it.dec.Node)
	case plan.Nothing:
		p.note(it, it.local.Node)
		if ch.Old != nil && ch.Kind != scan.Removed {
			row := *ch.Old
			row.Parent, row.Name = it.local.Parent, it.local.Name
			return p.out.local(p, row, ch.Info)
		}
		return nil
	}
	p.list(it)
	return nil
}

// list reports a conflict or a refusal.
func (p *pass) list(it *item) {
	p.block(&it.change)
	if it.dec.Verb == plan.Conflict {
		p.out.conflict(it.change.Path, it.dec.Reason)
	} else {
		p.out.skip(it.change.Path, it.dec.Reason)
	}
}

// note remembers a new directory's node for its children.
func (p *pass) note(it *item, node sendonce.NodeID) {
	if it.change.Type == sendonce.KindDir && it.change.Kind == scan.Added {
		p.added[it.change.Path] = &addedDir{node: node}
	}
}

func (p *pass) newID(it *item) (err error) {
	if it.local.Node.IsZero() {
		it.local.Node, err = p.ids.next(p.Rand)
	}
	return err
}

// toChange writes a decision as a change on the wire.
func (p *pass) toChange(it *item) protocol.Change {
	l, d := it.local, it.dec
	c := protocol.Change{Node: l.Node, Base: d.Base}
	switch d.Verb {
	case plan.Delete:
		c.Delete = true
		return c
	case plan.Create:
		c.Kind = l.Kind
		d.Place, d.Meta, d.Bytes = true, true, l.Kind != sendonce.KindDir
	}
	if d.Place {
		c.SetPlace, c.Parent, c.Name = true, l.Parent, l.Name
	}
	if d.Meta {
		c.SetMeta, c.Mode, c.MTimeNS = true, l.Mode, l.MTimeNS
	}
	if d.Bytes {
		c.SetContent, c.Target = true, l.Target
	}
	return c
}

// adopt agrees with what the server has: nothing is sent. Mode and mtime may
// differ; they stay as they are on either side until they change here.
func (p *pass) adopt(it *item) error {
	remote, err := p.rd.Remote(it.dec.Node)
	if err != nil || remote == nil {
		return err
	}
	it.local.Node = remote.ID
	return p.out.agree(p, *remote, it)
}

// send hands a job to the push, which is opened when the first one comes.
func (p *pass) send(j *push.Job) error {
	if p.DryRun {
		p.out.would.Add(1)
		return nil
	}
	if p.push == nil {
		if err := p.startPush(); err != nil {
			return err
		}
	}
	return p.push.Add(j)
}

func (p *pass) startPush() (err error) {
	w := p.Session.Welcome
	p.push, err = push.Start(p.ctx, p.Session, push.Options{
		Folder: p.Folder.ID, Hasher: content.NewHasher(w.TenantKey), Params: w.Params, Level: p.Level,
		Connections: p.Connections, Workers: p.Workers, Now: p.Now, Rand: p.Rand, Log: p.Log,
		ServerKey: p.Session.Peer.Key,
	}, p, p.stats)
	return err
}

// file queues a file that must be read.
func (p *pass) file(it *item) error {
	j := &push.Job{Tag: it, Size: it.change.Info.Size, Change: protocol.Change{Node: it.local.Node, Name: it.local.Name}}
	if old := it.change.Old; p.DryRun && it.change.Kind == scan.Modified && old.Stat == statOf(it.change.Info) {
		return nil // only too young to be trusted unread
	}
	path := it.change.Path
	j.Open = func() (fsys.File, error) { return p.tree.Open(path) }
	in, err := p.input(it.local)
	if err != nil {
		return err
	}
	it.synced = in.Synced
	// Ask the planner with contents that equal nothing: if it would send them,
	// they may leave while the file is still being read. Otherwise (the name is
	// taken, the role forbids it) the file is read only to compare.
	probe := it.local
	probe.Content = sendonce.Content{Root: sendonce.ID{1}, Level: 1, Count: 1}
	probe.Size = -1
	d := plan.Decide(probe, in)
	switch d.Verb {
	case plan.Create, plan.Update:
	case plan.Refuse:
		it.dec = d
		p.list(it)
		return nil
	default:
		j.HashOnly = true
	}
	if in.Synced != nil && in.Remote != nil && !j.HashOnly && !p.noBase.Load() {
		j.Change.Base = in.Remote.Rev
		if j.Base, err = p.base(in.Synced); err != nil {
			return err
		}
	}
	return p.send(j)
}

// base returns the manifest that an edit script may refer to.
func (p *pass) base(n *sendonce.Node) (sendonce.Manifest, error) {
	switch {
	case len(n.Content.Refs) > 0:
		return n.Content.Refs, nil
	case n.Content.IsTree():
		return p.rd.Manifest(n.ID)
	}
	return nil, nil
}

func reasonOf(err error) string {
	var e *sendonce.Error
	if errors.As(err, &e) {
		switch {
		case e.Detail != "":
			return e.Detail
		case e.Err != nil:
			return e.Err.Error()
		}
	}
	return strings.TrimSpace(fmt.Sprint(err))
}
