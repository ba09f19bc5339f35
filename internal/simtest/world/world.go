// Package world puts the whole of sendonce into one testing/synctest bubble: a
// proxy over its index and store on a disk that crashes, clients with their state
// on disks of their own and real directories to keep in step, and between them a
// network that loses, delays and splits. It is for tests only.
//
// A World also keeps the model that everything is held against: for every pass
// that a client was told is done, the tree as it was then and the receipt. Check
// then asks the world whether it can still give all of that back (I1, I3), and
// whether index and store are sound (I8, I9, I14).
//
// Invariants: what a process says after its disk crashed is believed by nobody:
// its machine is off the network before the crash is taken, and a client's word
// counts only while its disk is whole. What it does not promise: that a seed tells
// the same story twice (package simtest says why); it fixes the data and the
// faults, not the order of goroutines.
//
// A goroutine that runs Sync of a client owns that client: one Sync at a time.
//
// Read world.go, then proxy.go and client.go, then check.go.
package world

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sendonce"
	"sendonce/internal/simtest"
)

// World is one bubble with a proxy and clients in it.
type World struct {
	T     *testing.T // of the bubble
	Net   *simtest.Net
	Proxy *Proxy
	// Link is how clients made from now on are connected.
	Link simtest.Link
	// Rand is the test's own; the world's parts have others.
	Rand *rand.Rand
	Log  *slog.Logger

	seed    uint64
	streams uint64 // of random numbers handed out
	ctx     context.Context
	clients []*Client

	mu   sync.Mutex // guards what follows
	acks []ack
	seen map[sendonce.FolderID]map[uint64]entrySeen
}

// Deadline is how much simulated time a run may take.
const Deadline = 12 * time.Hour

// Run makes a world in a bubble of its own, with a proxy that runs, gives it to
// fn, and ends all of it. proxyLink connects the proxy. Verbose prints the log of
// every part.
func Run(t *testing.T, seed uint64, verbose bool, proxyLink simtest.Link, fn func(*World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &World{T: t, seed: seed, Log: slog.New(slog.DiscardHandler), seen: map[sendonce.FolderID]map[uint64]entrySeen{}}
		if verbose {
			w.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		ctx, cancel := context.WithTimeout(context.Background(), Deadline)
		defer cancel()
		w.ctx, w.Rand = ctx, w.random()
		w.Net = simtest.NewNet(w.random())
		defer func() { w.must(w.Net.Close()) }()
		w.Proxy = w.newProxy(proxyLink)
		defer w.Proxy.stop()
		defer func() {
			for _, c := range w.clients {
				c.close()
			}
		}()
		fn(w)
	})
}

// random returns numbers of their own that follow from the seed.
func (w *World) random() *rand.Rand {
	w.streams++
	return rand.New(rand.NewPCG(w.seed, w.streams))
}

// secrets returns a source for keys and IDs. It may be read concurrently.
func (w *World) secrets() io.Reader {
	var key [32]byte
	r := w.random()
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	return &source{r: rand.NewChaCha8(key)}
}

type source struct {
	mu sync.Mutex // guards r
	r  *rand.ChaCha8
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// tempDir makes a directory that lives as long as the test, in memory where that
// is possible: the users' files are many, and their disk has nothing to prove.
func (w *World) tempDir() string {
	w.T.Helper()
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		return w.T.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "sendonce-world-")
	w.must(err)
	w.T.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (w *World) must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// Cut parts a client from the proxy, silently.
func (w *World) Cut(c *Client) { w.Net.Cut(c.host, w.Proxy.host) }

// Heal ends a Cut.
func (w *World) Heal(c *Client) { w.Net.Heal(c.host, w.Proxy.host) }

// machine is a host and its disk. It loses power at one moment: it is off the
// network before the disk's state is taken.
type machine struct {
	host *simtest.Host
	disk *simtest.Disk

	mu       sync.Mutex // guards what follows
	at       int64      // the sync, as the disk counts, that does not happen; 0: none
	unsynced int
	died     func() // called once when the machine has crashed; may be nil
}

// mount puts a disk into the machine.
func (m *machine) mount(d *simtest.Disk) {
	m.mu.Lock()
	m.at, m.disk = 0, d
	m.mu.Unlock()
	d.OnSync(func(n int64, _ string) {
		m.mu.Lock()
		due, unsynced := m.at > 0 && n >= m.at, m.unsynced
		m.mu.Unlock()
		if due {
			m.Crash(unsynced)
		}
	})
}

// CrashAfter cuts the power instead of the n-th sync from now on, counted from 1.
// For unsynced see simtest.Disk.Crash.
func (m *machine) CrashAfter(n int64, unsynced int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.unsynced = m.disk.Syncs()+n, unsynced
}

// Crash cuts the power now.
func (m *machine) Crash(unsynced int) {
	m.host.SetDown(true)
	m.disk.Crash(unsynced)
	m.mu.Lock()
	died := m.died
	m.died = nil
	m.mu.Unlock()
	if died != nil {
		died()
	}
}

// onDeath sets what Crash calls.
func (m *machine) onDeath(fn func()) {
	m.mu.Lock()
	m.died = fn
	m.mu.Unlock()
}

// Crashed reports whether the machine has lost power since it was started.
func (m *machine) Crashed() bool { return m.disk.Crashed() }

// Syncs returns how many syncs the machine's disk has been asked for.
func (m *machine) Syncs() int64 { return m.disk.Syncs() }
