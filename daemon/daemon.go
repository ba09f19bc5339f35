// Package daemon is the client: it notices changes in the attached folders,
// cuts and hashes what changed, asks the proxy what is missing, sends that, and
// commits; and it reads back (list, log, restore).
//
// Invariants: I5 (nothing local is overwritten or deleted by a push), I15 (a
// delete is sent only after a completed listing), P7 (a file that changes while
// it is read is never sent half-old half-new). The package sees neither QUIC nor
// a storage engine.
//
// Read daemon.go (the surface), then package pass (one pass over one folder),
// then package push (the conversation with the proxy).
package daemon

import (
	"context"
	"io"
	"log/slog"
	"time"

	"sendonce"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/protocol"
)

// Config is what a Client needs. It is not changed after Open.
type Config struct {
	State      *state.DB // the client's own from Open to Close
	DeviceName string    // shown to people; "": the one stored at join
	Version    string    // of the program, for people

	Dialer protocol.Dialer // carries this device's identity
	Device sendonce.DeviceID
	Now    func() time.Time
	Rand   io.Reader // cryptographic
	Log    *slog.Logger

	OpenTree   func(dir string) (fsys.Tree, error)
	OpenTarget func(dir string) (fsys.Target, error)

	Level       string        // "fastest", "default", "better"; "": default
	Connections int           // of one push; 0: 4
	Workers     int           // readers and compressors; 0: GOMAXPROCS
	Settle      time.Duration // a burst of events is taken together after this quiet time; 0: 300 ms
	Rescan      time.Duration // full scan at least this often; 0: 10 min
}

// SyncOptions of one pass.
type SyncOptions struct {
	DryRun   bool
	Progress func(Progress) // called at most every 100 ms, from one goroutine; may be nil
}

// Progress of a long operation.
type Progress struct {
	Folder      string `json:"folder,omitempty"`
	Phase       string `json:"phase"` // "scan", "push", "commit", "restore"
	Files       int64  `json:"files"` // done
	FilesTotal  int64  `json:"files_total"`
	Bytes       int64  `json:"bytes"` // of content done
	BytesTotal  int64  `json:"bytes_total"`
	WireSent    int64  `json:"wire_sent"`
	WireReceive int64  `json:"wire_received"`
}

// Summary is what one or more passes did; `sync --json` prints it.
type Summary struct {
	Files         int64      `json:"files"` // regular files seen
	Dirs          int64      `json:"dirs"`
	BytesScanned  int64      `json:"bytes_scanned"` // sizes of the files seen
	BytesRead     int64      `json:"bytes_read"`    // read to cut and hash
	FilesRead     int64      `json:"files_read"`    // opened
	Chunks        int64      `json:"chunks"`        // offered
	ChunksMissing int64      `json:"chunks_missing"`
	BytesMissing  int64      `json:"bytes_missing"`
	Packs         int64      `json:"packs"`
	PackBytes     int64      `json:"pack_bytes"` // compressed
	WireSent      int64      `json:"wire_sent"`  // UDP payload bytes
	WireReceived  int64      `json:"wire_received"`
	Commits       int64      `json:"commits"`
	Changes       int64      `json:"changes"` // committed; with DryRun: that would be
	Conflicts     []Conflict `json:"conflicts"`
	Skipped       []Skipped  `json:"skipped"`
	Seconds       float64    `json:"seconds"`

	busy bool // something was skipped that another look may get
}

// Conflict is a clash that was listed and not resolved.
type Conflict struct {
	Folder string `json:"folder"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Skipped is an entry that was left out.
type Skipped struct {
	Folder string `json:"folder"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// FolderStatus is one attached folder as `status` shows it.
type FolderStatus struct {
	Name        string     `json:"name"`
	Dir         string     `json:"dir"`
	ID          string     `json:"id"`
	Role        string     `json:"role"`
	State       string     `json:"state"` // "idle", "scanning", "pushing", "paused", "error", "waiting"
	Detail      string     `json:"detail,omitempty"`
	Seq         uint64     `json:"seq"` // of the server's journal, as last seen
	LastSync    time.Time  `json:"last_sync,omitzero"`
	Watching    string     `json:"watching"` // "events", "scan only: <why>"
	Directories int64      `json:"directories_watched"`
	Behind      int64      `json:"behind"` // changes by others that are not applied here
	Conflicts   []Conflict `json:"conflicts"`
	Skipped     []Skipped  `json:"skipped"`
}

// Status is the whole client's.
type Status struct {
	Device      string         `json:"device"`
	DeviceName  string         `json:"device_name"`
	Server      string         `json:"server"`
	Fingerprint string         `json:"fingerprint"`
	Connected   bool           `json:"connected"`
	Daemon      bool           `json:"daemon"` // a daemon answered; else read from the state
	Folders     []FolderStatus `json:"folders"`
}

// RestoreOptions of Restore.
type RestoreOptions struct {
	Folder   string // name
	Path     string // inside the folder; "": all of it
	At       uint64 // journal sequence number; 0: head
	AtTime   time.Time
	To       string // directory that will hold the result
	DryRun   bool
	Progress func(Progress)
}

// RestoreSummary is what Restore did.
type RestoreSummary struct {
	Seq          uint64    `json:"seq"`
	Files        int64     `json:"files"`
	Dirs         int64     `json:"dirs"`
	Symlinks     int64     `json:"symlinks"`
	Bytes        int64     `json:"bytes"`
	BytesReused  int64     `json:"bytes_reused"`  // found in the target directory
	BytesFetched int64     `json:"bytes_fetched"` // plain bytes of fetched chunks
	Unchanged    int64     `json:"unchanged"`     // files that were there already
	WireSent     int64     `json:"wire_sent"`
	WireReceived int64     `json:"wire_received"`
	Skipped      []Skipped `json:"skipped"`
	Seconds      float64   `json:"seconds"`
}

// Remote is the reading-back surface; Client implements it.
type Remote interface {
	// Resolve finds the folder and the sequence number that at or atTime mean.
	List(ctx context.Context, folder, path string, at uint64, atTime time.Time, recursive bool) ([]ListEntry, error)
	Log(ctx context.Context, folder, path string, limit int, snapshots bool) ([]protocol.LogEntry, error)
	Restore(ctx context.Context, o RestoreOptions) (RestoreSummary, error)
}

// ListEntry is a node with its path.
type ListEntry struct {
	Path string
	Node sendonce.Node
}
