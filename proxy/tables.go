package proxy

import (
	"sync"
	"time"

	"sendonce"
	"sendonce/protocol"
)

// deviceTable knows the live connections of every device.
type deviceTable struct {
	mu     sync.Mutex
	conns  map[sendonce.DeviceID]map[protocol.Conn]bool
	closed bool // closeAll was called: nothing new
}

func newDeviceTable() *deviceTable {
	return &deviceTable{conns: map[sendonce.DeviceID]map[protocol.Conn]bool{}}
}

// add registers a connection; false when the device has limit already or the
// server stops.
func (t *deviceTable) add(id sendonce.DeviceID, c protocol.Conn, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.conns[id]) >= limit {
		return false
	}
	if t.conns[id] == nil {
		t.conns[id] = map[protocol.Conn]bool{}
	}
	t.conns[id][c] = true
	return true
}

func (t *deviceTable) remove(id sendonce.DeviceID, c protocol.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns[id], c)
	if len(t.conns[id]) == 0 {
		delete(t.conns, id)
	}
}

// ids lists the devices that are connected.
func (t *deviceTable) ids() []sendonce.DeviceID {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make([]sendonce.DeviceID, 0, len(t.conns))
	for id := range t.conns {
		ids = append(ids, id)
	}
	return ids
}

// counts tells how many connections each device has.
func (t *deviceTable) counts() map[sendonce.DeviceID]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := make(map[sendonce.DeviceID]int, len(t.conns))
	for id, cs := range t.conns {
		n[id] = len(cs)
	}
	return n
}

// close ends every connection of a device at once and tells how many.
func (t *deviceTable) close(id sendonce.DeviceID, kind sendonce.ErrKind, reason string) int {
	t.mu.Lock()
	var cs []protocol.Conn
	for c := range t.conns[id] {
		cs = append(cs, c)
	}
	t.mu.Unlock()
	for _, c := range cs {
		c.Close(kind, reason)
	}
	return len(cs)
}

// closeAll ends every connection and admits no more.
func (t *deviceTable) closeAll(kind sendonce.ErrKind, reason string) {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	for _, id := range t.ids() {
		t.close(id, kind, reason)
	}
}

// joinLimiter counts failed joins per address.
type joinLimiter struct {
	limit int

	mu   sync.Mutex
	seen map[string][]time.Time // failures of the last minute
}

// maxJoinAddrs bounds the memory of the limiter; when it is full, addresses it
// does not know have to wait.
const maxJoinAddrs = 10000

func newJoinLimiter(limit int) *joinLimiter {
	return &joinLimiter{limit: limit, seen: map[string][]time.Time{}}
}

// allow reports whether addr may try now.
func (l *joinLimiter) allow(addr string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := l.recent(addr, now)
	if len(recent) >= l.limit {
		return false
	}
	if len(recent) > 0 || len(l.seen) < maxJoinAddrs {
		return true
	}
	for a := range l.seen {
		l.recent(a, now)
	}
	return len(l.seen) < maxJoinAddrs
}

// failed records a failure.
func (l *joinLimiter) failed(addr string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[addr] = append(l.recent(addr, now), now)
}

// recent forgets what is older than a minute and returns the rest.
func (l *joinLimiter) recent(addr string, now time.Time) []time.Time {
	all := l.seen[addr]
	kept := all[:0]
	for _, t := range all {
		if age := now.Sub(t); age >= 0 && age < time.Minute {
			kept = append(kept, t)
		}
	}
	if len(kept) == 0 {
		delete(l.seen, addr)
		return nil
	}
	l.seen[addr] = kept
	return kept
}
