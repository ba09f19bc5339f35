package read

import (
	"sync"

	"sendonce"
)

// folderKey names a folder of a tenant.
type folderKey struct {
	tenant sendonce.TenantID
	folder sendonce.FolderID
}

// feed is what the Changes streams of one folder share.
type feed struct {
	listeners int
	head      uint64        // highest sequence number that anyone has seen
	moved     chan struct{} // closed and replaced when head rises
}

// feedTable wakes the Changes streams of a folder when it has a new commit.
type feedTable struct {
	mu    sync.Mutex
	feeds map[folderKey]*feed
}

func newFeedTable() *feedTable { return &feedTable{feeds: map[folderKey]*feed{}} }

// join registers a listener; leave must be called once.
func (t *feedTable) join(k folderKey) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.feeds[k]
	if f == nil {
		f = &feed{moved: make(chan struct{})}
		t.feeds[k] = f
	}
	f.listeners++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if f.listeners--; f.listeners == 0 {
			delete(t.feeds, k)
		}
	}
}

// after returns a channel that is closed when the folder's head is, or gets,
// beyond seq. Only for a listener between join and leave.
func (t *feedTable) after(k folderKey, seq uint64) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.feeds[k]
	if f.head > seq {
		done := make(chan struct{})
		close(done)
		return done
	}
	return f.moved
}

// tell announces the folder's head.
func (t *feedTable) tell(k folderKey, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.feeds[k]; f != nil && seq > f.head {
		f.head = seq
		close(f.moved)
		f.moved = make(chan struct{})
	}
}

// poll asks for the head of every folder that has a listener. Errors are left
// to the next poll.
func (t *feedTable) poll(head func(folderKey) (sendonce.Cursor, error)) {
	t.mu.Lock()
	keys := make([]folderKey, 0, len(t.feeds))
	for k := range t.feeds {
		keys = append(keys, k)
	}
	t.mu.Unlock()
	for _, k := range keys {
		if c, err := head(k); err == nil {
			t.tell(k, c.Seq)
		}
	}
}
