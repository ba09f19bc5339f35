package push

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

// push is one Push stream and the packs that belong to it. The goroutine of run
// owns everything below the line; others reach it through the channels.
//
// A chunk's way: offered (decide) -> awaited -> arrived in a pack that Data
// streams have verified (receive) -> batch -> durable (put) -> forgotten here,
// because from then on the index answers for it through the device's receipt.
type push struct {
	s      *Service
	who    indexdb.Asker
	id     sendonce.PushID
	st     *stream.Stream
	memory *semaphore.Weighted // bytes of this push's packs
	work   context.Context     // for index and store: outlives the connection

	frames   chan protocol.Message // from the stream's reader; closed when it ends
	readErr  error                 // why frames was closed; set before
	packs    chan *pack            // verified, from Data streams
	puts     chan putResult
	commits  chan commitResult
	ended    chan struct{} // closed when run has returned: nobody takes packs any more
	replaced chan struct{} // closed when the device has opened the same push again
	once     sync.Once

	receiving atomic.Int32 // Data streams that have begun a pack of this push

	// ---- owned by run ----
	ahead   protocol.Message // a frame taken from frames that is not handled yet
	unsent  bool             // answers wait for a flush
	chunks  map[sendonce.ID]chunkState
	awaited int // chunks in state awaited

	offers    map[uint64]*offer
	lastOffer uint64
	refs      int // references and edits held in offers

	batch     []*pack // arrived, waiting to be made durable
	batchSize int64
	held      map[*pack]bool // brought nothing that was asked for, yet
	early     map[sendonce.ID]*pack
	unasked   int
	unwanted  int // packs that brought nothing of what was awaited
	putting   bool
	acks      ackRange

	queue      []*commitRequest // in order; the first is next
	committing bool
	outcomes   map[uint64]uint64 // commit Op -> revision it made; 0: it failed
	results    replies

	batchDue timer // the batch has waited long enough
	heldDue  timer // the oldest held pack has
	stalled  timer // a commit waits and no pack has come
}

// chunkState is where a chunk is that this push was told to send.
type chunkState uint8

const (
	asking  chunkState = iota + 1 // inside decide only: the index is being asked
	absent                        // inside decide only: to be told missing
	awaited                       // told missing, not here yet
	early                         // in a held pack that no offer has named yet
	arrived                       // in a batch, not durable yet
)

// replace ends the push in favour of a new stream of the same push.
func (p *push) replace() { p.once.Do(func() { close(p.replaced) }) }

// Serve serves one Push stream, which began with open, and returns when nothing of
// it is under way any more.
func (s *Service) Serve(ctx context.Context, pe Peer, st *stream.Stream, open *protocol.PushOpen) error {
	role, err := pe.Role(ctx, open.Folder)
	if err != nil {
		return err
	}
	if !role.CanPush() {
		return &sendonce.Error{Op: "open push", Kind: sendonce.KindUnauthorized, Detail: "the role " + role.String() + " changes nothing"}
	}
	p := &push{
		s: s, id: open.Push, st: st,
		who:     indexdb.Asker{Tenant: pe.Tenant, Device: pe.Device, Folder: open.Folder},
		memory:  semaphore.NewWeighted(s.env.Limits.PushBytes),
		work:    pe.Work,
		frames:  make(chan protocol.Message, 256),
		packs:   make(chan *pack),
		puts:    make(chan putResult, 1),
		commits: make(chan commitResult, 1),
		ended:   make(chan struct{}), replaced: make(chan struct{}),
		chunks: map[sendonce.ID]chunkState{}, offers: map[uint64]*offer{},
		held: map[*pack]bool{}, early: map[sendonce.ID]*pack{},
		acks: ackRange{above: map[uint64]bool{}}, outcomes: map[uint64]uint64{}, results: replies{byID: map[sendonce.OpID]*protocol.Committed{}},
		batchDue: newTimer(), heldDue: newTimer(), stalled: newTimer(),
	}
	k := pushKey{pe.Device, open.Push}
	if err := s.pushes.begin(k, p, s.env.Limits.Pushes, s.env.Stopping); err != nil {
		return err
	}
	defer s.pushes.end(k)
	epoch, err := s.env.Index.BeginPush(p.work, p.who, p.id)
	if err != nil {
		close(p.ended)
		return err
	}
	head, err := s.env.Index.Head(p.work, p.who.Tenant, p.who.Folder)
	if err == nil {
		err = st.Answer(&protocol.PushReady{Epoch: epoch, Head: head})
	}
	if err == nil {
		s.env.Metrics.Pushes.Add(1)
		err = p.run(ctx)
	} else {
		close(p.ended)
	}
	if e := s.env.Index.EndPush(p.work, p.who, p.id); e != nil {
		s.env.Log.Warn("the lease of a push stays", "device", pe.Device.Short(), "err", e) // harmless: it holds the collector back
	}
	return err
}

// run is the push, from offer to receipt. It returns when the stream has ended
// and nothing is under way any more.
func (p *push) run(ctx context.Context) error {
	read := make(chan struct{})
	stop := make(chan struct{})
	go func() { defer close(read); p.readFrames(stop) }()

	err := p.loop(ctx)
	close(p.ended) // Data streams give up
	close(stop)
	p.st.Raw.StopRecv(sendonce.KindUnavailable)
	p.settle()
	<-read
	if err == errReplaced || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

var errReplaced = errors.New("the push was opened again")

func (p *push) loop(ctx context.Context) error {
	for {
		err := p.turn(ctx)
		if err == nil {
			err = p.advance()
		}
		// Answers travel together while there is more to answer at once.
		more := (p.ahead != nil || len(p.frames) > 0) && !p.full()
		if err == nil && p.unsent && !more {
			p.unsent = false
			err = p.st.Flush()
		}
		if err != nil {
			return err
		}
	}
}

// full reports whether so many commits wait that nothing more is read for now:
// the peer cannot queue without end.
func (p *push) full() bool { return len(p.queue) >= p.s.env.Limits.PushCommits }

// turn waits for one event and handles it.
func (p *push) turn(ctx context.Context) error {
	frames := p.frames
	if p.full() {
		frames = nil
	} else if m := p.ahead; m != nil {
		p.ahead = nil
		return p.frame(m)
	}
	select {
	case m, ok := <-frames: // Offer: what of it is missing? Commit: queue it.
		if !ok {
			return p.readErr
		}
		return p.frame(m)
	case k := <-p.packs: // received, decompressed and hashed by a Data stream
		return p.arrive(k)
	case r := <-p.puts: // packs are durable: tell so
		return p.stored(r)
	case r := <-p.commits: // a commit is durable: send its receipt, tell the others
		return p.committed(r)
	case <-p.batchDue.C:
		p.batchDue.fired()
		return nil
	case <-p.heldDue.C:
		p.heldDue.fired()
		return p.judgeHeld()
	case <-p.stalled.C:
		p.stalled.fired()
		return p.giveUpWaiting()
	case <-p.replaced:
		return errReplaced
	case <-p.s.env.Stopping:
		return &sendonce.Error{Op: "push", Kind: sendonce.KindUnavailable, Detail: "the proxy is stopping", Hint: "try again in a moment"}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// advance starts what can be started: at most one commit and one durable write
// of packs at a time.
func (p *push) advance() error {
	due := p.batchSize >= p.s.env.Limits.BatchBytes || !p.batchDue.running
	for started := false; !started && !p.committing && len(p.queue) > 0; {
		c := p.queue[0]
		if c.answer != nil {
			p.queue = p.queue[1:]
			p.concluded(c.msg.Op, c.seq)
			if err := p.send(c.answer); err != nil {
				return err
			}
			continue
		}
		state := p.progress(c)
		if state == waiting {
			p.stalled.start(p.s.env.Limits.CommitPatience)
			break
		}
		// A small push: its packs and its commit in one step.
		together := state == complete && !p.putting && p.onlyFor(c)
		if state == complete && !together {
			due = true // it waits for the batch, or for the write under way
			break
		}
		var err error
		if started, err = p.startCommit(c, together); err != nil {
			return err
		}
	}
	if !p.putting && len(p.batch) > 0 && due {
		p.startPut(p.takeBatch())
	}
	return nil
}

// frame handles one frame of the Push stream.
func (p *push) frame(m protocol.Message) error {
	switch m := m.(type) {
	case *protocol.Offer:
		return p.offered(m)
	case *protocol.Commit:
		p.commitAsked(m)
		return nil
	}
	return stream.Broken("%v on a Push stream", protocol.TypeOf(m))
}

// readFrames moves frames from the stream to the owner until the stream ends.
func (p *push) readFrames(stop <-chan struct{}) {
	defer close(p.frames)
	for {
		m, err := p.st.Next()
		if err != nil {
			p.readErr = err
			return
		}
		select {
		case p.frames <- m:
		case <-stop:
			return
		}
	}
}

// settle ends a push whose stream has ended: what is under way finishes, and
// what was received is made durable, because the device's receipts make it
// useful to its next push.
func (p *push) settle() {
	p.batchDue.stop()
	p.heldDue.stop()
	p.stalled.stop()
	for k := range p.held {
		p.release(k)
	}
	// The peer may be gone: answers are tried and their errors left.
	for p.committing || p.putting {
		select {
		case r := <-p.puts:
			_ = p.stored(r)
		case r := <-p.commits:
			_ = p.committed(r)
		}
	}
	if len(p.batch) > 0 {
		p.startPut(p.takeBatch())
		_ = p.stored(<-p.puts)
	}
	_ = p.st.Flush()
}

// send queues an answer; it leaves at the end of the owner's turn.
func (p *push) send(m protocol.Message) error {
	p.unsent = true
	return p.st.Send(m)
}
