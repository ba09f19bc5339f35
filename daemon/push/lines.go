package push

import (
	"context"
	"sync"
	"time"

	"sendonce"
	"sendonce/protocol"
)

// lines are the connections that carry packs. A push begins on the session's
// own connection; once it has shown to be more than a few packs, a bulk
// connection takes over. Further ones, up to Options.Connections in all, come at
// once where the path is long, since each has a congestion window of its own and
// loss then costs less; and on a short path when the push has shown to be large,
// since each has a run loop of its own. A small push over a short path gains
// nothing from them: they only make the receiver's queues overflow.
type lines struct {
	k      *packer
	dial   context.Context // ends when no further connection is wanted
	enough context.CancelFunc

	mu      sync.Mutex
	sent    int64
	dialing bool
	open    int           // the first one included
	retire  chan struct{} // closed when the first connection need not send packs any more
}

const (
	// bulkAfter is how much goes over the first connection alone: a handshake
	// costs about 5 KB and a round trip.
	bulkAfter = 2 << 20
	// manyAfter is how much goes over one bulk connection of a short path, and
	// longPath the round trip that makes a path long.
	manyAfter = 64 << 20
	longPath  = 5 * time.Millisecond
	// sendersPerLine keeps a connection busy while one of its streams waits for
	// the last bytes of a pack to be taken.
	sendersPerLine = 2
)

func newLines(k *packer) *lines {
	l := &lines{k: k, open: 1, retire: make(chan struct{})}
	l.dial, l.enough = context.WithCancel(k.p.ctx)
	return l
}

func (l *lines) start() { l.serve(l.k.p.sess.Conn(), true) }

// serve starts the senders of a connection.
func (l *lines) serve(conn protocol.Conn, first bool) {
	var retire chan struct{}
	if first {
		retire = l.retire
	}
	l.k.send.Add(sendersPerLine)
	for range sendersPerLine {
		l.k.p.goDo(func() error {
			defer l.k.send.Done()
			return l.sender(conn, retire)
		})
	}
}

func (l *lines) sender(conn protocol.Conn, retire <-chan struct{}) error {
	p := l.k.p
	for {
		select {
		case s, ok := <-l.k.ready:
			if !ok {
				return nil
			}
			if err := sendPack(p.ctx, conn, s); err != nil {
				if p.ctx.Err() != nil {
					return nil
				}
				return &sendonce.Error{Op: "send pack", Kind: sendonce.KindUnavailable, Hint: "it is safe to run the same command again", Err: err}
			}
			n := int64(len(s.body))
			l.k.sent(s)
			l.grow(n)
		case <-retire:
			return nil
		case <-p.ctx.Done():
			return nil
		}
	}
}

func sendPack(ctx context.Context, conn protocol.Conn, s *sealed) error {
	st, err := conn.OpenSend(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { st.Cancel(sendonce.KindInterrupted) })
	defer stop()
	w := protocol.NewWriter(st)
	if err := w.SendPack(&s.header, s.body); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return st.Close()
}

// grow counts what was sent and dials bulk connections when it is worth it. A
// dial that fails is no error: the push goes on with what it has.
func (l *lines) grow(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent += n
	if l.dialing || l.open >= l.wanted() {
		return
	}
	l.dialing = true
	// The senders' group counts the dialler too, so that it cannot reach zero
	// while a connection is being added.
	l.k.send.Add(1)
	l.k.p.wg.Go(func() {
		defer l.k.send.Done()
		for l.dialOne() {
		}
	})
}

// wanted is how many connections the push should have by now.
func (l *lines) wanted() int {
	p := l.k.p
	switch {
	case l.sent < bulkAfter:
		return 1
	case l.sent < manyAfter && roundTrip(p.sess.Conn()) < longPath:
		return min(2, p.o.Connections)
	}
	return p.o.Connections
}

func roundTrip(c protocol.Conn) time.Duration {
	if w, ok := c.(protocol.Watched); ok {
		return w.Stats().RTT
	}
	return 0
}

// dialOne adds a connection and reports whether another one is wanted.
func (l *lines) dialOne() bool {
	conn, err := l.k.p.sess.Bulk(l.dial)
	if err != nil {
		l.k.p.o.Log.Debug("no further connection", "error", err)
		return false // dialing stays set: this push does not ask again
	}
	l.serve(conn, false)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == 1 {
		close(l.retire)
	}
	l.open++
	l.dialing = l.open < l.wanted()
	return l.dialing
}
