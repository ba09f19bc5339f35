package push

import (
	"errors"
	"slices"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/apply"
	"sendonce/proxy/stream"
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
		p.s.env.Metrics.Conflicts.Add(1)
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
	work, err := apply.Prepare(p.work, p.s.env.Index, p.s.vault, p.request(c))
	rows, putErr := p.putPacks(packs, work.Packs)
	if packs != nil {
		r.stored = &putResult{packs, putErr}
	}
	if putErr != nil {
		r.failed = putErr
		return r
	}
	var result indexdb.Result
	if err == nil {
		result, err = work.Apply(p.work, rows)
	}
	if packs != nil && (err != nil || result.Replay) { // then the commit has not recorded them
		n := 0
		for _, k := range packs {
			n += len(k.ids)
		}
		r.stored.err = p.s.env.Index.AddStored(p.work, p.who.Tenant, p.who.Device, rows[:n])
	}
	if r.err = err; err != nil {
		return r
	}
	r.receipt = protocol.Receipt{Folder: p.who.Folder, Op: c.msg.ID, Cursor: result.Cursor, Time: result.Time}
	r.receipt.Sign(p.s.env.Key)
	p.s.env.Tell(p.who.Tenant, p.who.Folder, result.Cursor.Seq)
	return r
}

// request is the commit as it is applied.
func (p *push) request(c *commitRequest) apply.Request {
	q := apply.Request{Who: p.who, Commit: c.msg, Bases: c.bases, Offers: make([]*apply.Offer, len(c.offers)), Time: p.s.env.Now()}
	for i, o := range c.offers {
		if o != nil {
			q.Offers[i] = &o.Offer
		}
	}
	return q
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
		p.s.env.Metrics.Commits.Add(1)
		p.concluded(op, r.receipt.Cursor.Seq)
		for _, ch := range c.msg.Changes {
			p.forget(ch.Offer)
		}
		done := &protocol.Committed{Op: op, Receipt: r.receipt}
		p.results.add(c.msg.ID, done)
		return p.send(done)
	case errors.As(r.err, &conflict):
		p.s.env.Metrics.Conflicts.Add(1)
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
