package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/admin"
	"sendonce/proxy/push"
	"sendonce/proxy/read"
	"sendonce/proxy/stream"
)

// peer is one live connection of an enrolled device.
type peer struct {
	srv    *Server
	conn   protocol.Conn
	id     sendonce.DeviceID
	tenant sendonce.TenantID
	work   context.Context // outlives the connection: a lost one must not cut a commit
}

// serve runs one connection to its end: Hello first, then whatever streams the
// peer opens. known is called once the peer has proved to be enrolled.
func (s *Server) serve(ctx context.Context, c protocol.Conn, known func()) {
	p := &peer{srv: s, conn: c, id: c.Peer().ID, work: ctx}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	// A connection that says nothing in time is cut.
	silence := time.AfterFunc(s.lim.PeerPatience, func() { c.Close(sendonce.KindUnavailable, "no Hello in time") })
	control, welcome, err := p.greet(ctx)
	silence.Stop()
	if err != nil {
		s.refuse(c, err)
		return
	}
	if !s.devices.add(p.id, c, s.lim.Connections) {
		c.Close(sendonce.KindLimit, "too many connections of this device")
		return
	}
	defer s.devices.remove(p.id, c)
	// Checked again now that a revocation would find the connection.
	if _, err := p.device(ctx); err != nil {
		s.refuse(c, err)
		return
	}
	known()
	s.log.Debug("device connected", "device", p.id.Short(), "addr", c.Peer().Addr)

	var streams sync.WaitGroup
	defer streams.Wait()
	defer cancel()
	streams.Go(func() { p.control(ctx, control, welcome) })
	streams.Go(func() { p.acceptData(ctx, &streams) })
	p.acceptStreams(ctx, &streams)
	c.Close(sendonce.KindUnavailable, "the connection has ended")
}

// refuse closes a connection whose Hello failed.
func (s *Server) refuse(c protocol.Conn, err error) {
	kind := sendonce.KindOf(err)
	s.metrics.Refused.Add(1)
	s.log.Debug("connection refused", "addr", c.Peer().Addr, "kind", kind.String(), "err", err)
	c.Close(kind, text(err))
}

// greet takes the Control stream and its Hello, and prepares the Welcome.
func (p *peer) greet(ctx context.Context) (*stream.Stream, *protocol.Welcome, error) {
	raw, err := p.conn.Accept(ctx)
	if err != nil {
		return nil, nil, err
	}
	st := stream.New(raw, p.srv.now, p.srv.lim.PeerPatience)
	m, err := st.Next()
	if err != nil {
		return nil, nil, err
	}
	hello, ok := m.(*protocol.Hello)
	if !ok {
		return nil, nil, stream.Broken("the first stream must begin with Hello, not %v", protocol.TypeOf(m))
	}
	if hello.Version != protocol.Version {
		err := &sendonce.Error{Op: "hello", Kind: sendonce.KindUnsupported, Detail: fmt.Sprintf("protocol version %d, this proxy speaks %d", hello.Version, protocol.Version),
			Hint: "use the same release of sendonce on both sides"}
		return nil, nil, st.Fail(0, err)
	}
	d, err := p.enrolled(ctx, hello)
	if err != nil {
		return nil, nil, st.Fail(0, err)
	}
	p.tenant = d.Tenant
	w, err := p.welcome(ctx, hello, d)
	if err != nil {
		return nil, nil, st.Fail(0, err)
	}
	return st, w, nil
}

// enrolled returns the device if it may speak to this proxy: it is enrolled
// already, or its token enrols it. Everyone else gets one and the same answer.
func (p *peer) enrolled(ctx context.Context, hello *protocol.Hello) (*indexdb.Device, error) {
	s := p.srv
	if len(hello.Token) == 0 {
		return p.device(ctx)
	}
	addr, now := hostOf(p.conn.Peer().Addr), s.now()
	if !s.joins.allow(addr, now) {
		s.metrics.JoinsRefused.Add(1)
		return nil, stranger()
	}
	var folder sendonce.FolderID
	if err := s.random(folder[:]); err != nil {
		return nil, err
	}
	d, err := s.index.Redeem(ctx, admin.HashToken(hello.Token), p.id, hello.DeviceName, now, folder)
	if sendonce.KindOf(err) == sendonce.KindUnauthorized {
		s.joins.failed(addr, now)
		s.metrics.JoinsRefused.Add(1)
		// A device that is enrolled already and shows a stale link is let in as it is.
		if d, err := p.device(ctx); err == nil {
			return d, nil
		}
		return nil, stranger()
	}
	if err != nil {
		return nil, err
	}
	if d.Revoked {
		return nil, stranger()
	}
	s.log.Info("device joined", "device", p.id.Short(), "name", d.Name)
	return d, nil
}

// device reads the peer's row: it is asked at every stream, so that a change of
// roles counts from the next stream on.
func (p *peer) device(ctx context.Context) (*indexdb.Device, error) {
	d, err := p.srv.index.Device(ctx, p.id)
	if sendonce.KindOf(err) == sendonce.KindNotFound {
		return nil, stranger()
	}
	if err != nil {
		return nil, err
	}
	if d.Revoked {
		return nil, stranger()
	}
	return d, nil
}

// role returns what the device may do with a folder. A folder in which it may
// do nothing, and one that is not there, look the same (I11).
func (p *peer) role(ctx context.Context, f sendonce.FolderID) (sendonce.Role, error) {
	d, err := p.device(ctx)
	if err != nil {
		return sendonce.RoleNone, err
	}
	if r := d.Role(f); r != sendonce.RoleNone {
		if _, err := p.srv.index.Head(ctx, p.tenant, f); sendonce.KindOf(err) != sendonce.KindNotFound {
			return r, err
		}
	}
	return sendonce.RoleNone, &sendonce.Error{Op: "open folder", Kind: sendonce.KindNotFound, Detail: "no such folder, or this device has no role in it"}
}

func (p *peer) welcome(ctx context.Context, hello *protocol.Hello, d *indexdb.Device) (*protocol.Welcome, error) {
	s := p.srv
	w := &protocol.Welcome{Version: protocol.Version, Server: s.cfg.Version, Time: s.now()}
	if hello.Bulk {
		return w, nil
	}
	t, err := s.index.Tenant(ctx, d.Tenant)
	if err != nil {
		return nil, err
	}
	w.TenantKey, w.Params = t.Key, t.Params
	folders, err := s.index.Folders(ctx, d.Tenant)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if r := d.Role(f.ID); r != sendonce.RoleNone && len(w.Folders) < protocol.MaxFrameItems {
			w.Folders = append(w.Folders, protocol.FolderInfo{ID: f.ID, Name: f.Name, Names: f.Names, Role: r, Head: f.Head})
		}
	}
	return w, nil
}

// control answers Hello and holds the Control stream until the peer closes it.
// A further Hello asks for a new Welcome: roles and heads as they are now.
func (p *peer) control(ctx context.Context, st *stream.Stream, w *protocol.Welcome) {
	err := st.Answer(w)
	for err == nil {
		var m protocol.Message
		if m, err = st.Next(); err != nil {
			break
		}
		hello, ok := m.(*protocol.Hello)
		if !ok {
			err = stream.Broken("%v on the Control stream", protocol.TypeOf(m))
			break
		}
		err = p.again(ctx, st, hello)
	}
	st.End(err)
	if kind := sendonce.KindOf(err); kind == sendonce.KindInvalid || kind == sendonce.KindLimit {
		p.conn.Close(kind, text(err))
	}
}

func (p *peer) again(ctx context.Context, st *stream.Stream, hello *protocol.Hello) error {
	d, err := p.device(ctx)
	if err != nil {
		return err
	}
	w, err := p.welcome(ctx, hello, d)
	if err != nil {
		return err
	}
	return st.Answer(w)
}

// acceptStreams takes the conversations that the peer opens, at most
// Limits.Streams at once: beyond that its Open waits.
func (p *peer) acceptStreams(ctx context.Context, wg *sync.WaitGroup) {
	slots := make(chan struct{}, p.srv.lim.Streams)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		raw, err := p.conn.Accept(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			st := stream.New(raw, p.srv.now, p.srv.lim.PeerPatience)
			st.End(p.converse(ctx, st))
		})
	}
}

// acceptData takes Data streams, at most Limits.Packs at once.
func (p *peer) acceptData(ctx context.Context, wg *sync.WaitGroup) {
	slots := semaphore.NewWeighted(int64(p.srv.lim.Packs))
	for {
		if slots.Acquire(ctx, 1) != nil {
			return
		}
		rs, err := p.conn.AcceptRecv(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			defer slots.Release(1)
			if err := p.srv.pushes.Receive(ctx, p.id, rs); err != nil {
				rs.StopRecv(sendonce.KindOf(err))
				p.srv.log.Debug("data stream failed", "device", p.id.Short(), "err", err)
			}
		})
	}
}

// converse reads the first message of a stream and follows it.
func (p *peer) converse(ctx context.Context, st *stream.Stream) error {
	silence := time.AfterFunc(p.srv.lim.PeerPatience, func() { st.Abort(sendonce.KindUnavailable) })
	m, err := st.Next()
	silence.Stop()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *protocol.PushOpen:
		return p.srv.pushes.Serve(ctx, p.asPusher(), st, m)
	case *protocol.Changes:
		return p.srv.reads.Follow(ctx, p.asReader(), st, m)
	case *protocol.List, *protocol.Read, *protocol.Fetch, *protocol.Log:
		return p.srv.reads.Serve(ctx, p.asReader(), st, m)
	case *protocol.Admin:
		return p.srv.admin.Serve(ctx, p.device, st, m)
	}
	return stream.Broken("a stream cannot begin with %v", protocol.TypeOf(m))
}

func (p *peer) asPusher() push.Peer {
	return push.Peer{Device: p.id, Tenant: p.tenant, Role: p.role, Work: p.work}
}

func (p *peer) asReader() read.Peer {
	return read.Peer{Device: p.id, Tenant: p.tenant, Role: p.role}
}

// stranger is the one answer to everybody who is not (or no longer) enrolled.
func stranger() error {
	return &sendonce.Error{Op: "connect", Kind: sendonce.KindUnauthorized, Detail: "this device is not enrolled, or the join link is not valid (any more)",
		Hint: "ask for a new link: sendonce invite"}
}

// text is an error's text for a peer, cut to what a close reason may carry.
func text(err error) string {
	s := err.Error()
	return s[:min(len(s), 200)]
}

// hostOf returns the address without its port; of an IPv6 address the /64 that
// one customer usually has.
func hostOf(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	ip := ap.Addr().Unmap()
	if ip.Is6() {
		if pre, err := ip.Prefix(64); err == nil {
			return pre.String()
		}
	}
	return ip.String()
}
