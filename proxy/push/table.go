package push

import (
	"sync"
	"time"

	"sendonce"
)

// pushKey names a push: a device cannot reach another's by guessing its ID.
type pushKey struct {
	device sendonce.DeviceID
	push   sendonce.PushID
}

// pushTable knows the open pushes.
type pushTable struct {
	mu      sync.Mutex
	open    map[pushKey]*push
	changed chan struct{} // closed and replaced when open changes
}

func newPushTable() *pushTable {
	return &pushTable{open: map[pushKey]*push{}, changed: make(chan struct{})}
}

func (t *pushTable) signal() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// begin registers a push. If the same push is open already, its stream has
// been replaced by a new one: the old one is told to end and waited for.
// KindLimit when the device has limit open already; KindUnavailable after
// giveUp is closed.
func (t *pushTable) begin(k pushKey, p *push, limit int, giveUp <-chan struct{}) error {
	for {
		t.mu.Lock()
		old := t.open[k]
		if old == nil {
			n := 0
			for o := range t.open {
				if o.device == k.device {
					n++
				}
			}
			if n >= limit {
				t.mu.Unlock()
				return &sendonce.Error{Op: "open push", Kind: sendonce.KindLimit, Detail: "the device has too many pushes open"}
			}
			t.open[k] = p
			t.signal()
			t.mu.Unlock()
			return nil
		}
		changed := t.changed
		t.mu.Unlock()
		old.replace()
		select {
		case <-changed:
		case <-giveUp:
			return &sendonce.Error{Op: "open push", Kind: sendonce.KindUnavailable, Detail: "the proxy is stopping"}
		}
	}
}

func (t *pushTable) end(k pushKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, k)
	t.signal()
}

func (t *pushTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// find returns an open push, waiting for it to be opened: a Data stream may
// overtake PushOpen on another connection. nil when that takes too long or
// giveUp is closed.
func (t *pushTable) find(k pushKey, patience time.Duration, giveUp <-chan struct{}) *push {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		t.mu.Lock()
		p, changed := t.open[k], t.changed
		t.mu.Unlock()
		if p != nil {
			return p
		}
		select {
		case <-changed:
		case <-late.C:
			return nil
		case <-giveUp:
			return nil
		}
	}
}

// drain waits until no push is open, at most for patience.
func (t *pushTable) drain(patience time.Duration) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		t.mu.Lock()
		n, changed := len(t.open), t.changed
		t.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			return
		}
	}
}
