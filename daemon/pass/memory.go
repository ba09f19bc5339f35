package pass

import (
	"sync"
	"sync/atomic"

	"sendonce"
	"sendonce/daemon/state"
)

// memory is what the rounds of one Run share.
type memory struct {
	accepted bool        // the user's word about deletes was used
	noBase   atomic.Bool // edit scripts cannot be used

	// refused are changes that the server did not take for a reason which this
	// device cannot see, by path. They are listed and not sent again in this Run:
	// one of them fails the whole commit that it is in.
	mu      sync.Mutex
	refused map[string]string
}

func (m *memory) refuse(path, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused == nil {
		m.refused = make(map[string]string)
	}
	m.refused[path] = reason
}

// refusal returns why a change of path was refused, "" if it was not.
func (m *memory) refusal(path string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused[path]
}

// places tells what becomes of the server's names in this round. Both the scan
// and the push, which asks about files that have been read, use it.
type places struct {
	mu      sync.Mutex
	vacated map[sendonce.NodeID]bool // nodes that this round deletes or moves away
	made    map[sendonce.NodeID]bool // directories that this round creates
	parent  sendonce.NodeID          // the directory that deleted was asked about last
	gone    bool                     // and the answer
}

func (p *places) vacate(id sendonce.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vacated == nil {
		p.vacated = make(map[sendonce.NodeID]bool)
	}
	p.vacated[id] = true
}

func (p *places) make(dir sendonce.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil {
		p.made = make(map[sendonce.NodeID]bool)
	}
	p.made[dir] = true
}

func (p *places) isMade(dir sendonce.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[dir]
}

func (p *places) isVacated(id sendonce.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.vacated[id]
}

// deleted reports whether another device deleted a directory. Siblings come
// together, so the last answer is kept.
func (p *places) deleted(rd state.Reader, dir sendonce.NodeID) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parent != dir || dir.IsZero() {
		n, err := rd.Remote(dir)
		if err != nil {
			return false, err
		}
		p.parent, p.gone = dir, n != nil && n.Deleted
	}
	return p.gone, nil
}
