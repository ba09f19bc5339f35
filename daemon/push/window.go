package push

import (
	"math/bits"
	"sync"
)

// budget bounds the bytes of chunks held, from the moment they are read until
// they are sent or found not to be missing. Readers that are ahead of the
// emitter may use only half of it, so that the job whose turn it is always gets
// on: without that rule readers ahead could hold everything while the emitter
// waits for a file that cannot be read for lack of memory.
type budget struct {
	mu   sync.Mutex
	cond *sync.Cond
	max  int64
	used int64
	head uint64 // job whose turn it is
	err  error
}

func newBudget(max int64) *budget {
	b := &budget{max: max}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// acquire waits until job seq may hold n more bytes. A lone piece larger than
// the whole budget passes when nothing else is held.
func (b *budget) acquire(n int64, seq uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		limit := b.max
		if seq != b.head {
			limit /= 2
		}
		if b.err != nil {
			return b.err
		}
		if b.used+n <= limit || b.used == 0 {
			b.used += n
			return nil
		}
		b.cond.Wait()
	}
}

func (b *budget) release(n int64) {
	b.mu.Lock()
	b.used -= n
	b.mu.Unlock()
	b.cond.Broadcast()
}

func (b *budget) advance(head uint64) {
	b.mu.Lock()
	b.head = head
	b.mu.Unlock()
	b.cond.Broadcast()
}

func (b *budget) close(err error) {
	b.mu.Lock()
	if b.err == nil {
		b.err = err
	}
	b.mu.Unlock()
	b.cond.Broadcast()
}

// queue is what was sent and is not answered, oldest first.
type queue[T any] struct {
	mu    sync.Mutex
	cond  *sync.Cond
	items []T
	err   error
}

func newQueue[T any]() *queue[T] {
	q := &queue[T]{}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue[T]) push(v T) {
	q.mu.Lock()
	q.items = append(q.items, v)
	q.mu.Unlock()
}

// pushUnlessEmpty adds v behind what is there; false if there is nothing.
func (q *queue[T]) pushUnlessEmpty(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return false
	}
	q.items = append(q.items, v)
	return true
}

// peek returns the oldest without removing it.
func (q *queue[T]) peek() (T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var zero T
	if len(q.items) == 0 {
		return zero, false
	}
	return q.items[0], true
}

func (q *queue[T]) pop() {
	q.mu.Lock()
	var zero T
	q.items[0] = zero
	q.items = q.items[1:]
	if len(q.items) == 0 {
		q.items = nil
	}
	q.mu.Unlock()
	q.cond.Broadcast()
}

// waitEmpty waits until everything was answered.
func (q *queue[T]) waitEmpty() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) > 0 && q.err == nil {
		q.cond.Wait()
	}
	return q.err
}

func (q *queue[T]) close(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	q.cond.Broadcast()
}

// buffers recycles byte slices by size class, so that small files do not pin
// large buffers.
type buffers struct {
	pools [32]sync.Pool
}

func newBuffers() *buffers { return &buffers{} }

// room is how many bytes a buffer for n bytes takes.
func room(n int) int64 {
	if n == 0 {
		return 0
	}
	return 1 << class(n)
}

func class(n int) int { return max(bits.Len(uint(n-1)), 10) }

// get returns a slice of length n.
func (b *buffers) get(n int) []byte {
	if n == 0 {
		return nil
	}
	c := class(n)
	if v := b.pools[c].Get(); v != nil {
		return (*v.(*[]byte))[:n]
	}
	return make([]byte, n, 1<<c)
}

// put gives a slice back; only slices from get may be given.
func (b *buffers) put(s []byte) {
	if cap(s) > 0 {
		s = s[:cap(s)]
		b.pools[class(cap(s))].Put(&s)
	}
}
