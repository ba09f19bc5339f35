package pebbleidx

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
)

const (
	hintFull   = "free some space on the disk that holds the index, then try again"
	probeBytes = 4 << 20
	probeEvery = time.Second
)

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

func fullError(detail string) error {
	return &sendonce.Error{Op: "write index", Kind: sendonce.KindFull, Detail: detail, Hint: hintFull}
}

// checkSpace refuses a write while the disk is full, or nearly so. On a
// filesystem that cannot tell, only a write that failed shows it.
func (e *Engine) checkSpace() error {
	if e.space.isFull() {
		return fullError("the disk is full")
	}
	if e.reserve == 0 {
		return nil
	}
	if u, err := e.fs.GetDiskUsage(e.dir); err == nil && u.AvailBytes < e.reserve {
		return fullError("the disk is nearly full")
	}
	return nil
}

// spaceGuard holds back a write that met a full disk until there is space again:
// a log that failed once cannot be used any more, and the process would have to
// end. What comes after is refused meanwhile.
type spaceGuard struct {
	fs    vfs.FS
	probe string

	mu    sync.Mutex // guards the fields below
	armed bool       // else a full disk is an error at once: while opening and closing
	full  bool
	quit  chan struct{}
}

func newSpaceGuard(fs vfs.FS, probe string) *spaceGuard {
	return &spaceGuard{fs: fs, probe: probe, quit: make(chan struct{})}
}

func (g *spaceGuard) arm() {
	g.mu.Lock()
	g.armed = true
	g.mu.Unlock()
}

// disarm ends every wait.
func (g *spaceGuard) disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed {
		g.armed = false
		close(g.quit)
	}
}

func (g *spaceGuard) isFull() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.full
}

// wait is called by the filesystem wrapper when a write met a full disk; after
// it returns the write is tried once more.
func (g *spaceGuard) wait() {
	g.mu.Lock()
	if !g.armed {
		g.mu.Unlock()
		return
	}
	g.full = true
	g.mu.Unlock()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for g.try() != nil {
		select {
		case <-tick.C:
		case <-g.quit:
			return
		}
	}
	g.mu.Lock()
	g.full = false
	g.mu.Unlock()
}

// try reports whether a few MiB can be written.
func (g *spaceGuard) try() error {
	f, err := g.fs.Create(g.probe, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if e := g.fs.Remove(g.probe); err == nil {
		err = e
	}
	return err
}
