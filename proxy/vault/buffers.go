package vault

import "sync"

// Buffers recycles the large buffers that incompressible packs need; small ones
// are left to the garbage collector. The zero value is ready to use.
type Buffers struct{ pool sync.Pool }

const keepFrom = 512 << 10

// Get returns a buffer with room for n bytes; what it holds is not cleared.
func (b *Buffers) Get(n int) []byte {
	if n >= keepFrom {
		if s, _ := b.pool.Get().(*[]byte); s != nil && cap(*s) >= n {
			return *s
		}
	}
	return make([]byte, 0, n)
}

// Put gives a buffer back; nobody may use it afterwards.
func (b *Buffers) Put(s []byte) {
	if cap(s) >= keepFrom {
		s = s[:0]
		b.pool.Put(&s)
	}
}
