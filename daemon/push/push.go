// Package push is the conversation that sends changes: it reads files, cuts and
// hashes them, offers the IDs, packs and sends what is missing, and commits. All
// of it is pipelined: nothing waits for one answer before sending the next.
//
// Jobs go in and are committed in the order of Add, whatever order files are
// read in. Memory is bounded by Options.Memory. P7: a file that changed while it
// was read is read again, and never committed half-old half-new.
//
// What it does not promise: to survive a broken connection. A push that fails is
// thrown away; the next one offers again, and the proxy, which keeps a receipt
// for every stored chunk, asks for nothing twice.
//
// Read push.go (the surface and the emitter), then read.go, offer.go, answers.go,
// packs.go.
package push

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon/session"
	"sendonce/internal/fsys"
	"sendonce/protocol"
)

// Job is one planned change. The caller fills the first group, the push the
// second, before it calls Ready.
type Job struct {
	Change   protocol.Change
	Open     func() (fsys.File, error) // nil: the change has no file to read
	Size     int64                     // as the scan saw it
	HashOnly bool                      // read and describe, but offer nothing
	Base     sendonce.Manifest         // of the revision replaced, for the edit script; nil: none
	Tag      any                       // the caller's

	Content  sendonce.Content
	Manifest sendonce.Manifest
	Info     fsys.Info // of exactly the bytes that were read
	ReadNS   int64     // when reading began
	Length   int64     // bytes read

	seq      uint64
	inline   []byte
	known    chan struct{} // closed when the file was read, or found to be large
	pieces   []piece       // of a small file
	stream   chan piece    // of a large one; set before known is closed
	err      error         // final when the job has been read
	attempts int
}

// Failure says why a commit was not applied: one of its fields is set.
type Failure struct {
	Nodes   []protocol.ConflictNode // conflicts
	Missing []sendonce.ID           // chunks that are gone: a new pass offers them again
	NoBase  bool                    // a revision that an edit script builds on cannot be read: offer files as new
}

// Handler is told what becomes of the jobs. Ready and Unreadable are called in
// order from one goroutine, the others from another one.
type Handler interface {
	// Ready is called when a job's content is known. It may change j.Change and
	// returns whether to commit it. For a large file whose offers left already,
	// false just leaves them unused.
	Ready(j *Job) bool
	// Unreadable reports a file that could not be read; KindBusy if it kept
	// changing.
	Unreadable(j *Job, err error)
	// Committed reports that the jobs of one commit are durable. An error ends
	// the push.
	Committed(jobs []*Job, r protocol.Receipt) error
	// Failed reports a commit that was not applied. The push goes on.
	Failed(jobs []*Job, f Failure)
}

// Options of a push.
type Options struct {
	Folder      sendonce.FolderID
	Hasher      *content.Hasher
	Params      sendonce.Params
	Level       content.Level
	Connections int           // at most, the first included; at least 1
	Workers     int           // readers, and as many compressors; at least 1
	Memory      int64         // bytes of chunks held; 0: 12 MiB; raised to what the params need
	BusyWait    time.Duration // before a file that changed is read again; 0: 100 ms
	Now         func() time.Time
	Rand        io.Reader
	Log         *slog.Logger
	ServerKey   []byte // Ed25519 public key that signs receipts
}

// Stats counts what a push did; read it at any time.
type Stats struct {
	FilesRead, BytesRead                atomic.Int64
	Chunks, ChunksMissing, BytesMissing atomic.Int64
	Packs, PackBytes                    atomic.Int64
	Commits, Changes                    atomic.Int64
}

// Push is one push session.
type Push struct {
	o       Options
	id      sendonce.PushID
	sess    *session.Session
	h       Handler
	Stats   *Stats
	ctx     context.Context
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup
	mem     *budget
	buffers *buffers

	todo  chan *Job // to readers
	order chan *Job // to the emitter, in order of Add
	added uint64

	// The stream is opened when the first thing is said: a push that only reads
	// (nothing differs after all) does not bother the proxy.
	opening sync.Mutex
	st      *session.Stream // set by the emitter under opening; nil before

	// Owned by the emitter.
	offerOp  uint64
	commitOp uint64
	batch    []*Job
	batchLen int

	// Between emitter and answers.
	frames   *queue[offerFrame]
	commits  *queue[commitFrame]
	inFlight chan struct{} // one token for each unanswered commit
	said     atomic.Bool   // the emitter has ended its half of the stream
	stopped  chan struct{} // closed when a cancelled push has let go of its stream

	packs *packer
}

// maxCommitsInFlight bounds what a push keeps for commits that are not answered.
// It stays well below the number at which a proxy reads no further frames.
const maxCommitsInFlight = 8

// Start opens a push session. The caller must call Finish or Abort.
func Start(ctx context.Context, sess *session.Session, o Options, h Handler, stats *Stats) (*Push, error) {
	if o.Memory == 0 {
		o.Memory = 12 << 20
	}
	// Half of it must hold what can lie still while the job whose turn it is
	// reads on: the pack under way, a whole small file, and a chunk for each.
	o.Memory = max(o.Memory, 2*(sendonce.PackTarget+2*smallFile+4*int64(o.Params.Max)))
	if o.BusyWait == 0 {
		o.BusyWait = 100 * time.Millisecond
	}
	o.Connections, o.Workers = max(o.Connections, 1), max(o.Workers, 1)
	p := &Push{o: o, sess: sess, h: h, Stats: stats, mem: newBudget(o.Memory), buffers: newBuffers()}
	if _, err := io.ReadFull(o.Rand, p.id[:]); err != nil {
		return nil, &sendonce.Error{Op: "push", Kind: sendonce.KindInternal, Err: err}
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.todo = make(chan *Job, 4*o.Workers)
	p.order = make(chan *Job, 256)
	p.frames, p.commits = newQueue[offerFrame](), newQueue[commitFrame]()
	p.inFlight = make(chan struct{}, maxCommitsInFlight)
	p.stopped = make(chan struct{})
	p.packs = newPacker(p)
	context.AfterFunc(p.ctx, func() {
		defer close(p.stopped)
		err := context.Cause(p.ctx)
		p.mem.close(err)
		p.frames.close(err)
		p.commits.close(err)
		p.opening.Lock()
		defer p.opening.Unlock()
		if p.st != nil {
			p.st.Raw.Cancel(sendonce.KindInterrupted)
			p.st.Raw.StopRecv(sendonce.KindInterrupted)
		}
	})
	for range o.Workers {
		p.goDo(p.read)
	}
	p.goDo(p.emit)
	return p, nil
}

// send says something on the Push stream, opening it if need be.
func (p *Push) send(m protocol.Message) error {
	if p.st == nil {
		if err := p.open(); err != nil {
			return err
		}
	}
	return p.st.Send(m)
}

func (p *Push) open() error {
	st, err := p.sess.Open(p.ctx)
	if err != nil {
		return err
	}
	p.opening.Lock()
	p.st = st
	p.opening.Unlock()
	if p.ctx.Err() != nil { // whoever cancelled it may have come too early
		st.Raw.Cancel(sendonce.KindInterrupted)
		st.Raw.StopRecv(sendonce.KindInterrupted)
		return context.Cause(p.ctx)
	}
	p.goDo(p.answers)
	p.packs.start()
	return st.Send(&protocol.PushOpen{Folder: p.o.Folder, Push: p.id})
}

func (p *Push) flush() error {
	if p.st == nil {
		return nil
	}
	return p.st.Flush()
}

// goDo runs fn; an error of it ends the push.
func (p *Push) goDo(fn func() error) {
	p.wg.Go(func() {
		if err := fn(); err != nil {
			p.cancel(err)
		}
	})
}

// Add queues a job; it blocks while the push is behind.
func (p *Push) Add(j *Job) error {
	p.added++
	j.seq = p.added
	if j.Open != nil {
		j.known = make(chan struct{})
	}
	// The emitter learns of the job first: readers may not run ahead of it by
	// more than the two channels hold.
	select {
	case p.order <- j:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	if j.Open != nil {
		select {
		case p.todo <- j:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
	return nil
}

// Finish sends what is left, waits for every answer, and ends the session.
func (p *Push) Finish() error {
	close(p.todo)
	close(p.order)
	p.wg.Wait()
	err := context.Cause(p.ctx)
	p.end()
	return err
}

// end lets go of the stream and the bulk connections.
func (p *Push) end() {
	p.cancel(context.Canceled)
	<-p.stopped
	p.sess.CloseBulk()
}

// Err returns what ended the push early, nil while it is well.
func (p *Push) Err() error { return context.Cause(p.ctx) }

// Abort ends the session at once.
func (p *Push) Abort() {
	p.cancel(context.Canceled)
	close(p.todo)
	close(p.order)
	p.wg.Wait()
	p.end()
}

// emit is the one goroutine that speaks on the Push stream.
func (p *Push) emit() error {
	for {
		j, ok, err := p.nextJob()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		p.mem.advance(j.seq)
		if err := p.emitJob(j); err != nil {
			return err
		}
	}
	if err := p.sendCommit(true); err != nil {
		return err
	}
	if p.st == nil { // nothing was to be said
		return nil
	}
	if err := p.st.Flush(); err != nil {
		return err
	}
	if err := p.frames.waitEmpty(); err != nil { // then every chunk that is missing is known
		return err
	}
	if err := p.packs.finish(); err != nil {
		return err
	}
	if err := p.commits.waitEmpty(); err != nil {
		return err
	}
	p.said.Store(true)
	return p.st.Raw.Close() // the proxy ends its half, and answers returns
}

// nextJob waits for the next job, flushing what is buffered if there is none
// yet.
func (p *Push) nextJob() (*Job, bool, error) {
	select {
	case j, ok := <-p.order:
		return j, ok, nil
	default:
	}
	return await(p, p.order)
}

// flushDelay is how long offers may wait for company before they leave: small
// frames that each travel in a packet of their own would cost more than they are.
const flushDelay = 3 * time.Millisecond

// await receives from ch; if nothing comes within flushDelay the stream is
// flushed first.
func await[T any](p *Push, ch <-chan T) (T, bool, error) {
	var zero T
	t := time.NewTimer(flushDelay)
	defer t.Stop()
	for {
		select {
		case v, ok := <-ch:
			return v, ok, nil
		case <-t.C:
			if err := p.flush(); err != nil {
				return zero, false, err
			}
		case <-p.ctx.Done():
			return zero, false, context.Cause(p.ctx)
		}
	}
}

func (p *Push) emitJob(j *Job) error {
	if j.Open == nil {
		return p.commitIf(j, 0)
	}
	select {
	case <-j.known:
	default:
		if _, _, err := await(p, j.known); err != nil {
			return err
		}
	}
	if j.stream != nil {
		return p.emitStream(j)
	}
	if j.err != nil {
		p.h.Unreadable(j, j.err)
		return nil
	}
	if !p.h.Ready(j) {
		p.drop(j.pieces...)
		return nil
	}
	var op uint64
	if j.Change.SetContent && len(j.pieces) > 0 && len(j.inline) == 0 {
		o := p.newOffer(j)
		for _, pc := range j.pieces {
			if err := o.add(pc); err != nil {
				return err
			}
		}
		if err := o.finish(); err != nil {
			return err
		}
		op = o.op
	} else {
		p.drop(j.pieces...)
	}
	j.pieces = nil
	return p.commit(j, op)
}

// emitStream offers a large file while it is being read.
func (p *Push) emitStream(j *Job) error {
	o := p.newOffer(j)
	for {
		pc, ok, err := await(p, j.stream)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if pc.reset { // the file changed: what was offered stays unused
			if err := o.abandon(); err != nil {
				return err
			}
			o = p.newOffer(j)
			continue
		}
		if j.HashOnly {
			continue
		}
		if err := o.add(pc); err != nil {
			return err
		}
	}
	if j.err != nil {
		if err := o.abandon(); err != nil {
			return err
		}
		p.h.Unreadable(j, j.err)
		return nil
	}
	if !j.HashOnly && len(j.inline) == 0 {
		if err := o.finish(); err != nil {
			return err
		}
	}
	return p.commitIf(j, o.op)
}

func (p *Push) commitIf(j *Job, op uint64) error {
	if !p.h.Ready(j) {
		return nil
	}
	return p.commit(j, op)
}

// commit puts a job into the current batch.
func (p *Push) commit(j *Job, op uint64) error {
	if j.Change.SetContent && j.Open != nil {
		j.Change.Offer, j.Change.Inline, j.Change.Root = 0, nil, sendonce.ID{}
		switch {
		case len(j.inline) > 0:
			j.Change.Inline = j.inline
		case !j.Content.IsEmpty():
			j.Change.Offer = op
			j.Change.Root = p.o.Hasher.Root(j.Content)
		}
	}
	n := protocol.ChangeSize(&j.Change)
	if len(p.batch) == sendonce.MaxChanges || p.batchLen+n > maxCommitBytes {
		if err := p.sendCommit(false); err != nil {
			return err
		}
	}
	p.batch = append(p.batch, j)
	p.batchLen += n
	return nil
}

// maxCommitBytes is what the changes of a Commit frame may take; the rest is for
// its other fields.
const maxCommitBytes = sendonce.MaxFrame - 4<<10

// sendCommit sends the batch. The last commit of a push ends the pass.
func (p *Push) sendCommit(last bool) error {
	if len(p.batch) == 0 {
		return nil
	}
	select {
	case p.inFlight <- struct{}{}:
	default:
		if err := p.flush(); err != nil {
			return err
		}
		select {
		case p.inFlight <- struct{}{}:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
	p.commitOp++
	c := protocol.Commit{Op: p.commitOp, Snapshot: last, Changes: make([]protocol.Change, len(p.batch))}
	if _, err := io.ReadFull(p.o.Rand, c.ID[:]); err != nil {
		return &sendonce.Error{Op: "commit", Kind: sendonce.KindInternal, Err: err}
	}
	for i, j := range p.batch {
		c.Changes[i] = j.Change
	}
	p.commits.push(commitFrame{op: c.Op, id: c.ID, jobs: p.batch})
	p.batch, p.batchLen = nil, 0
	p.Stats.Commits.Add(1)
	if err := p.send(&c); err != nil {
		return err
	}
	// The commit waits for its chunks, and nothing else may come for a long time
	// (a huge file that the proxy has already): as soon as the offers before it
	// are answered, the pack under way leaves, however small it is.
	if p.frames.pushUnlessEmpty(offerFrame{mark: true}) {
		return nil
	}
	return p.packs.flush()
}
