package world

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/blobstore/pebbleblob"
	"sendonce/indexdb"
	"sendonce/indexdb/pebbleidx"
	"sendonce/internal/simtest"
	"sendonce/protocol"
	"sendonce/protocol/quiclink"
	"sendonce/proxy"
)

// Port is the proxy's.
const Port = 7411

// Proxy is the server's machine with what runs on it.
type Proxy struct {
	machine
	w        *World
	identity *quiclink.Identity

	Index  *indexdb.DB       // of the process that runs now
	Store  *pebbleblob.Store // likewise
	Server *proxy.Server     // likewise

	// Hooks of the processes started from now on; nil: none.
	WrapStore   func(blobstore.Store) blobstore.Store
	AfterCommit func(indexdb.Result) error // after a commit is durable, before it is answered

	cancel context.CancelFunc
	ended  chan error

	mu      sync.Mutex // guards what follows
	known   map[knownChunk]bool
	asked   int // chunks that a device was asked for though the proxy had them from it
	arrived int // chunks that were made durable, repeated ones too
}

type knownChunk struct {
	device sendonce.DeviceID
	id     sendonce.ID
}

func (w *World) newProxy(link simtest.Link) *Proxy {
	id, err := quiclink.NewIdentity(w.secrets())
	w.must(err)
	p := &Proxy{w: w, identity: id, known: map[knownChunk]bool{}}
	p.host = w.Net.Host("proxy", link)
	p.mount(simtest.NewDisk(w.random()))
	p.start()
	return p
}

// start begins a process on the machine's disk.
func (p *Proxy) start() {
	w := p.w
	w.T.Helper()
	fatal := func(reason string) {
		if !p.Crashed() {
			w.T.Errorf("the proxy ends itself: %s", reason)
		}
	}
	// Small, so that a short run crosses tables and flushes.
	engine, err := pebbleidx.Open(p.disk, "/srv/index", pebbleidx.Options{Log: w.Log, Fatal: fatal, CacheBytes: 1 << 20, MemTableBytes: 64 << 10})
	w.must(err)
	p.Index, err = indexdb.New(engine, indexdb.Options{Now: time.Now, Rand: w.secrets(), Log: w.Log})
	w.must(err)
	p.Store, err = pebbleblob.Open(p.disk, "/srv/store", pebbleblob.Options{Logger: w.Log, Fatal: func(err error) { fatal(err.Error()) },
		CacheBytes: 1 << 20, MemtableBytes: 256 << 10, SegmentBytes: 4 << 20, TableBytes: 1 << 20})
	w.must(err)
	var store blobstore.Store = p.Store
	if p.WrapStore != nil {
		store = p.WrapStore(store)
	}
	socket, err := p.host.Listen(Port)
	w.must(err)
	l, err := quiclink.Listen(quiclink.Config{Identity: p.identity}, socket)
	w.must(err)
	p.Server, err = proxy.New(proxy.Config{Index: &watched{p.Index, p, p.AfterCommit}, Store: store, Listener: l, Key: p.identity.Key(),
		Now: time.Now, Rand: w.secrets(), Log: w.Log.With("machine", "proxy"), Version: "test"})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.ended = cancel, make(chan error, 1)
	server, ended := p.Server, p.ended
	go func() { ended <- server.Run(ctx) }()
}

// stop ends the process, ghost or not.
func (p *Proxy) stop() {
	p.w.T.Helper()
	p.cancel()
	for _, err := range []error{<-p.ended, p.Store.Close(), p.Index.Close()} {
		if err != nil && !p.Crashed() {
			p.w.T.Errorf("stopping the proxy: %v", err)
		}
	}
}

// Restart ends the process, if it runs, and starts another one on what the crash
// left. A process whose disk has not crashed is stopped in order.
func (p *Proxy) Restart() {
	p.w.T.Helper()
	p.stop()
	if p.Crashed() {
		p.mount(p.disk.Restart())
		p.host.SetDown(false)
	}
	p.start()
}

// Copy returns what is on the proxy's disk now, for RestartFrom. The proxy must
// be stopped in order for a copy that is worth something: Copy restarts it.
func (p *Proxy) Copy() *simtest.Disk {
	p.w.T.Helper()
	p.stop()
	d := p.disk.Copy(p.w.random())
	p.start()
	return d
}

// RestartFrom replaces the proxy's disk by an older copy.
func (p *Proxy) RestartFrom(d *simtest.Disk) {
	p.w.T.Helper()
	p.stop()
	p.mount(d)
	p.mu.Lock()
	p.known = map[knownChunk]bool{}
	p.mu.Unlock()
	p.start()
}

// Asked returns how many chunks devices were asked for again although the proxy
// had told, or could have told, that it has them from that device; and how many
// chunks arrived in all.
func (p *Proxy) Asked() (again, arrived int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.arrived
}

// link invites one device with a role in all folders.
func (p *Proxy) link(role sendonce.Role) protocol.Link {
	w := p.w
	w.T.Helper()
	token := make([]byte, protocol.TokenSize)
	for i := range token {
		token[i] = byte(w.Rand.Uint32())
	}
	w.must(p.Index.AddInvite(w.ctx, indexdb.Invite{Token: sha256.Sum256(token), Tenant: sendonce.DefaultTenant, Role: role, Expires: time.Now().Add(time.Hour)}))
	return protocol.Link{Addrs: []string{p.host.Addr(Port).String()}, Server: p.identity.ID(), Token: token}
}

// watched is the proxy's index with an eye on what it is asked and told.
type watched struct {
	*indexdb.DB
	p           *Proxy
	afterCommit func(indexdb.Result) error
}

// Present implements indexdb.Chunks, and counts chunks that the device has
// brought already and is asked for again.
func (x *watched) Present(ctx context.Context, who indexdb.Asker, ids []sendonce.ID) ([]bool, error) {
	had := make([]bool, len(ids))
	x.p.mu.Lock()
	for i, id := range ids {
		had[i] = x.p.known[knownChunk{who.Device, id}]
	}
	x.p.mu.Unlock()
	there, err := x.DB.Present(ctx, who, ids)
	if err != nil {
		return nil, err
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	for i := range ids {
		if had[i] && !there[i] {
			x.p.asked++
		}
	}
	return there, nil
}

func (x *watched) stored(device sendonce.DeviceID, rows []indexdb.Stored) {
	if x.p.Crashed() {
		return // the word of a ghost
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	for _, r := range rows {
		x.p.known[knownChunk{device, r.ID}] = true
		x.p.arrived++
	}
}

// AddStored implements indexdb.Chunks.
func (x *watched) AddStored(ctx context.Context, tenant sendonce.TenantID, device sendonce.DeviceID, rows []indexdb.Stored) error {
	err := x.DB.AddStored(ctx, tenant, device, rows)
	if err == nil {
		x.stored(device, rows)
	}
	return err
}

// FlagDamaged implements indexdb.Maintainer: what is damaged may be asked for.
func (x *watched) FlagDamaged(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) error {
	x.p.mu.Lock()
	for k := range x.p.known {
		for _, id := range ids {
			if k.id == id {
				delete(x.p.known, k)
			}
		}
	}
	x.p.mu.Unlock()
	return x.DB.FlagDamaged(ctx, tenant, ids)
}

// Commit implements indexdb.Journal.
func (x *watched) Commit(ctx context.Context, c *indexdb.Commit) (indexdb.Result, error) {
	r, err := x.DB.Commit(ctx, c)
	if err != nil {
		return r, err
	}
	x.stored(c.Who.Device, c.Stored)
	if x.afterCommit != nil {
		err = x.afterCommit(r)
	}
	return r, err
}
