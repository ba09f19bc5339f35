package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sendonce"
	"sendonce/blobstore/blobtest"
	"sendonce/indexdb/indextest"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
)

func full() error {
	return &sendonce.Error{Op: "put", Kind: sendonce.KindFull, Detail: "the disk is full"}
}

// A store that is full ends the push with a hint; what was acknowledged is not
// sent again when the push goes on.
func TestStoreFull(t *testing.T) {
	var broken atomic.Bool
	w := newWorld(t, func(w *world, c *Config) {
		c.Store = &blobtest.Faulty{Store: w.store, Hook: func(call blobtest.Call) error {
			if call.Op == "put" && !call.Done && broken.Load() {
				return full()
			}
			return nil
		}}
	})
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := p.file(noise(1, 20*testChunk))
	op := p.offer(data)
	ask := missing(data, expect[*protocol.Missing](p))
	safe := p.sendPack(a, ask[:5]...)
	for !p.acked[safe] {
		p.ack(want[*protocol.StoredAck](a, p.st))
	}
	broken.Store(true)
	p.sendAll(ask[5:])
	p.commit(p.create("f", op, data))
	fail := expect[*protocol.Fail](p)
	if fail.Op != 0 || fail.Kind != sendonce.KindFull || fail.Hint == "" {
		t.Fatalf("got %+v", fail)
	}
	wantGone(a, p.st, 0)
	broken.Store(false)
	p.reopen()
	op = p.offer(data)
	m := expect[*protocol.Missing](p)
	if len(missing(data, m)) != 15 {
		t.Fatalf("%d chunks are missing, want the 15 that were not acknowledged", len(missing(data, m)))
	}
	p.sendAll(missing(data, m))
	ch := p.create("f", op, data)
	p.committed(p.commit(ch))
	if got := a.fetchAll(f, ch.Node, 0); !bytes.Equal(got, data.data) {
		t.Error("the content differs")
	}
}

// Faults anywhere in the store and the index: errors surface, and what was
// acknowledged stays. Every step is tried again until it works.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for step := range 12 {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			var fails atomic.Int64
			var mu sync.Mutex
			dice := mathrand.New(mathrand.NewPCG(uint64(step), 0)) // the seed is the name of the test
			fault := func() error {
				mu.Lock()
				defer mu.Unlock()
				if fails.Load() == 0 || dice.IntN(4) == 0 {
					fails.Add(1)
					return &sendonce.Error{Op: "fault", Kind: sendonce.KindUnavailable, Detail: "injected"}
				}
				return nil
			}
			var armed atomic.Bool
			w := newWorld(t, func(w *world, c *Config) {
				w.engine = indextest.Faulty{Engine: w.engine, Hook: func(op string) error {
					if armed.Load() && (op == "apply" || op == "prefixes") {
						return fault()
					}
					return nil
				}}
				c.Store = &blobtest.Faulty{Store: w.store, Hook: func(call blobtest.Call) error {
					if armed.Load() && call.Op == "put" {
						return fault()
					}
					return nil
				}}
			})
			f := w.folder("docs")
			a := w.device(sendonce.RoleReadWrite, "")
			armed.Store(true)
			data := a.file(noise(uint64(step), 30*testChunk))
			acked := map[sendonce.ID]bool{}
			var done *protocol.Committed
			op := newOp()
			node := newNode()
			for try := 0; done == nil; try++ {
				if try > 100 {
					t.Fatal("it never works")
				}
				done = tryPush(t, a, f, data, op, node, acked)
			}
			armed.Store(false)
			if fails.Load() == 0 {
				t.Fatal("nothing failed")
			}
			if h := w.headOf(f); h != done.Receipt.Cursor || h.Seq != 1 {
				t.Errorf("the head is %v, the receipt says %v", h, done.Receipt.Cursor)
			}
			if got := a.fetchAll(f, node, 0); !bytes.Equal(got, data.data) {
				t.Error("the content differs")
			}
		})
	}
}

// tryPush pushes a file once; nil if the push failed on the way. Chunks that
// were acknowledged must never be missing again.
func tryPush(t *testing.T, a *client, f sendonce.FolderID, data file, op sendonce.OpID, node sendonce.NodeID, acked map[sendonce.ID]bool) *protocol.Committed {
	t.Helper()
	p := &pusher{client: a, folder: f, acked: map[uint64]bool{}, id: sendonce.PushID{1}}
	p.st = p.open()
	packs := map[uint64][]sendonce.ID{}
	p.w.must(p.st.Answer(&protocol.PushOpen{Folder: f, Push: p.id}))
	p.offers++
	offer := protocol.SplitOffer(p.offers, sendonce.NodeID{}, 0, nil, data.refs)[0]
	ch := p.create("f", p.offers, data)
	ch.Node = node
	for {
		m, err := a.tryNext(p.st)
		if err != nil {
			return nil
		}
		switch m := m.(type) {
		case *protocol.PushReady:
			p.st.Answer(offer) // errors show at the next read
		case *protocol.Missing:
			if m.IDs != nil {
				t.Fatalf("the commit got %+v", m)
			}
			var chunks [][]byte
			for i, r := range data.refs {
				if !m.IsMissing(i) {
					continue
				}
				if acked[r.ID] {
					t.Fatalf("chunk %d is missing, though it was acknowledged", i)
				}
				chunks = append(chunks, data.data[i*testChunk:(i+1)*testChunk])
				if n := p.packs + 1; len(chunks) == 4 || i == len(data.refs)-1 {
					for _, b := range chunks {
						packs[n] = append(packs[n], a.hasher.Chunk(b))
					}
					p.sendPack(a, chunks...)
					chunks = nil
				}
			}
			if chunks != nil {
				p.sendPack(a, chunks...)
			}
			p.st.Answer(&protocol.Commit{Op: 1, ID: op, Changes: []protocol.Change{ch}})
		case *protocol.StoredAck:
			for n, ids := range packs {
				if n == m.Op || n <= m.Through {
					for _, id := range ids {
						acked[id] = true
					}
				}
			}
		case *protocol.Fail:
			if m.Kind == sendonce.KindInvalid || m.Kind == sendonce.KindDamaged || m.Kind == sendonce.KindInternal {
				t.Fatalf("a fault became %+v", m)
			}
		case *protocol.Committed:
			return m
		default:
			t.Fatalf("got %T", m)
		}
	}
}

// The pages of big manifests that the collector removed between looking and
// committing are stored again; chunks that it removed are asked for again.
func TestLostPacks(t *testing.T) {
	w := newWorld(t, limits(impatient))
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := p.file(noise(1, 30*testChunk))
	op := p.offer(data)
	ask := missing(data, expect[*protocol.Missing](p))
	p.sendAll(ask[:10])
	ch := p.create("f", op, data)
	first := p.commit(ch)
	m := expect[*protocol.Missing](p)
	if m.Op != first.Op || len(m.IDs) != 20 {
		t.Fatalf("got %d missing for %d, want 20", len(m.IDs), m.Op)
	}
	p.sendAll(ask[10:])
	waitFor(t, func() bool { return w.srv.metrics.Packs.Load() == int64(p.packs) })
	p.committed(p.commit(ch)) // with the same offer
	if got := a.fetchAll(f, ch.Node, 0); !bytes.Equal(got, data.data) {
		t.Error("the content differs")
	}
	// A sweep after the offer was answered: the commit says what is gone.
	q := a.push(f)
	fresh := q.file(noise(2, 5*testChunk))
	op = q.offer(fresh)
	q.sendAll(missing(fresh, expect[*protocol.Missing](q)))
	for !q.acked[1] {
		q.ack(want[*protocol.StoredAck](a, q.st))
	}
	w.must(w.index.FlagDamaged(context.Background(), sendonce.DefaultTenant, []sendonce.ID{fresh.refs[3].ID}))
	ch = q.create("g", op, fresh)
	q.commit(ch)
	if m := expect[*protocol.Missing](q); len(m.IDs) != 1 || m.IDs[0] != fresh.refs[3].ID {
		t.Fatalf("got %+v", m)
	}
	again := q.commit(ch) // it waits for the chunk now
	q.sendPack(a, fresh.data[3*testChunk:4*testChunk])
	q.committed(again)
}

// Stopping lets a running commit finish, and tells why it ends.
func TestGracefulStop(t *testing.T) {
	entered, release := make(chan bool, 10), make(chan bool)
	w := newWorld(t, func(w *world, c *Config) {
		c.Store = &blobtest.Faulty{Store: w.store, Hook: func(call blobtest.Call) error {
			if call.Op == "put" && !call.Done {
				entered <- true
				<-release
			}
			return nil
		}}
	})
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := p.file(noise(1, 3*testChunk))
	op := p.offer(data)
	p.sendAll(missing(data, expect[*protocol.Missing](p)))
	c := p.commit(p.create("f", op, data))
	<-entered
	stopped := make(chan bool)
	go func() { w.stop(); close(stopped) }()
	<-w.srv.stopping
	if err := w.srv.Ready(context.Background()); sendonce.KindOf(err) != sendonce.KindUnavailable {
		t.Errorf("while stopping it is ready: %v", err)
	}
	select {
	case <-stopped:
		t.Fatal("it did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	m := p.until()
	if d, ok := m.(*protocol.Committed); !ok || d.Op != c.Op {
		t.Fatalf("got %T %+v", m, m)
	}
	wantFail(a, p.st, sendonce.KindUnavailable)
	<-stopped
	if w.headOf(f).Seq != 1 {
		t.Error("the commit is not there")
	}
	if n := w.net.Open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}

// A store that hangs cannot hold up stopping for ever.
func TestStopCutsWhatHangs(t *testing.T) {
	l := impatient
	l.StopPatience = 50 * time.Millisecond
	entered := make(chan bool, 10)
	var w *world
	w = newWorld(t, limits(l), func(w *world, c *Config) { c.Store = &hanging{Mem: blobtest.NewMem(), entered: entered} })
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := p.file(noise(1, 3*testChunk))
	op := p.offer(data)
	p.sendAll(missing(data, expect[*protocol.Missing](p)))
	p.commit(p.create("f", op, data))
	<-entered
	w.stop()
	wantGone(a, p.st, 0)
}

// hanging is a store whose Put waits for its context.
type hanging struct {
	*blobtest.Mem
	entered chan bool
}

func (h *hanging) Put(ctx context.Context, _ [][]byte) ([]sendonce.Location, error) {
	h.entered <- true
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestConcurrentPushes(t *testing.T) {
	w := newWorld(t)
	shared := noise(99, 40*testChunk)
	var folders []sendonce.FolderID
	var devices []*client
	for i := range 8 {
		folders = append(folders, w.folder(fmt.Sprint("folder ", i%3)))
		devices = append(devices, w.device(sendonce.RoleReadWrite, ""))
	}
	var mu sync.Mutex
	type pushed struct {
		folder sendonce.FolderID
		node   sendonce.NodeID
		data   []byte
	}
	var all []pushed
	var wg sync.WaitGroup
	for i, d := range devices {
		wg.Go(func() {
			p := d.push(folders[i])
			for j := range 10 {
				data := append(bytes.Clone(shared[:(j+1)*2*testChunk]), noise(uint64(100*i+j), 3*testChunk+i)...)
				ch, _ := p.put(fmt.Sprint(i, " ", j), data)
				mu.Lock()
				all = append(all, pushed{folders[i], ch.Node, data})
				mu.Unlock()
			}
			p.done()
		})
	}
	wg.Wait()
	reader := w.device(sendonce.RoleReadOnly, "")
	for _, f := range all {
		if got := reader.fetchAll(f.folder, f.node, 0); !bytes.Equal(got, f.data) {
			t.Fatal("a file differs")
		}
	}
	if n := w.srv.metrics.MemoryBytes.Load(); n != 0 {
		t.Errorf("%d bytes of memory are still accounted for", n)
	}
}

// A push whose connection is lost keeps what arrived; opening it again goes on.
func TestLostConnection(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := p.file(noise(1, 20*testChunk))
	p.offer(data)
	ask := missing(data, expect[*protocol.Missing](p))
	p.sendPack(a, ask[:12]...)
	waitFor(t, func() bool { return w.srv.metrics.Packs.Load() == 1 && w.srv.metrics.MemoryBytes.Load() > 0 })
	time.Sleep(5 * time.Millisecond)
	a.conn.(*prototest.Conn).Cut()
	b := a.again(false)
	q := &pusher{client: b, folder: f, acked: map[uint64]bool{}, id: p.id}
	q.reopen()
	op := q.offer(data)
	m := expect[*protocol.Missing](q)
	if n := len(missing(data, m)); n != 8 {
		t.Errorf("%d chunks are missing, want the 8 that were not received", n)
	}
	q.sendAll(missing(data, m))
	q.committed(q.commit(q.create("f", op, data)))

	// The same push opened twice: the newer stream has it.
	r := &pusher{client: b, folder: f, acked: map[uint64]bool{}, id: q.id}
	r.reopen()
	wantGone(b, q.st, 0)
	r.put("g", noise(2, 3*testChunk))
}

func TestReady(t *testing.T) {
	var broken atomic.Bool
	w := newWorld(t, func(w *world, c *Config) {
		c.Store = &blobtest.Faulty{Store: w.store, Hook: func(call blobtest.Call) error {
			if broken.Load() {
				return errors.New("no store")
			}
			return nil
		}}
	})
	if err := w.srv.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if err := w.srv.Ready(context.Background()); err == nil {
		t.Error("ready without a store")
	}
}
