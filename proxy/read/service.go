// Package read is what the proxy answers to those who read: what a folder holds
// now or held at a revision, the content of files, its history, and what changes
// from now on.
//
// Invariants: a folder in which a device has no role looks like one that is not
// there, and a chunk is sent only if the folder that is being read references it
// (I11); a list is of one state of the folder; the memory of all fetches together
// is capped (I13); every chunk that is decoded here is hashed (I14).
//
// What it does not promise: that the stored bytes of a pack that is passed on
// whole are still good (the reader hashes every chunk), nor that a Changes stream
// delivers every revision (only the newest of each node).
//
// Read service.go first (what the room is given), then read.go (one Read stream)
// and changes.go (one Changes stream).
package read

import (
	"context"
	"log/slog"

	"golang.org/x/sync/semaphore"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/proxy/metrics"
	"sendonce/proxy/vault"
)

// Env is what the service needs of its surroundings. It is not changed after New.
type Env struct {
	Index     Index
	Vault     Vault
	Log       *slog.Logger
	Metrics   *metrics.Metrics
	Memory    int64 // bytes of chunks that all fetches may hold; at least MinMemory
	FetchRefs int   // references named by one Fetch
}

// Index is the part of indexdb.Index that is read here.
type Index interface {
	indexdb.Tree
	Head(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID) (sendonce.Cursor, error)
	Entries(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, after uint64, limit int, fn func(indexdb.Entry) error) error
	CheckCursor(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, c sendonce.Cursor) (bool, error)
	Devices(ctx context.Context, tenant sendonce.TenantID) ([]*indexdb.Device, error)
	Referenced(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.ID) ([]bool, error)
}

// Vault is how chunks and manifests are read; vault.Vault implements it.
type Vault interface {
	Walk(ctx context.Context, tenant sendonce.TenantID, c sendonce.Content, first, n uint64, fn func([]sendonce.Ref) error) error
	Read(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID, whole func(p vault.Pack, wanted []uint32) (bool, error), fn func(id sendonce.ID, plain []byte) error) (bad []sendonce.ID, err error)
	Repack(ids []sendonce.ID, sizes []uint32, plain []byte) (vault.Pack, error)
}

// Peer is who reads.
type Peer struct {
	Device sendonce.DeviceID
	Tenant sendonce.TenantID
	// Role tells what the device may do with a folder at this moment;
	// KindNotFound for a folder in which it may do nothing.
	Role func(ctx context.Context, folder sendonce.FolderID) (sendonce.Role, error)
}

// MinMemory is what one window of a fetch takes: chunks as they are, and the packs
// that go as they are.
const MinMemory = 2*(windowBytes+sendonce.MaxChunk) + sendonce.MaxPack

// Service answers everyone who reads. All methods may be called concurrently.
type Service struct {
	env    Env
	memory *semaphore.Weighted // bytes of chunks of all fetches
	feeds  *feedTable
}

// New makes a service. It starts nothing.
func New(env Env) *Service {
	return &Service{env: env, memory: semaphore.NewWeighted(max(env.Memory, MinMemory)), feeds: newFeedTable()}
}

// Tell announces a folder's newest commit to its Changes streams.
func (s *Service) Tell(tenant sendonce.TenantID, folder sendonce.FolderID, seq uint64) {
	s.feeds.tell(folderKey{tenant, folder}, seq)
}

// Poll asks the index for new commits of the folders that somebody follows: those
// that another proxy made. Errors are left to the next Poll.
func (s *Service) Poll(ctx context.Context) {
	s.feeds.poll(func(f folderKey) (sendonce.Cursor, error) { return s.env.Index.Head(ctx, f.tenant, f.folder) })
}
