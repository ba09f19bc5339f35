package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/stream"
	"sendonce/proxy/vault"
)

// commitRequest is a Commit that waits for its turn and its chunks.
type commitRequest struct {
	msg    *protocol.Commit
	offers []*offer // of each change; nil: it has none
	bases  []uint64 // revision that each change replaces; filled in when it starts
	// answer, if not nil, is known already; seq is the revision that it stands for.
	answer protocol.Message
	seq    uint64
}

// commitResult is the outcome of one commit.
type commitResult struct {
	req     *commitRequest
	receipt protocol.Receipt
	err     error
	failed  error      // of the store: nothing was tried after it, and the push ends
	stored  *putResult // of the packs that went with it; nil: none did
}

// progress tells how far the chunks are that a commit needs.
type progress uint8

const (
	durable  progress = iota // all of them are
	complete                 // all are here, not all are durable
	waiting                  // some have not come
)

// commitAsked queues a commit. Those that need no work are answered in their
// turn, too: the device takes answers in the order in which it asked.
func (p *push) commitAsked(m *protocol.Commit) {
	c := &commitRequest{msg: m, offers: make([]*offer, len(m.Changes)), bases: make([]uint64, len(m.Changes))}
	p.queue = append(p.queue, c)
	if done := p.results.byID[m.ID]; done != nil { // a replay (I7)
		again := *done
		again.Op = m.Op
		c.answer, c.seq = &again, done.Receipt.Cursor.Seq
		return
	}
	for i, ch := range m.Changes {
		if ch.Offer == 0 {
			continue
		}
		if c.offers[i] = p.offers[ch.Offer]; c.offers[i] == nil || !c.offers[i].last {
			c.answer = protocol.FailOf(m.Op, stream.Broken("change %d names offer %d, which is not complete, or was used by an earlier commit", i, ch.Offer))
			return
		}
	}
}

// progress looks at the chunks that c's offers needed when they were made.
func (p *push) progress(c *commitRequest) progress {
	state := durable
	for _, o := range slices.Backward(c.offers) {
		if o == nil {
			continue
		}
		for i := len(o.need) - 1; i >= 0; i-- {
			last := len(o.need) - 1
			switch p.chunks[o.need[i]] {
			case 0: // durable since
				o.need[i] = o.need[last]
				o.need = o.need[:last]
				p.refs--
			case arrived:
				state = complete
			default:
				// At the end it is looked at first the next time.
				o.need[i], o.need[last] = o.need[last], o.need[i]
				return waiting
			}
		}
	}
	return state
}

// onlyFor reports whether every chunk of the batch is one that c needs: then
// the commit itself can record where they are, and no receipts are wanted.
func (p *push) onlyFor(c *commitRequest) bool {
	need := map[sendonce.ID]bool{}
	for _, o := range c.offers {
		if o == nil {
			continue
		}
		if len(need)+len(o.need) > askAtOnce {
			return false // not a small push
		}
		for _, id := range o.need {
			need[id] = true
		}
	}
	for _, k := range p.batch {
		for _, id := range k.ids {
			if !need[id] {
				return false
			}
		}
	}
	return len(p.batch) > 0
}

// giveUpWaiting answers the next commit with the chunks that have not come: they
// were lost on their way, or do not hash to the IDs that were offered.
func (p *push) giveUpWaiting() error {
	if p.committing || len(p.queue) == 0 || p.progress(p.queue[0]) != waiting {
		return nil
	}
	if p.receiving.Load() > 0 { // slow, but coming
		return nil
	}
	c := p.queue[0]
	p.queue = p.queue[1:]
	lost := map[sendonce.ID]bool{}
	missing := &protocol.Missing{Op: c.msg.Op}
	for _, o := range c.offers {
		if o == nil {
			continue
		}
		for _, id := range o.need {
			if p.chunks[id] == awaited && !lost[id] && len(missing.IDs) < sendonce.MaxOfferRefs {
				lost[id] = true
				missing.IDs = append(missing.IDs, id)
			}
		}
	}
	p.concluded(c.msg.Op, 0)
	return p.send(missing)
}

// startCommit begins a commit, with the batch's packs if together is true. It
// reports false if the commit was answered at once: it builds on one that failed.
func (p *push) startCommit(c *commitRequest, together bool) (bool, error) {
	p.stalled.stop()
	conflict := &protocol.Conflict{Op: c.msg.Op}
	for i, ch := range c.msg.Changes {
		c.bases[i] = ch.Base
		if ch.BaseOp == 0 {
			continue
		}
		if c.bases[i] = p.outcomes[ch.BaseOp]; c.bases[i] == 0 {
			conflict.Nodes = append(conflict.Nodes, protocol.ConflictNode{Node: ch.Node, Reason: uint8(indexdb.ConflictRevision)})
		}
	}
	if len(conflict.Nodes) > 0 {
		p.queue = p.queue[1:]
		p.concluded(c.msg.Op, 0)
		p.srv.metrics.Conflicts.Add(1)
		return false, p.send(conflict)
	}
	var packs []*pack
	if together {
		packs, p.putting = p.takeBatch(), true
	}
	p.committing = true
	go func() { p.commits <- p.commit(c, packs) }()
	return true, nil
}

// commit applies one commit and signs its receipt. Packs, if any, are made
// durable on the way whether or not the commit is applied.
func (p *push) commit(c *commitRequest, packs []*pack) commitResult {
	r := commitResult{req: c}
	work, err := p.translate(p.work, c)
	rows, putErr := p.putPacks(packs, work.packs)
	if packs != nil {
		r.stored = &putResult{packs, putErr}
	}
	if putErr != nil {
		r.failed = putErr
		return r
	}
	var result indexdb.Result
	if err == nil {
		work.commit.Stored = rows
		result, err = p.apply(work)
	}
	if packs != nil && (err != nil || result.Replay) { // then the commit has not recorded them
		n := 0
		for _, k := range packs {
			n += len(k.ids)
		}
		r.stored.err = p.srv.index.AddStored(p.work, p.who.Tenant, p.who.Device, rows[:n])
	}
	if r.err = err; err != nil {
		return r
	}
	r.receipt = protocol.Receipt{Folder: p.who.Folder, Op: c.msg.ID, Cursor: result.Cursor, Time: result.Time}
	r.receipt.Sign(p.srv.cfg.Key)
	p.srv.reads.Tell(p.who.Tenant, p.who.Folder, result.Cursor.Seq)
	return r
}

// apply checks the sizes that the device claims and commits. Pages that the
// collector removed since they were looked up are stored again.
func (p *push) apply(w commitWork) (indexdb.Result, error) {
	if err := p.checkSizes(w); err != nil {
		return indexdb.Result{}, err
	}
	for try := 0; ; try++ {
		result, err := p.srv.index.Commit(p.work, w.commit)
		var gone *indexdb.MissingError
		if err == nil || try == 3 || !errors.As(err, &gone) {
			return result, err
		}
		again := make([]vault.Page, 0, len(gone.IDs))
		for _, id := range gone.IDs {
			if page, ok := w.pages[id]; ok {
				again = append(again, page)
			}
		}
		if len(again) == 0 {
			return result, err
		}
		rows, putErr := p.putPacks(nil, vault.PackPages(again))
		if putErr != nil {
			return result, putErr
		}
		w.commit.Stored = append(w.commit.Stored, rows...)
	}
}

// commitWork is a commit in the index's words, and what has to be stored for it.
type commitWork struct {
	commit *indexdb.Commit
	refs   []sendonce.Ref // inserted ones, whose sizes the device claims
	pages  map[sendonce.ID]vault.Page
	packs  []vault.Pack // pages that are not stored yet
}

// translate resolves the offers of a commit into contents and their pages.
func (p *push) translate(ctx context.Context, c *commitRequest) (commitWork, error) {
	w := commitWork{
		pages: map[sendonce.ID]vault.Page{},
		commit: &indexdb.Commit{Who: p.who, Op: c.msg.ID, Time: p.srv.now(), Snapshot: c.msg.Snapshot,
			Changes: make([]indexdb.Change, len(c.msg.Changes))},
	}
	for i := range c.msg.Changes {
		ch := &c.msg.Changes[i]
		to := &w.commit.Changes[i]
		*to = indexdb.Change{
			Node: ch.Node, Base: c.bases[i], Delete: ch.Delete,
			SetPlace: ch.SetPlace, Parent: ch.Parent, Name: ch.Name, Kind: ch.Kind,
			SetMeta: ch.SetMeta, Mode: ch.Mode, MTimeNS: ch.MTimeNS, Xattrs: ch.Xattrs,
			SetContent: ch.SetContent, Target: ch.Target,
		}
		if !ch.SetContent {
			continue
		}
		if len(ch.Inline) > 0 {
			to.Size, to.Content = int64(len(ch.Inline)), sendonce.Content{Inline: ch.Inline}
		}
		if o := c.offers[i]; o != nil {
			if err := p.describe(ctx, &w, to, o, ch.Root); err != nil {
				return commitWork{}, &sendonce.Error{Op: "commit", Path: ch.Name, Err: err}
			}
		}
	}
	return w, p.packPages(ctx, &w)
}

// describe turns an offer into the content of a change.
func (p *push) describe(ctx context.Context, w *commitWork, to *indexdb.Change, o *offer, root sendonce.ID) error {
	base, err := p.baseManifest(ctx, o)
	if err != nil {
		return err
	}
	d, err := p.srv.vault.Describe(ctx, p.who.Tenant, base, o.edits, o.refs)
	if err != nil {
		return err
	}
	if !root.IsZero() && root != d.Root {
		return &sendonce.Error{Kind: sendonce.KindInvalid, Detail: fmt.Sprintf("the offered manifest gives root %s, the device computed %s", d.Root, root)}
	}
	if d.Size > 0 && d.Size <= sendonce.MaxInline {
		return stream.Broken("content of %d bytes must travel inline", d.Size)
	}
	to.Content, to.Size = d.Content, d.Size
	for _, page := range d.Pages {
		to.Pages = append(to.Pages, page.ID)
		w.pages[page.ID] = page
	}
	// What the edits kept is vouched for by the base revision being current, if
	// it is the one that this change replaces; else all of it has to be allowed.
	named := o.refs
	if o.base != 0 && (o.node != to.Node || o.base != to.Base) {
		named = d.Manifest
	}
	seen := make(map[sendonce.ID]bool, len(named))
	for _, r := range named {
		if !r.ID.IsZero() && !seen[r.ID] {
			seen[r.ID] = true
			to.Refs = append(to.Refs, r.ID)
		}
	}
	for _, r := range o.refs {
		if !r.ID.IsZero() {
			w.refs = append(w.refs, r)
		}
	}
	return nil
}

// baseManifest loads the manifest that an offer's edits apply to.
func (p *push) baseManifest(ctx context.Context, o *offer) (sendonce.Manifest, error) {
	if o.base == 0 {
		return nil, nil
	}
	n, err := p.revision(ctx, o.node, o.base)
	if err != nil {
		return nil, err
	}
	m, err := p.srv.vault.Manifest(ctx, p.who.Tenant, n.Content)
	if sendonce.KindOf(err) == sendonce.KindDamaged {
		return nil, &sendonce.Error{Kind: sendonce.KindNotFound, Detail: "the manifest that the edits apply to is damaged", Hint: "offer the file as new", Err: err}
	}
	return m, err
}

// packPages gathers the pages that are not stored yet into packs.
func (p *push) packPages(ctx context.Context, w *commitWork) error {
	if len(w.pages) == 0 {
		return nil
	}
	ids := make([]sendonce.ID, 0, len(w.pages))
	for id := range w.pages {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b sendonce.ID) int { return slices.Compare(a[:], b[:]) })
	there, err := p.srv.index.Locate(ctx, p.who.Tenant, ids)
	if err != nil {
		return err
	}
	var fresh []vault.Page
	for i, id := range ids {
		if there[i].Location.IsZero() {
			fresh = append(fresh, w.pages[id])
		}
	}
	w.packs = vault.PackPages(fresh)
	return nil
}

// checkSizes compares the sizes in offered references with those of the stored
// chunks: an ID says nothing about a size, and a manifest with wrong sizes would
// put every later byte of the file in the wrong place.
func (p *push) checkSizes(w commitWork) error {
	size := make(map[sendonce.ID]int64, len(w.commit.Stored))
	for _, s := range w.commit.Stored {
		size[s.ID] = int64(s.Size)
	}
	var ask []sendonce.ID
	for _, r := range w.refs {
		if _, ok := size[r.ID]; !ok {
			size[r.ID] = 0
			ask = append(ask, r.ID)
		}
	}
	rows, err := p.srv.index.Locate(p.work, p.who.Tenant, ask)
	if err != nil {
		return err
	}
	var gone []sendonce.ID
	for i, row := range rows {
		if row.Location.IsZero() {
			gone = append(gone, ask[i])
		}
		size[ask[i]] = int64(row.Size)
	}
	if len(gone) > 0 {
		return &sendonce.Error{Op: "commit", Kind: sendonce.KindMissing, Err: &indexdb.MissingError{IDs: gone}}
	}
	for _, r := range w.refs {
		if size[r.ID] != r.Size {
			return &sendonce.Error{Op: "commit", Kind: sendonce.KindInvalid, Detail: fmt.Sprintf("chunk %s has another size than the %d bytes that were offered", r.ID, r.Size)}
		}
	}
	return nil
}

// committed takes the outcome of a commit and answers it.
func (p *push) committed(r commitResult) error {
	p.committing = false
	c := r.req
	p.queue = p.queue[1:]
	var packErr error
	if r.stored != nil {
		p.putting = false
		packErr = p.acknowledge(*r.stored)
	}
	if r.failed != nil {
		return storeFailed(r.failed)
	}
	if err := p.answerCommit(c, r); err != nil {
		return err
	}
	return packErr
}

func (p *push) answerCommit(c *commitRequest, r commitResult) error {
	op := c.msg.Op
	var conflict *indexdb.ConflictError
	var gone *indexdb.MissingError
	switch {
	case r.err == nil:
		p.srv.metrics.Commits.Add(1)
		p.concluded(op, r.receipt.Cursor.Seq)
		for _, ch := range c.msg.Changes {
			p.forget(ch.Offer)
		}
		done := &protocol.Committed{Op: op, Receipt: r.receipt}
		p.results.add(c.msg.ID, done)
		return p.send(done)
	case errors.As(r.err, &conflict):
		p.srv.metrics.Conflicts.Add(1)
		p.concluded(op, 0)
		return p.send(conflictMessage(op, conflict))
	case errors.As(r.err, &gone):
		p.concluded(op, 0)
		return p.send(&protocol.Missing{Op: op, IDs: p.wantAgain(c, gone.IDs)})
	}
	switch sendonce.KindOf(r.err) {
	case sendonce.KindInternal, sendonce.KindUnavailable, sendonce.KindInterrupted, sendonce.KindDamaged:
		// Whether it was applied is not known: the device replays it.
		return &sendonce.Error{Op: "commit", Err: r.err}
	}
	return p.failCommit(op, r.err)
}

// wantAgain makes the push wait for chunks that are gone, before the commit that
// the device will send again.
func (p *push) wantAgain(c *commitRequest, ids []sendonce.ID) []sendonce.ID {
	ids = ids[:min(len(ids), sendonce.MaxOfferRefs)]
	i := slices.IndexFunc(c.offers, func(o *offer) bool { return o != nil })
	if i < 0 {
		return ids
	}
	o := c.offers[i]
	for _, id := range ids {
		switch p.chunks[id] {
		case 0:
			p.await(id)
		case early:
			p.admit(p.early[id])
		}
		o.need = append(o.need, id)
		p.refs++
	}
	return ids
}

// failCommit answers one commit with an error; the push goes on.
func (p *push) failCommit(op uint64, err error) error {
	p.concluded(op, 0)
	return p.send(protocol.FailOf(op, &sendonce.Error{Op: "commit", Err: err, Hint: hintFor(err)}))
}

// maxOutcomes bounds what BaseOp can refer back to.
const maxOutcomes = 1 << 16

// concluded remembers which revision a commit made (0: it failed), for changes
// that build on it.
func (p *push) concluded(op, seq uint64) {
	p.outcomes[op] = seq
	if len(p.outcomes) > maxOutcomes {
		for o := range p.outcomes {
			if o+maxOutcomes/2 < op {
				delete(p.outcomes, o)
			}
		}
	}
}

// conflictBytes is how many bytes of nodes one Conflict carries at most.
const conflictBytes = 256 << 10

// conflictMessage says what fits into a frame; the rest comes up again when the
// device tries again.
func conflictMessage(op uint64, e *indexdb.ConflictError) *protocol.Conflict {
	m := &protocol.Conflict{Op: op}
	size := 0
	for _, n := range e.Nodes {
		one := protocol.ConflictNode{Node: n.Node, Reason: uint8(n.Reason), Current: n.Current}
		size += protocol.FrameSize(&protocol.Conflict{Nodes: []protocol.ConflictNode{one}})
		if len(m.Nodes) == sendonce.MaxChanges || len(m.Nodes) > 0 && size > conflictBytes {
			break
		}
		m.Nodes = append(m.Nodes, one)
	}
	return m
}
