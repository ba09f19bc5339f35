package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/blobstore/blobtest"
	"sendonce/content"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
	"sendonce/proxy/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one proxy over memory engines, with a network in memory.
type world struct {
	t      testing.TB
	net    *prototest.Network
	engine indexdb.Engine
	index  *indexdb.DB
	store  blobstore.Store
	srv    *Server
	key    byte // of the server
	stop   func()
	keys   byte
	log    *slog.Logger
}

// setup changes a world before its proxy starts.
type setup func(*world, *Config)

func newWorld(t testing.TB, with ...setup) *world {
	t.Helper()
	w := &world{t: t, net: &prototest.Network{}, engine: indextest.NewMem(), store: blobtest.NewMem(), key: 1, keys: 1}
	level := slog.Level(100)
	if os.Getenv("PROXY_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	cfg := Config{Now: time.Now, Rand: rand.Reader, Log: w.log, Version: "test", Key: prototest.Key(w.key)}
	for _, f := range with {
		f(w, &cfg)
	}
	db, err := indexdb.New(w.engine, indexdb.Options{Now: cfg.Now, Rand: rand.Reader})
	w.must(err)
	w.index = db
	if cfg.Index == nil {
		cfg.Index = db
	}
	if cfg.Store == nil {
		cfg.Store = w.store
	}
	l, err := w.net.Listen("proxy", cfg.Key)
	w.must(err)
	cfg.Listener = l
	w.srv, err = New(cfg)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.srv.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		w.stop()
		w.check()
	})
	return w
}

// check verifies the index's rules over every folder.
func (w *world) check() {
	w.t.Helper()
	ctx := context.Background()
	folders, err := w.index.Folders(ctx, sendonce.DefaultTenant)
	if err != nil {
		return // a test that broke the engine for good
	}
	for _, f := range folders {
		bad, err := w.index.Check(ctx, sendonce.DefaultTenant, f.ID)
		if err != nil {
			w.t.Errorf("check %s: %v", f.Name, err)
		}
		for _, s := range bad {
			w.t.Errorf("check %s: %s", f.Name, s)
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// admin asks the proxy's own socket, so to speak.
func (w *world) admin(method string, request, reply any) error {
	return Call(context.Background(), over(w.srv.Handler()), method, request, reply)
}

// over returns a client of the handler.
func over(h http.Handler) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *world) invite(q InviteRequest) (inv InviteReply) {
	w.t.Helper()
	w.must(w.admin("invite", q, &inv))
	return inv
}

// folder makes a folder, or returns the one with the name.
func (w *world) folder(name string) sendonce.FolderID {
	w.t.Helper()
	var f FolderStatus
	w.must(w.admin("create-folder", CreateFolderRequest{Name: name}, &f))
	folders, err := w.index.Folders(context.Background(), sendonce.DefaultTenant)
	w.must(err)
	for _, g := range folders {
		if g.Name == f.Name {
			return g.ID
		}
	}
	w.t.Fatal("the folder is not there")
	return sendonce.FolderID{}
}

// client is a device that speaks the protocol by hand.
type client struct {
	w       *world
	key     byte
	id      sendonce.DeviceID
	conn    protocol.Conn
	control *stream.Stream
	welcome *protocol.Welcome
	hasher  *content.Hasher
}

// device enrols a new device with a role; folder "" is tenant-wide.
func (w *world) device(role sendonce.Role, folder string) *client {
	w.t.Helper()
	inv := w.invite(InviteRequest{Role: role.String(), Folder: folder})
	w.keys++
	c, err := w.connect(w.keys, &protocol.Hello{Version: protocol.Version, DeviceName: "device", Token: inv.Token})
	w.must(err)
	return c
}

// connect dials and says Hello.
func (w *world) connect(key byte, hello *protocol.Hello) (*client, error) {
	c := &client{w: w, key: key, id: prototest.ID(prototest.Key(key))}
	conn, err := w.net.Dialer(prototest.Key(key)).Dial(context.Background(), "proxy", prototest.ID(prototest.Key(w.key)), false)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	w.t.Cleanup(func() { conn.Close(0, "test over") })
	c.control = c.open()
	if err := c.control.Answer(hello); err != nil {
		return nil, err
	}
	m, err := c.control.Next()
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *protocol.Welcome:
		c.welcome = m
		c.hasher = content.NewHasher(m.TenantKey)
		return c, nil
	case *protocol.Fail:
		return nil, m.Err()
	}
	return nil, errors.New("neither Welcome nor Fail")
}

// again makes another connection of the same device.
func (c *client) again(bulk bool) *client {
	c.w.t.Helper()
	d, err := c.w.connect(c.key, &protocol.Hello{Version: protocol.Version, DeviceName: "device", Bulk: bulk})
	c.w.must(err)
	if bulk {
		d.hasher = c.hasher
	}
	return d
}

func (c *client) open() *stream.Stream {
	raw, err := c.conn.Open(context.Background())
	c.w.must(err)
	return &stream.Stream{Reader: protocol.NewReader(raw), Writer: protocol.NewWriter(raw), Raw: raw}
}

// patience ends a test that waits for what does not come.
const patience = 20 * time.Second

// next reads one message, failing the test when none comes.
func (c *client) next(st *stream.Stream) protocol.Message {
	c.w.t.Helper()
	m, err := c.tryNext(st)
	if err != nil {
		c.w.t.Fatalf("stream: %v", err)
	}
	return m
}

func (c *client) tryNext(st *stream.Stream) (protocol.Message, error) {
	late := time.AfterFunc(patience, func() { c.conn.Close(0, "the test waited too long") })
	defer late.Stop()
	return st.Next()
}

// want reads one message of type T.
func want[T protocol.Message](c *client, st *stream.Stream) T {
	c.w.t.Helper()
	m := c.next(st)
	v, ok := m.(T)
	if !ok {
		c.w.t.Fatalf("got %v %+v, want %T", protocol.TypeOf(m), m, v)
	}
	return v
}

// wantFail reads a Fail of one kind.
func wantFail(c *client, st *stream.Stream, kind sendonce.ErrKind) *protocol.Fail {
	c.w.t.Helper()
	f := want[*protocol.Fail](c, st)
	if f.Kind != kind {
		c.w.t.Fatalf("got %v (%s), want %v", f.Kind, f.Detail, kind)
	}
	return f
}

// wantGone reads until the stream fails, with an error of one kind (0: any).
func wantGone(c *client, st *stream.Stream, kind sendonce.ErrKind) {
	c.w.t.Helper()
	for {
		m, err := c.tryNext(st)
		if err == nil {
			if f, ok := m.(*protocol.Fail); ok && kind != 0 && f.Kind != kind {
				c.w.t.Fatalf("got %v (%s), want %v", f.Kind, f.Detail, kind)
			}
			continue
		}
		if kind != 0 && !errors.Is(err, io.EOF) && sendonce.KindOf(err) != kind {
			c.w.t.Fatalf("the stream ended with %v, want %v", err, kind)
		}
		return
	}
}

// pusher is one Push stream.
type pusher struct {
	*client
	folder sendonce.FolderID
	id     sendonce.PushID
	st     *stream.Stream
	offers uint64
	packs  uint64
	ops    uint64
	acked  map[uint64]bool // packs covered by StoredAck
	bytes  int64           // plain bytes sent
}

func (c *client) push(folder sendonce.FolderID) *pusher {
	c.w.t.Helper()
	p := &pusher{client: c, folder: folder, acked: map[uint64]bool{}}
	rand.Read(p.id[:])
	p.reopen()
	return p
}

func (p *pusher) reopen() {
	p.w.t.Helper()
	p.st = p.open()
	p.w.must(p.st.Answer(&protocol.PushOpen{Folder: p.folder, Push: p.id}))
	want[*protocol.PushReady](p.client, p.st)
}

// file is one file's content, cut at fixed places.
type file struct {
	data []byte
	refs []sendonce.Ref
}

const testChunk = 16 << 10

func (c *client) file(data []byte) file {
	f := file{data: data}
	for len(data) > 0 {
		n := min(len(data), testChunk)
		f.refs = append(f.refs, sendonce.Ref{ID: c.hasher.Chunk(data[:n]), Size: int64(n)})
		data = data[n:]
	}
	return f
}

// noise returns bytes that are a pure function of seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := mathrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	r.Read(b)
	return b
}

// offer sends a whole file's manifest as new and returns its number.
func (p *pusher) offer(f file) uint64 {
	p.w.t.Helper()
	p.offers++
	for _, o := range protocol.SplitOffer(p.offers, sendonce.NodeID{}, 0, nil, f.refs) {
		p.w.must(p.st.Send(o))
	}
	p.w.must(p.st.Flush())
	return p.offers
}

// until reads messages, keeping track of acknowledgements, until one is not a
// StoredAck.
func (p *pusher) until() protocol.Message {
	p.w.t.Helper()
	for {
		m := p.next(p.st)
		a, ok := m.(*protocol.StoredAck)
		if !ok {
			return m
		}
		p.ack(a)
	}
}

func (p *pusher) ack(a *protocol.StoredAck) {
	p.acked[a.Op] = true
	for op := uint64(1); op <= a.Through; op++ {
		p.acked[op] = true
	}
}

// expect is until for one type.
func expect[T protocol.Message](p *pusher) T {
	p.w.t.Helper()
	m := p.until()
	v, ok := m.(T)
	if !ok {
		p.w.t.Fatalf("got %v %+v, want %T", protocol.TypeOf(m), m, v)
	}
	return v
}

// missing returns the chunks of f that an answer asks for.
func missing(f file, m *protocol.Missing) [][]byte {
	var out [][]byte
	off := 0
	for i, r := range f.refs {
		if m.IsMissing(i) {
			out = append(out, f.data[off:off+int(r.Size)])
		}
		off += int(r.Size)
	}
	return out
}

// sendPack sends chunks as one pack over a connection of the same device.
func (p *pusher) sendPack(c *client, chunks ...[]byte) uint64 {
	p.w.t.Helper()
	h := &protocol.PackHeader{Push: p.id, Encoding: content.EncodingRaw}
	var raw []byte
	for _, b := range chunks {
		h.Sizes = append(h.Sizes, uint32(len(b)))
		raw = append(raw, b...)
	}
	p.bytes += int64(len(raw))
	packer, err := content.NewPacker(content.Fastest)
	p.w.must(err)
	enc, body := packer.Encode(nil, raw)
	h.Encoding, h.Length = enc, uint32(len(body))
	return p.sendRaw(c, h, body)
}

func (p *pusher) sendRaw(c *client, h *protocol.PackHeader, body []byte) uint64 {
	p.w.t.Helper()
	p.packs++
	h.Push, h.Op = p.id, p.packs
	s, err := c.conn.OpenSend(context.Background())
	p.w.must(err)
	w := protocol.NewWriter(s)
	p.w.must(w.SendPack(h, body))
	p.w.must(w.Flush())
	p.w.must(s.Close())
	return h.Op
}

// sendAll sends chunks in packs of about 256 KiB.
func (p *pusher) sendAll(chunks [][]byte) {
	p.w.t.Helper()
	for len(chunks) > 0 {
		n := min(len(chunks), 16)
		p.sendPack(p.client, chunks[:n]...)
		chunks = chunks[n:]
	}
}

func newNode() (id sendonce.NodeID) { rand.Read(id[:]); return id }
func newOp() (id sendonce.OpID)     { rand.Read(id[:]); return id }

// create is the change that makes a file of an offer in the root.
func (p *pusher) create(name string, offer uint64, f file) protocol.Change {
	return protocol.Change{Node: newNode(), SetPlace: true, Parent: p.folder.Root(), Name: name, Kind: sendonce.KindFile,
		SetMeta: true, Mode: 0o644, MTimeNS: 1, SetContent: true, Offer: offer, Root: p.root(f)}
}

func (p *pusher) root(f file) sendonce.ID {
	c, err := content.Describe(p.hasher, f.refs, nil)
	p.w.must(err)
	return p.hasher.Root(c)
}

// commit sends a commit and returns its message.
func (p *pusher) commit(changes ...protocol.Change) *protocol.Commit {
	p.w.t.Helper()
	p.ops++
	c := &protocol.Commit{Op: p.ops, ID: newOp(), Changes: changes}
	p.w.must(p.st.Answer(c))
	return c
}

// committed reads the receipt of a commit and checks its signature.
func (p *pusher) committed(c *protocol.Commit) *protocol.Committed {
	p.w.t.Helper()
	m := expect[*protocol.Committed](p)
	if m.Op != c.Op || m.Receipt.Op != c.ID || m.Receipt.Folder != p.folder {
		p.w.t.Fatalf("receipt %+v for commit %d", m, c.Op)
	}
	if !m.Receipt.Verify(p.conn.Peer().Key) {
		p.w.t.Fatal("the receipt's signature does not verify")
	}
	return m
}

// put pushes one new file from offer to receipt.
func (p *pusher) put(name string, data []byte) (protocol.Change, *protocol.Committed) {
	p.w.t.Helper()
	f := p.file(data)
	op := p.offer(f)
	frames := len(protocol.SplitOffer(op, sendonce.NodeID{}, 0, nil, f.refs))
	off := 0
	for range frames {
		m := expect[*protocol.Missing](p)
		n := min(sendonce.MaxOfferRefs, len(f.refs)-off)
		part := file{refs: f.refs[off : off+n]}
		start := min(off*testChunk, len(data))
		part.data = data[start:]
		p.sendAll(missing(part, m))
		off += n
	}
	ch := p.create(name, op, f)
	done := p.committed(p.commit(ch))
	return ch, done
}

// done closes the stream in order and waits for its end.
func (p *pusher) done() {
	p.w.t.Helper()
	p.st.Raw.Close()
	wantGone(p.client, p.st, 0)
}

// fetchAll reads a node's whole content back through a Read stream.
func (c *client) fetchAll(folder sendonce.FolderID, node sendonce.NodeID, rev uint64) []byte {
	c.w.t.Helper()
	st := c.open()
	defer func() { st.Raw.Close(); wantGone(c, st, 0) }()
	refs := c.manifest(st, folder, node, rev)
	c.w.must(st.Answer(&protocol.Fetch{Op: 2, Folder: folder, Items: []protocol.FetchItem{{Node: node, Rev: rev}}}))
	chunks, fail := c.chunks(st)
	if fail != nil {
		c.w.t.Fatalf("fetch: %v", fail.Err())
	}
	var out bytes.Buffer
	for _, r := range refs {
		if r.ID.IsZero() {
			out.Write(make([]byte, r.Size))
			continue
		}
		b, ok := chunks[r.ID]
		if !ok || int64(len(b)) != r.Size {
			c.w.t.Fatalf("chunk %v: %d bytes, want %d", r.ID, len(b), r.Size)
		}
		out.Write(b)
	}
	return out.Bytes()
}

func (c *client) manifest(st *stream.Stream, folder sendonce.FolderID, node sendonce.NodeID, rev uint64) []sendonce.Ref {
	c.w.t.Helper()
	c.w.must(st.Answer(&protocol.Read{Op: 1, Folder: folder, Node: node, Rev: rev}))
	var refs []sendonce.Ref
	for {
		part := want[*protocol.ManifestPart](c, st)
		refs = append(refs, part.Refs...)
		if part.Done {
			return refs
		}
	}
}

// chunks reads the answer to a Fetch: chunks by ID, and how it ended.
func (c *client) chunks(st *stream.Stream) (map[sendonce.ID][]byte, *protocol.Fail) {
	c.w.t.Helper()
	un, err := content.NewUnpacker()
	c.w.must(err)
	out := map[sendonce.ID][]byte{}
	for {
		switch m := c.next(st).(type) {
		case *protocol.Done:
			return out, nil
		case *protocol.Fail:
			return out, m
		case *protocol.PackHeader:
			body, err := st.Body(nil)
			c.w.must(err)
			raw := 0
			for _, n := range m.Sizes {
				raw += int(n)
			}
			plain, err := un.Decode(nil, m.Encoding, body, raw)
			c.w.must(err)
			for _, n := range m.Sizes {
				out[c.hasher.Chunk(plain[:n])] = plain[:n:n]
				plain = plain[n:]
			}
		default:
			c.w.t.Fatalf("unexpected %T", m)
		}
	}
}

// waitFor waits until a condition holds.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the condition never held")
		}
	}
}

// limits sets the proxy's limits.
func limits(l Limits) setup { return func(_ *world, c *Config) { c.Limits = l } }
