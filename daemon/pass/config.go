package pass

import (
	"io"
	"log/slog"
	"time"

	"sendonce/content"
	"sendonce/daemon/push"
	"sendonce/daemon/scan"
	"sendonce/daemon/session"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
)

// Config is what a pass needs. It is not changed while Run runs.
type Config struct {
	State    *state.DB
	Folder   state.Folder
	Session  *session.Session
	OpenTree func(dir string) (fsys.Tree, error)
	Now      func() time.Time
	Rand     io.Reader
	Log      *slog.Logger

	Level       content.Level
	Connections int
	Workers     int

	Dirs   []string // directories to list; nil: all
	DryRun bool
	// Shared: the session is a running daemon's, older than the state, so that
	// what its Welcome said of the head is no news.
	Shared bool
	// Accepted reports the user's word that many deletes are meant, and uses it up
	// if use is true.
	Accepted func(use bool) bool
	// Progress is called every 100 ms from one goroutine; may be nil.
	Progress func(Progress)
}

// Progress of a pass.
type Progress struct {
	Phase                  string // "scan" or "push"
	Done, Total            int64  // changes committed, changes found
	Bytes, BytesTotal      int64  // of files read, of files to read
	WireSent, WireReceived int64
}

// Note is one entry that was left out, or is in conflict, and why.
type Note struct {
	Path, Reason string
	Busy         bool // another look may succeed
}

// Result is what Run did.
type Result struct {
	Report             scan.Report // of the first round
	Stats              push.Stats  // of all rounds
	Would              int64       // changes that a dry run found
	Conflicts, Skipped []Note      // as the last round left them
	Dirs               []string    // that the last round listed; nil: all
}
