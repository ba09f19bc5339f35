// Package push is the conversation in which a device sends what is missing: it
// decides which chunks have to be sent, receives those, checks each one, makes
// them durable, commits, and answers with a receipt.
//
// Invariants: I1 (what it acknowledges is durable first: packs, then locations,
// then Stored or Committed), I7 (a replayed commit gives the first answer), I11
// (what a device may not read makes no difference to what it is asked for), I13
// (memory and references of a push are capped), I14 (every chunk that is received
// is hashed; an ID is never taken from a peer). A receipt is signed only for a
// commit that is durable. One goroutine owns each push; others send it messages.
//
// What it does not promise: that a chunk which it called present is still there
// when the commit comes; the commit then answers what is gone.
//
// Read offer.go first (the decision), then push.go (one push from offer to
// receipt), then receive.go, store.go and commit.go in the order of a chunk's way.
package push

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/proxy/apply"
	"sendonce/proxy/metrics"
	"sendonce/proxy/vault"
)

// Env is what the service needs of its surroundings. It is not changed after New.
type Env struct {
	Index    Index
	Vault    Vault
	Key      ed25519.PrivateKey // signs receipts
	Now      func() time.Time
	Tell     func(tenant sendonce.TenantID, folder sendonce.FolderID, seq uint64) // announces a commit; must not wait
	Stopping <-chan struct{}                                                      // closed when pushes have to end
	Log      *slog.Logger
	Metrics  *metrics.Metrics
	Limits   Limits
}

// Limits cap what devices can make the service hold (I13). All must be set: the
// proxy's own Limits tell what each is for.
type Limits struct {
	PushBytes      int64
	TotalBytes     int64
	BatchBytes     int64
	PushRefs       int
	PushCommits    int
	Unasked        int
	Pushes         int
	PackGrace      time.Duration
	CommitPatience time.Duration
	PeerPatience   time.Duration
}

// Index is the part of indexdb.Index that a push needs besides what its commits do.
type Index interface {
	apply.Index
	Present(ctx context.Context, who indexdb.Asker, ids []sendonce.ID) ([]bool, error)
	AddStored(ctx context.Context, tenant sendonce.TenantID, device sendonce.DeviceID, chunks []indexdb.Stored) error
	BeginPush(ctx context.Context, who indexdb.Asker, push sendonce.PushID) (epoch uint64, err error)
	EndPush(ctx context.Context, who indexdb.Asker, push sendonce.PushID) error
	Head(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID) (sendonce.Cursor, error)
}

// Vault identifies and stores chunks; vault.Vault implements it.
type Vault interface {
	apply.Vault
	Identify(ctx context.Context, tenant sendonce.TenantID, encoding uint8, payload []byte, sizes []uint32) ([]sendonce.ID, error)
}

// Peer is who pushes.
type Peer struct {
	Device sendonce.DeviceID
	Tenant sendonce.TenantID
	// Role tells what the device may do with a folder at this moment;
	// KindNotFound for a folder in which it may do nothing.
	Role func(ctx context.Context, folder sendonce.FolderID) (sendonce.Role, error)
	// Work is the context of writes to index and store: it outlives the
	// connection, because losing that must not cut a commit.
	Work context.Context
}

// Service takes the pushes of all devices. All methods may be called concurrently.
type Service struct {
	env     Env
	vault   Vault               // env.Vault, with its writes counted
	memory  *semaphore.Weighted // bytes of packs of all pushes
	workers chan struct{}       // slots for decoding and hashing
	buffers vault.Buffers       // of received packs
	pushes  *pushTable
}

// New makes a service. It starts nothing.
func New(env Env) *Service {
	return &Service{
		env:     env,
		vault:   counted{env.Vault, env.Metrics},
		memory:  semaphore.NewWeighted(env.Limits.TotalBytes),
		workers: make(chan struct{}, runtime.GOMAXPROCS(0)),
		pushes:  newPushTable(),
	}
}

// Open tells how many pushes are open.
func (s *Service) Open() int { return s.pushes.count() }

// Drain waits until no push is open, at most for patience. Env.Stopping must be
// closed.
func (s *Service) Drain(patience time.Duration) { s.pushes.drain(patience) }
