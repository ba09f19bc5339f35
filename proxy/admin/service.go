// Package admin is the proxy's front desk: the methods with which owners and admins
// invite, list and revoke devices and make folders, on the proxy's own socket and
// on Admin streams, and what machines ask for (metrics, health, readiness).
//
// Invariants: a method runs only for a caller whose role, read at that moment,
// allows it; whoever reaches Handler is the owner; a join token is kept nowhere,
// only its hash; a device that is revoked here loses its connections at once.
// What it does not promise: that another proxy on the same index closes a revoked
// device's connections at once (it looks once a second).
//
// Read service.go first (who may ask, and how a method is found), then methods.go;
// types.go is what travels, http.go the socket, call.go its client.
package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/metrics"
	"sendonce/proxy/stream"
)

// Env is what the service needs of its surroundings. It is not changed after New.
type Env struct {
	Index    Index
	Live     Live
	Identity sendonce.DeviceID // what clients pin: of the key that also signs receipts
	Now      func() time.Time
	Random   func(b []byte) error        // fills b; cryptographic
	Ready    func(context.Context) error // whether the proxy can work
	Log      *slog.Logger
	Metrics  *metrics.Metrics
	Version  string // of the program, for people
	Started  time.Time
}

// Index is the part of indexdb.Accounts that the methods use.
type Index interface {
	Devices(ctx context.Context, tenant sendonce.TenantID) ([]*indexdb.Device, error)
	Folders(ctx context.Context, tenant sendonce.TenantID) ([]*indexdb.Folder, error)
	CreateFolder(ctx context.Context, f indexdb.Folder) (*indexdb.Folder, error)
	SetQuota(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, bytes int64) error
	AddInvite(ctx context.Context, inv indexdb.Invite) error
	Revoke(ctx context.Context, id sendonce.DeviceID) error
}

// Live is what is going on in this proxy now.
type Live interface {
	// Devices tells how many connections each device has; the map is the caller's.
	Devices() map[sendonce.DeviceID]int
	// Pushes tells how many pushes are open.
	Pushes() int
	// Close ends the connections of a device and tells how many there were.
	Close(id sendonce.DeviceID, kind sendonce.ErrKind, reason string) int
}

// Service runs the methods. All of its methods may be called concurrently.
type Service struct{ env Env }

// New makes a service.
func New(env Env) *Service { return &Service{env} }

// HashToken is what the index keeps of a join token.
func HashToken(token []byte) [32]byte { return sha256.Sum256(token) }

// caller is who asks for an admin method.
type caller struct {
	tenant sendonce.TenantID
	device *indexdb.Device // nil: the owner of the proxy, on its socket
}

var owner = caller{tenant: sendonce.DefaultTenant}

// manages reports whether the caller may do everything in its tenant.
func (c caller) manages() bool {
	return c.device == nil || c.device.Wide.CanManage() && !c.device.Revoked
}

// Serve serves an Admin stream, of which m is the first message: requests in,
// answers out, in order. device reads the caller's row, anew for each request; an
// error of it ends the stream.
func (s *Service) Serve(ctx context.Context, device func(context.Context) (*indexdb.Device, error), st *stream.Stream, m *protocol.Admin) error {
	for {
		d, err := device(ctx)
		if err != nil {
			return err
		}
		reply, err := s.run(ctx, caller{d.Tenant, d}, m.Method, m.Body)
		var body []byte
		if err == nil {
			body, err = json.Marshal(reply)
		}
		if err == nil {
			err = st.Answer(&protocol.AdminReply{Body: body})
		} else {
			// An Admin stream has no request numbers: Op 0 and order tell.
			err = st.Answer(protocol.FailOf(0, err))
		}
		if err != nil {
			return err
		}
		next, err := st.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var ok bool
		if m, ok = next.(*protocol.Admin); !ok {
			return stream.Broken("%v on an Admin stream", protocol.TypeOf(next))
		}
	}
}

// command is one method: the caller has been checked unless open is set.
type command struct {
	open bool // for every enrolled device: the method itself decides
	call func(s *Service, ctx context.Context, c caller, body []byte) (any, error)
}

var commands = map[string]command{
	"status":        {call: method((*Service).status)},
	"devices":       {call: method((*Service).listDevices)},
	"revoke":        {call: method((*Service).revoke)},
	"invite":        {call: method((*Service).invite)},
	"folders":       {open: true, call: method((*Service).folders)},
	"create-folder": {open: true, call: method((*Service).createFolder)},
	"set-quota":     {call: method((*Service).setQuota)},
}

// method wraps a typed method: its request is strict JSON, an unknown field is an
// error.
func method[Q, A any](f func(*Service, context.Context, caller, Q) (A, error)) func(*Service, context.Context, caller, []byte) (any, error) {
	return func(s *Service, ctx context.Context, c caller, body []byte) (any, error) {
		var q Q
		if len(bytes.TrimSpace(body)) > 0 {
			d := json.NewDecoder(bytes.NewReader(body))
			d.DisallowUnknownFields()
			if err := d.Decode(&q); err != nil {
				return nil, &sendonce.Error{Op: "read request", Kind: sendonce.KindInvalid, Err: err}
			}
			if d.More() {
				return nil, &sendonce.Error{Op: "read request", Kind: sendonce.KindInvalid, Detail: "more than one JSON value"}
			}
		}
		return f(s, ctx, c, q)
	}
}

// run runs one method.
func (s *Service) run(ctx context.Context, c caller, name string, body []byte) (any, error) {
	m, ok := commands[name]
	if !ok {
		return nil, &sendonce.Error{Op: "admin", Kind: sendonce.KindUnsupported, Detail: "no such method: " + name}
	}
	if !m.open && !c.manages() {
		return nil, &sendonce.Error{Op: name, Kind: sendonce.KindUnauthorized, Detail: "it needs the role admin in all folders"}
	}
	reply, err := m.call(s, ctx, c, body)
	if err != nil {
		return nil, &sendonce.Error{Op: name, Err: err}
	}
	return reply, nil
}
