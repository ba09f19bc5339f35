package proxy

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/admin"
	"sendonce/proxy/metrics"
	"sendonce/proxy/push"
	"sendonce/proxy/read"
	"sendonce/proxy/vault"
)

// Config is what a Server needs. It is not changed after New. The caller keeps
// ownership of Index and Store and closes them after Run has returned.
type Config struct {
	Index    indexdb.Index
	Store    blobstore.Store
	Listener protocol.Listener  // closed by Run
	Key      ed25519.PrivateKey // signs receipts; the listener's identity too
	Now      func() time.Time
	Rand     io.Reader // cryptographic
	Log      *slog.Logger
	Version  string // of the program, for people
	Limits   Limits
}

// Limits cap what peers can make the server hold (I13). Zero takes the default.
type Limits struct {
	PushBytes      int64         // pack bytes in memory for one push; default 64 MiB
	TotalBytes     int64         // pack bytes in memory for all pushes; default 256 MiB
	ReadBytes      int64         // chunk bytes in memory for all fetches; default 128 MiB
	BatchBytes     int64         // pack bytes gathered into one durable write; default 32 MiB
	PushRefs       int           // references and edits in uncommitted offers of one push; default 4,194,304
	PushCommits    int           // commits of one push that wait for their chunks; default 16
	Unasked        int           // chunks of one push that nobody asked for; default 65,536
	Pushes         int           // open pushes per device; default 8
	Connections    int           // per device; default 16
	Streams        int           // open conversations per connection; default 64
	Packs          int           // Data streams read at once per connection; default 32
	FetchRefs      int           // references named by one Fetch; default 1,048,576
	Strangers      int           // connections that have not said Hello yet; default 256
	JoinsAMinute   int           // failed joins per address and minute; default 5
	PackGrace      time.Duration // how long a pack may wait for its offer; default 10 s
	CommitPatience time.Duration // without any pack, before a waiting commit is answered Missing; default 30 s
	StopPatience   time.Duration // for running pushes when stopping; default 10 s
	PeerPatience   time.Duration // for a peer that neither reads nor writes mid-way; default 30 s
}

func (l Limits) filled() Limits {
	def(&l.PushBytes, 64<<20)
	def(&l.TotalBytes, 256<<20)
	def(&l.ReadBytes, 128<<20)
	def(&l.BatchBytes, 32<<20)
	def(&l.PushRefs, 4<<20)
	def(&l.PushCommits, 16)
	def(&l.Unasked, 64<<10)
	def(&l.Pushes, 8)
	def(&l.Connections, 16)
	def(&l.Streams, 64)
	def(&l.Packs, 32)
	def(&l.FetchRefs, 1<<20)
	def(&l.Strangers, 256)
	def(&l.JoinsAMinute, 5)
	def(&l.PackGrace, 10*time.Second)
	def(&l.CommitPatience, 30*time.Second)
	def(&l.StopPatience, 10*time.Second)
	def(&l.PeerPatience, 30*time.Second)
	// One pack, raw and compressed, must always fit.
	l.PushBytes = max(l.PushBytes, 2*sendonce.MaxPack)
	l.TotalBytes = max(l.TotalBytes, l.PushBytes)
	l.ReadBytes = max(l.ReadBytes, read.MinMemory)
	return l
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Server is the proxy. Make one with New, then call Run once.
type Server struct {
	cfg     Config
	lim     Limits
	index   indexdb.Index
	store   blobstore.Store
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics.Metrics

	joins   *joinLimiter
	devices *deviceTable
	pushes  *push.Service
	reads   *read.Service
	admin   *admin.Service

	randomness sync.Mutex // around cfg.Rand

	stopping chan struct{} // closed when Run begins to stop
	wg       sync.WaitGroup
}

// New checks a configuration and makes a server. It starts nothing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Index == nil, cfg.Store == nil, cfg.Listener == nil, cfg.Now == nil, cfg.Rand == nil, cfg.Log == nil:
		return nil, &sendonce.Error{Op: "start proxy", Kind: sendonce.KindInternal, Detail: "Index, Store, Listener, Now, Rand and Log must be set"}
	case len(cfg.Key) != ed25519.PrivateKeySize:
		return nil, &sendonce.Error{Op: "start proxy", Kind: sendonce.KindInvalid, Detail: "the key is not an Ed25519 private key"}
	}
	id, err := fingerprint(cfg.Key)
	if err != nil {
		return nil, err
	}
	v, err := vault.New(cfg.Index, cfg.Store)
	if err != nil {
		return nil, err
	}
	lim := cfg.Limits.filled()
	s := &Server{
		cfg: cfg, lim: lim, index: cfg.Index, store: cfg.Store, now: cfg.Now, log: cfg.Log,
		metrics:  new(metrics.Metrics),
		joins:    newJoinLimiter(lim.JoinsAMinute),
		devices:  newDeviceTable(),
		stopping: make(chan struct{}),
	}
	s.reads = read.New(read.Env{Index: s.index, Vault: v, Log: s.log, Metrics: s.metrics, Memory: lim.ReadBytes, FetchRefs: lim.FetchRefs})
	s.pushes = push.New(push.Env{Index: s.index, Vault: v, Key: cfg.Key, Now: s.now, Tell: s.reads.Tell, Stopping: s.stopping, Log: s.log, Metrics: s.metrics,
		Limits: push.Limits{PushBytes: lim.PushBytes, TotalBytes: lim.TotalBytes, BatchBytes: lim.BatchBytes, PushRefs: lim.PushRefs, PushCommits: lim.PushCommits,
			Unasked: lim.Unasked, Pushes: lim.Pushes, PackGrace: lim.PackGrace, CommitPatience: lim.CommitPatience, PeerPatience: lim.PeerPatience}})
	s.admin = admin.New(admin.Env{Index: s.index, Live: live{s}, Identity: id, Now: s.now, Random: s.random, Ready: s.Ready,
		Log: s.log, Metrics: s.metrics, Version: cfg.Version, Started: cfg.Now()})
	return s, nil
}

// live is what the admin methods see of the server.
type live struct{ s *Server }

func (l live) Devices() map[sendonce.DeviceID]int { return l.s.devices.counts() }
func (l live) Pushes() int                        { return l.s.pushes.Open() }
func (l live) Close(id sendonce.DeviceID, kind sendonce.ErrKind, reason string) int {
	return l.s.devices.close(id, kind, reason)
}

// Handler serves the admin methods (docs/protocol.md) over HTTP, for the
// proxy's own socket; Call is its client. Whoever reaches it may do everything:
// its file must be the owner's alone.
func (s *Server) Handler() http.Handler { return s.admin.Handler() }

// Monitor serves what machines ask for, and nothing that needs to be secret:
// /metrics (Prometheus text), /healthz (the process runs), /readyz (see Ready)
// and /version.
func (s *Server) Monitor() http.Handler { return s.admin.Monitor() }

// Metrics returns the server's counters.
func (s *Server) Metrics() *metrics.Metrics { return s.metrics }

// Run serves until ctx ends and returns when everything it started has ended.
// On the way out it accepts nothing new, lets each push make durable and commit
// what it is working on (at most Limits.StopPatience), and closes the
// connections with KindUnavailable. The error is nil when ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	// Work under way is cut only after the pushes had their time.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	accepting, stopAccepting := context.WithCancel(ctx)
	defer stopAccepting()

	s.wg.Go(func() { s.watch(work) })
	var failed error
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		failed = s.accept(accepting, work)
	}()
	select {
	case <-ctx.Done():
	case <-accepted:
	}
	stopAccepting()
	close(s.stopping)
	<-accepted

	// Closing the listener ends the connections, so it comes after the pushes.
	s.pushes.Drain(s.lim.StopPatience)
	s.devices.closeAll(sendonce.KindUnavailable, "the proxy is stopping")
	closeErr := s.cfg.Listener.Close()
	cut()
	s.wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(failed, closeErr)
}

// accept takes connections until ctx ends or the listener fails.
func (s *Server) accept(ctx, work context.Context) error {
	strangers := make(chan struct{}, s.lim.Strangers)
	for {
		c, err := s.cfg.Listener.Accept(ctx)
		if err != nil {
			return &sendonce.Error{Op: "accept connections", Err: err}
		}
		select {
		case strangers <- struct{}{}:
		default: // too many that say nothing: the newest goes
			c.Close(sendonce.KindUnavailable, "too many connections")
			continue
		}
		s.metrics.Connections.Add(1)
		s.wg.Go(func() {
			known := sync.OnceFunc(func() { <-strangers })
			defer known()
			s.serve(work, c, known)
		})
	}
}

// Ready reports whether the server can work: the index and the store answer, and
// it is not stopping.
func (s *Server) Ready(ctx context.Context) error {
	const op = "check readiness"
	select {
	case <-s.stopping:
		return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Detail: "the proxy is stopping"}
	default:
	}
	if _, err := s.index.Tenant(ctx, sendonce.DefaultTenant); err != nil {
		return &sendonce.Error{Op: op, Path: "index", Err: err}
	}
	// A location that is not there: the store has to look, and finds nothing.
	nowhere := []sendonce.Location{{Segment: 1<<63 - 1, Offset: 1, Length: 1}}
	if err := s.store.Get(ctx, nowhere, func(int, []byte) error { return nil }); err != nil {
		return &sendonce.Error{Op: op, Path: "store", Err: err}
	}
	return nil
}

// watch looks once a second for what other proxies on the same index did:
// revoked devices and new commits. It ends with ctx.
func (s *Server) watch(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, id := range s.devices.ids() {
			d, err := s.index.Device(ctx, id)
			if sendonce.KindOf(err) == sendonce.KindNotFound || err == nil && d.Revoked {
				s.devices.close(id, sendonce.KindUnauthorized, "the device is revoked")
			}
		}
		s.reads.Poll(ctx)
	}
}

// fingerprint is the identity that clients pin: that of the key which also signs
// receipts.
func fingerprint(key ed25519.PrivateKey) (sendonce.DeviceID, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		return sendonce.DeviceID{}, &sendonce.Error{Op: "start proxy", Kind: sendonce.KindInvalid, Err: err}
	}
	return sendonce.DeviceIDOf(spki), nil
}

// random fills b from the injected source.
func (s *Server) random(b []byte) error {
	s.randomness.Lock()
	defer s.randomness.Unlock()
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return &sendonce.Error{Op: "read randomness", Kind: sendonce.KindInternal, Err: err}
	}
	return nil
}
