// Package session is one conversation of this device with its proxy: the first
// connection with its Control stream, the bulk connections that a push adds, and
// the count of what travelled.
//
// Invariants: nothing is said before the server proved the pinned identity; the
// Welcome has been checked for version and params before Dial returns. It does
// not promise to reconnect: a session that broke is closed and a new one dialled.
package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"sendonce"
	"sendonce/protocol"
)

// Session is an open conversation. Methods may be called concurrently.
type Session struct {
	Welcome *protocol.Welcome
	Peer    protocol.Peer

	dialer protocol.Dialer
	addr   string
	hello  protocol.Hello
	conn   protocol.Conn

	asking  chan struct{} // holds a token while a Hello is unanswered on the Control stream
	control *Stream
	over    chan struct{} // closed by Close
	end     sync.Once

	mu     sync.Mutex
	bulk   []protocol.Conn
	closed protocol.Stats // of bulk connections that were closed
}

// Target says where to dial and what to say first.
type Target struct {
	Addrs  []string // tried in order until one answers
	Server sendonce.DeviceID
	Hello  protocol.Hello // Version is filled in
}

// helloTimeout bounds the time from dialling to Welcome.
const helloTimeout = 20 * time.Second

// Dial connects to the first address that answers and exchanges Hello and
// Welcome. A refusal by the server (KindUnauthorized and the like) is returned
// at once; an address that cannot be reached makes it try the next.
func Dial(ctx context.Context, d protocol.Dialer, t Target) (*Session, error) {
	if len(t.Addrs) == 0 {
		return nil, &sendonce.Error{Op: "connect", Kind: sendonce.KindNotSetUp, Detail: "this device is not enrolled",
			Hint: "run `sendonce invite` on the server and `sendonce join LINK` here"}
	}
	t.Hello.Version = protocol.Version
	var errs []error
	for _, addr := range t.Addrs {
		s, err := dialOne(ctx, d, addr, t)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if k := sendonce.KindOf(err); k != sendonce.KindUnavailable || ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, &sendonce.Error{Op: "connect", Kind: sendonce.KindOf(errs[len(errs)-1]), Hint: sendonce.HintOf(errs[len(errs)-1]), Err: errors.Join(errs...)}
}

func dialOne(ctx context.Context, d protocol.Dialer, addr string, t Target) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	conn, err := d.Dial(ctx, addr, t.Server, false)
	if err != nil {
		return nil, err
	}
	control, w, err := greet(ctx, conn, t.Hello)
	if err == nil {
		err = checkWelcome(w)
	}
	if err != nil {
		_ = conn.Close(sendonce.KindOf(err), "hello failed")
		return nil, &sendonce.Error{Op: "connect", Path: addr, Hint: sendonce.HintOf(err), Err: err}
	}
	return &Session{Welcome: w, Peer: conn.Peer(), dialer: d, addr: addr, hello: t.Hello, conn: conn, control: control, asking: make(chan struct{}, 1), over: make(chan struct{})}, nil
}

// greet opens the Control stream and waits for Welcome. The stream stays open
// for the life of the connection.
func greet(ctx context.Context, conn protocol.Conn, hello protocol.Hello) (*Stream, *protocol.Welcome, error) {
	raw, err := conn.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	st := newStream(raw)
	w, err := st.hello(ctx, hello)
	return st, w, err
}

// hello asks for a Welcome.
func (st *Stream) hello(ctx context.Context, hello protocol.Hello) (*protocol.Welcome, error) {
	stop := context.AfterFunc(ctx, func() { st.Raw.StopRecv(sendonce.KindInterrupted) })
	defer stop()
	if err := errors.Join(st.Send(&hello), st.Flush()); err != nil {
		return nil, err
	}
	m, err := st.Next()
	if err != nil {
		if ctx.Err() != nil {
			return nil, &sendonce.Error{Op: "hello", Kind: sendonce.KindUnavailable, Detail: "the server did not answer in time", Err: ctx.Err()}
		}
		return nil, err
	}
	switch m := m.(type) {
	case *protocol.Welcome:
		return m, nil
	case *protocol.Fail:
		return nil, m.Err()
	}
	return nil, &sendonce.Error{Op: "hello", Kind: sendonce.KindInvalid, Detail: "the server answered with something else than Welcome"}
}

func checkWelcome(w *protocol.Welcome) error {
	if w.Version != protocol.Version {
		return &sendonce.Error{Op: "hello", Kind: sendonce.KindUnsupported, Detail: "the server speaks another protocol version",
			Hint: "use the same major version of sendonce on both ends"}
	}
	return nil
}

// Stream is a bidirectional stream with its framing.
type Stream struct {
	*protocol.Writer
	*protocol.Reader
	Raw protocol.Stream
}

// Open opens a stream on the first connection.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	st, err := s.conn.Open(ctx)
	if err != nil {
		return nil, err
	}
	return newStream(st), nil
}

func newStream(st protocol.Stream) *Stream {
	return &Stream{Writer: protocol.NewWriter(st), Reader: protocol.NewReader(st), Raw: st}
}

// Conn returns the first connection.
func (s *Session) Conn() protocol.Conn { return s.conn }

// Bulk dials one more connection of the same device to the same server, for
// Data streams only. It lives until CloseBulk or Close.
func (s *Session) Bulk(ctx context.Context) (protocol.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	conn, err := s.dialer.Dial(ctx, s.addr, s.Peer.ID, true)
	if err != nil {
		return nil, err
	}
	hello := s.hello
	hello.Bulk, hello.Token = true, nil
	if _, _, err := greet(ctx, conn, hello); err != nil {
		_ = conn.Close(sendonce.KindOf(err), "hello failed")
		return nil, err
	}
	s.mu.Lock()
	s.bulk = append(s.bulk, conn)
	s.mu.Unlock()
	return conn, nil
}

// Refresh asks for a new Welcome: folders, roles and heads as they are now. The
// end of ctx ends the waiting only: the Control stream is everybody's, and an
// answer that nobody took would be in the way.
func (s *Session) Refresh(ctx context.Context) (*protocol.Welcome, error) {
	interrupted := func() error {
		return &sendonce.Error{Op: "hello", Kind: sendonce.KindInterrupted, Err: context.Cause(ctx)}
	}
	if ctx.Err() != nil {
		return nil, interrupted()
	}
	select {
	case s.asking <- struct{}{}:
	case <-s.over:
		return nil, &sendonce.Error{Op: "hello", Kind: sendonce.KindUnavailable, Detail: "the connection to the server was closed"}
	case <-ctx.Done():
		return nil, interrupted()
	}
	type result struct {
		w   *protocol.Welcome
		err error
	}
	answer := make(chan result, 1)
	go func() {
		defer func() { <-s.asking }() // Close waits for it
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), helloTimeout)
		defer cancel()
		hello := s.hello
		hello.Token = nil
		w, err := s.control.hello(limit, hello)
		if err == nil {
			err = checkWelcome(w)
		}
		answer <- result{w, err}
	}()
	select {
	case r := <-answer:
		return r.w, r.err
	case <-ctx.Done():
		return nil, interrupted()
	}
}

// Folder returns what Welcome said of a folder, or nil.
func (s *Session) Folder(id sendonce.FolderID) *protocol.FolderInfo {
	for i := range s.Welcome.Folders {
		if s.Welcome.Folders[i].ID == id {
			return &s.Welcome.Folders[i]
		}
	}
	return nil
}

// Wire returns the UDP payload bytes of all the session's connections so far.
func (s *Session) Wire() (sent, received int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.closed
	for _, c := range append([]protocol.Conn{s.conn}, s.bulk...) {
		addStats(&total, c)
	}
	return int64(total.BytesSent), int64(total.BytesReceived)
}

func addStats(total *protocol.Stats, c protocol.Conn) {
	if w, ok := c.(protocol.Watched); ok {
		st := w.Stats()
		total.BytesSent += st.BytesSent
		total.BytesReceived += st.BytesReceived
	}
}

// CloseBulk ends the bulk connections; what they carried stays counted.
func (s *Session) CloseBulk() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.bulk {
		_ = c.Close(0, "done")
		addStats(&s.closed, c)
	}
	s.bulk = nil
}

// Done is closed when the first connection has ended; nil if the transport
// cannot tell.
func (s *Session) Done() <-chan struct{} {
	if w, ok := s.conn.(protocol.Watched); ok {
		return w.Done()
	}
	return nil
}

// Close ends all connections. Wire still answers afterwards.
func (s *Session) Close() error {
	s.CloseBulk()
	err := s.conn.Close(0, "done")
	s.end.Do(func() {
		close(s.over)
		s.asking <- struct{}{} // the Hello under way has ended, and none follows
	})
	return err
}
