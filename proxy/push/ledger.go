package push

import (
	"time"

	"sendonce"
	"sendonce/protocol"
)

// replies remembers the answers to the latest commits, so that one which is
// asked again while its push is open is answered without its offers (I7). Older
// ones are the index's to answer.
type replies struct {
	byID  map[sendonce.OpID]*protocol.Committed
	order []sendonce.OpID
}

const maxReplies = 1024

func (r *replies) add(id sendonce.OpID, c *protocol.Committed) {
	if r.byID[id] != nil {
		return
	}
	if len(r.order) == maxReplies {
		delete(r.byID, r.order[0])
		r.order = r.order[1:]
	}
	r.byID[id] = c
	r.order = append(r.order, id)
}

// ackRange is the set of packs that are durable: all up to through, and above.
type ackRange struct {
	through uint64
	above   map[uint64]bool
}

// maxAbove bounds the memory that gaps (packs which never came) cost.
const maxAbove = 1 << 16

// add records packs and returns the acknowledgements to send.
func (a *ackRange) add(ops []uint64) []*protocol.StoredAck {
	for _, op := range ops {
		if op > a.through && len(a.above) < maxAbove {
			a.above[op] = true
		}
	}
	for a.above[a.through+1] {
		a.through++
		delete(a.above, a.through)
	}
	var out []*protocol.StoredAck
	for _, op := range ops {
		if op > a.through {
			out = append(out, &protocol.StoredAck{Op: op, Through: a.through})
		}
	}
	if len(out) == 0 && len(ops) > 0 {
		out = append(out, &protocol.StoredAck{Op: ops[len(ops)-1], Through: a.through})
	}
	return out
}

// timer is a time.Timer that knows whether it runs.
type timer struct {
	*time.Timer
	running bool
}

func newTimer() timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return timer{Timer: t}
}

// start sets the timer unless it runs already.
func (t *timer) start(d time.Duration) {
	if !t.running {
		t.running = true
		t.Reset(d)
	}
}

func (t *timer) stop() {
	t.running = false
	t.Stop()
}

func (t *timer) fired() { t.running = false }
