package pass

import (
	"io"
	"sync"

	"sendonce"
)

// nodeIDs numbers the nodes that a pass creates: the first ID is random, the
// others follow it.
type nodeIDs struct {
	mu   sync.Mutex
	last sendonce.NodeID
}

func (g *nodeIDs) next(random io.Reader) (sendonce.NodeID, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.IsZero() {
		if _, err := io.ReadFull(random, g.last[:]); err != nil {
			return g.last, &sendonce.Error{Op: "make node", Kind: sendonce.KindInternal, Err: err}
		}
	}
	g.last = g.last.Step(1)
	return g.last, nil
}
