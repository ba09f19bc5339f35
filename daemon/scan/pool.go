package scan

import (
	"slices"
	"sync"
)

// readAhead is how many entries may be listed and wait to be walked: a hundred
// small directories, or one large one for each worker.
const readAhead = 4096

// pool lists directories ahead of the walk, the ones that will be walked next
// first. The walker lists what nobody has begun yet itself, so it never waits for
// the pool to get around to it.
type pool struct {
	list func(*directory) *listing
	all  sync.WaitGroup

	alone bool // there is no other goroutine: the stack is not kept

	mu    sync.Mutex
	cond  *sync.Cond
	stack []*directory
	done  int // entries listed and not walked; a directory counts as one too
	ended bool
}

// job is a directory's state in the pool, guarded by the pool's mutex.
type job struct {
	begun bool
	out   *listing
}

func newPool(workers int, list func(*directory) *listing) *pool {
	p := &pool{list: list, alone: workers < 2}
	p.cond = sync.NewCond(&p.mu)
	for range workers - 1 { // the walker is one
		p.all.Go(p.work)
	}
	return p
}

// add offers directories for listing; they will be walked in this order.
func (p *pool) add(ds []*directory) {
	if p.alone || len(ds) == 0 {
		return
	}
	p.mu.Lock()
	for _, d := range slices.Backward(ds) {
		p.stack = append(p.stack, d)
	}
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *pool) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for !p.ended && (len(p.stack) == 0 || p.done >= readAhead) {
			p.cond.Wait()
		}
		if p.ended {
			return
		}
		d := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		if d.job.begun {
			continue
		}
		d.job.begun = true
		p.mu.Unlock()
		out := p.list(d)
		p.mu.Lock()
		d.job.out = out
		p.done += 1 + len(out.found)
		p.cond.Broadcast()
	}
}

// get returns a directory's listing, once.
func (p *pool) get(d *directory) *listing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !d.job.begun {
		d.job.begun = true
		p.mu.Unlock()
		out := p.list(d)
		p.mu.Lock()
		return out
	}
	for d.job.out == nil {
		p.cond.Wait()
	}
	out := d.job.out
	d.job.out = nil
	p.done -= 1 + len(out.found)
	p.cond.Broadcast()
	return out
}

func (p *pool) stop() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.cond.Broadcast()
	p.all.Wait()
}
