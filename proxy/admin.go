package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

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

// adminStream serves an Admin stream: requests in, answers out, in order. The
// caller's role is looked up for each.
func (pe *peer) adminStream(ctx context.Context, st *stream.Stream, m *protocol.Admin) error {
	for {
		d, err := pe.device(ctx)
		if err != nil {
			return err
		}
		reply, err := pe.srv.admin(ctx, caller{pe.tenant, d}, m.Method, m.Body)
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

// adminMethod is one method: the caller has been checked unless open is set.
type adminMethod struct {
	open bool // for every enrolled device: the method itself decides
	call func(s *Server, ctx context.Context, c caller, body []byte) (any, error)
}

var adminMethods = map[string]adminMethod{
	"status":        {call: method((*Server).status)},
	"devices":       {call: method((*Server).listDevices)},
	"revoke":        {call: method((*Server).revoke)},
	"invite":        {call: method((*Server).invite)},
	"folders":       {open: true, call: method((*Server).folders)},
	"create-folder": {open: true, call: method((*Server).createFolder)},
	"set-quota":     {call: method((*Server).setQuota)},
}

// method wraps a typed method: its request is strict JSON, an unknown field is an
// error.
func method[Q, A any](f func(*Server, context.Context, caller, Q) (A, error)) func(*Server, context.Context, caller, []byte) (any, error) {
	return func(s *Server, ctx context.Context, c caller, body []byte) (any, error) {
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

// admin runs one method.
func (s *Server) admin(ctx context.Context, c caller, name string, body []byte) (any, error) {
	m, ok := adminMethods[name]
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

// fingerprint is the identity that clients pin: that of the key which also signs
// receipts.
func (s *Server) fingerprint() (sendonce.DeviceID, error) {
	spki, err := x509.MarshalPKIXPublicKey(s.cfg.Key.Public().(ed25519.PublicKey))
	if err != nil {
		return sendonce.DeviceID{}, err
	}
	return sendonce.DeviceIDOf(spki), nil
}

// hashToken is what the index keeps of a join token.
func hashToken(token []byte) [32]byte { return sha256.Sum256(token) }

// StatusReply answers "status".
type StatusReply struct {
	Version     string           `json:"version"`
	Fingerprint string           `json:"fingerprint"`
	Started     time.Time        `json:"started"`
	Folders     int              `json:"folders"`
	Devices     int              `json:"devices"`
	Connected   int              `json:"devices_connected"`
	Pushes      int              `json:"pushes_open"`
	Counters    map[string]int64 `json:"counters"` // as in /metrics, without the prefix
}

func (s *Server) status(ctx context.Context, c caller, _ struct{}) (*StatusReply, error) {
	folders, err := s.index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	devices, err := s.index.Devices(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	id, err := s.fingerprint()
	if err != nil {
		return nil, err
	}
	r := &StatusReply{Version: s.cfg.Version, Fingerprint: id.String(), Started: s.started, Folders: len(folders),
		Connected: len(s.devices.counts()), Pushes: s.pushes.count(), Counters: map[string]int64{}}
	for _, d := range devices {
		if !d.Revoked {
			r.Devices++
		}
	}
	for _, m := range s.metricList() {
		r.Counters[m.Name] = m.Value
	}
	return r, nil
}

// DeviceInfo is one device in the answer to "devices".
type DeviceInfo struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Role        string            `json:"role"`   // in all folders; "none"
	Grants      map[string]string `json:"grants"` // folder name: role
	Added       time.Time         `json:"added"`
	Revoked     bool              `json:"revoked"`
	Connections int               `json:"connections"` // to this proxy
}

// DevicesReply answers "devices".
type DevicesReply struct {
	Devices []DeviceInfo `json:"devices"`
}

func (s *Server) listDevices(ctx context.Context, c caller, _ struct{}) (*DevicesReply, error) {
	devices, err := s.index.Devices(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	folders, err := s.index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	names := map[sendonce.FolderID]string{}
	for _, f := range folders {
		names[f.ID] = f.Name
	}
	live := s.devices.counts()
	r := &DevicesReply{Devices: []DeviceInfo{}}
	for _, d := range devices {
		info := DeviceInfo{ID: d.ID.String(), Name: d.Name, Role: d.Wide.String(), Grants: map[string]string{},
			Added: d.Added, Revoked: d.Revoked, Connections: live[d.ID]}
		for id, role := range d.Grants {
			if role != sendonce.RoleNone {
				info.Grants[names[id]] = role.String()
			}
		}
		r.Devices = append(r.Devices, info)
	}
	return r, nil
}

// RevokeRequest names a device by its name or the beginning of its ID.
type RevokeRequest struct {
	Device string `json:"device"`
}

// RevokeReply tells what was done.
type RevokeReply struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Closed int    `json:"closed"` // live connections on this proxy
}

func (s *Server) revoke(ctx context.Context, c caller, q RevokeRequest) (*RevokeReply, error) {
	devices, err := s.index.Devices(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	var found []*indexdb.Device
	for _, d := range devices {
		if d.Revoked {
			continue
		}
		if d.Name == q.Device && q.Device != "" || len(q.Device) >= 4 && strings.HasPrefix(d.ID.String(), strings.ToLower(q.Device)) {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 0:
		return nil, &sendonce.Error{Path: q.Device, Kind: sendonce.KindNotFound, Detail: "no such device", Hint: "sendonce devices lists them; give the name, or at least 4 characters of the ID"}
	case len(found) > 1:
		return nil, &sendonce.Error{Path: q.Device, Kind: sendonce.KindInvalid, Detail: "more than one device has this name", Hint: "give more of the ID, as sendonce devices shows it"}
	}
	d := found[0]
	if err := s.index.Revoke(ctx, d.ID); err != nil {
		return nil, err
	}
	s.log.Info("device revoked", "device", d.ID.Short(), "name", d.Name)
	n := s.devices.close(d.ID, sendonce.KindUnauthorized, "the device is revoked")
	return &RevokeReply{ID: d.ID.String(), Name: d.Name, Closed: n}, nil
}

// InviteRequest asks for a join token.
type InviteRequest struct {
	Role    string `json:"role"`    // "": read-write
	Folder  string `json:"folder"`  // a folder's name; "": the role counts in all folders
	Minutes int    `json:"minutes"` // 0: 15
}

// InviteReply is what a join link is made of. The token is not kept anywhere.
type InviteReply struct {
	Token       []byte    `json:"token"` // 16 bytes, base64 in JSON
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
}

// maxInviteMinutes is the longest that an invite may last: 30 days.
const maxInviteMinutes = 30 * 24 * 60

func (s *Server) invite(ctx context.Context, c caller, q InviteRequest) (*InviteReply, error) {
	role := sendonce.RoleReadWrite
	var err error
	if q.Role != "" {
		if role, err = sendonce.ParseRole(q.Role); err != nil {
			return nil, err
		}
	}
	if q.Minutes == 0 {
		q.Minutes = 15
	}
	if q.Minutes < 1 || q.Minutes > maxInviteMinutes {
		return nil, &sendonce.Error{Kind: sendonce.KindInvalid, Detail: "an invite lasts 1 minute to 30 days"}
	}
	if q.Folder != "" {
		if err := checkFolderName(q.Folder); err != nil {
			return nil, err
		}
	}
	id, err := s.fingerprint()
	if err != nil {
		return nil, err
	}
	r := &InviteReply{Token: make([]byte, protocol.TokenSize), Fingerprint: id.String(), Expires: s.now().Add(time.Duration(q.Minutes) * time.Minute)}
	if err := s.random(r.Token); err != nil {
		return nil, err
	}
	err = s.index.AddInvite(ctx, indexdb.Invite{Token: hashToken(r.Token), Tenant: c.tenant, Role: role, Folder: q.Folder, Expires: r.Expires})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// FolderStatus is one folder in the answers to "folders" and "create-folder".
type FolderStatus struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Names   string    `json:"names"` // "exact" or "portable"
	Role    string    `json:"role"`  // of the device that asks; "admin" on the socket
	Seq     uint64    `json:"seq"`
	Files   int64     `json:"files"` // live nodes without the root
	Bytes   int64     `json:"bytes"` // logical
	Quota   int64     `json:"quota"` // logical bytes; 0: none
	Created time.Time `json:"created"`
}

// FoldersReply answers "folders".
type FoldersReply struct {
	Folders []FolderStatus `json:"folders"`
}

func (c caller) role(f sendonce.FolderID) sendonce.Role {
	if c.device == nil {
		return sendonce.RoleAdmin
	}
	return c.device.Role(f)
}

func statusOfFolder(f *indexdb.Folder, role sendonce.Role) FolderStatus {
	st := FolderStatus{ID: f.ID.String(), Name: f.Name, Names: "exact", Role: role.String(), Seq: f.Head.Seq, Created: f.Created}
	if f.Names == sendonce.NamesPortable {
		st.Names = "portable"
	}
	if role.CanRead() { // to others the size of what they may not read is none of their business
		st.Files, st.Bytes, st.Quota = f.Files, f.Bytes, f.Quota
	}
	return st
}

func (s *Server) folders(ctx context.Context, c caller, _ struct{}) (*FoldersReply, error) {
	folders, err := s.index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	r := &FoldersReply{Folders: []FolderStatus{}}
	for _, f := range folders {
		if role := c.role(f.ID); role != sendonce.RoleNone {
			r.Folders = append(r.Folders, statusOfFolder(f, role))
		}
	}
	return r, nil
}

// CreateFolderRequest asks for a folder; one that has the name already is
// returned as it is.
type CreateFolderRequest struct {
	Name  string `json:"name"`
	Names string `json:"names"` // "": exact
	Quota int64  `json:"quota"` // logical bytes; 0: none; admins only
}

func (s *Server) createFolder(ctx context.Context, c caller, q CreateFolderRequest) (*FolderStatus, error) {
	if c.device != nil && !c.device.Wide.CanPush() {
		return nil, &sendonce.Error{Kind: sendonce.KindUnauthorized, Detail: "this device's role does not make folders", Hint: "ask the owner of the proxy for an invite with --folder, or without one"}
	}
	if err := checkFolderName(q.Name); err != nil {
		return nil, err
	}
	f := indexdb.Folder{Tenant: c.tenant, Name: q.Name, Created: s.now(), Quota: q.Quota}
	switch q.Names {
	case "", "exact":
	case "portable":
		f.Names = sendonce.NamesPortable
	default:
		return nil, &sendonce.Error{Kind: sendonce.KindInvalid, Detail: "names must be exact or portable"}
	}
	if q.Quota < 0 || q.Quota > 0 && !c.manages() {
		return nil, &sendonce.Error{Kind: sendonce.KindInvalid, Detail: "a quota is not negative, and an admin's to set"}
	}
	if err := s.random(f.ID[:]); err != nil {
		return nil, err
	}
	made, err := s.index.CreateFolder(ctx, f)
	if err != nil {
		return nil, err
	}
	st := statusOfFolder(made, c.role(made.ID))
	return &st, nil
}

// checkFolderName keeps folder names printable: they are typed on command lines.
func checkFolderName(name string) error {
	if err := sendonce.CheckName(name); err != nil {
		return err
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == ':' || r == '\ufffd' }) {
		return &sendonce.Error{Op: "check folder name", Path: name, Kind: sendonce.KindInvalid, Detail: "a folder's name is UTF-8 without ':' and control characters"}
	}
	return nil
}

// SetQuotaRequest sets the logical bytes that a folder may hold; 0: no limit.
type SetQuotaRequest struct {
	Folder string `json:"folder"` // name
	Bytes  int64  `json:"bytes"`
}

func (s *Server) setQuota(ctx context.Context, c caller, q SetQuotaRequest) (*FolderStatus, error) {
	folders, err := s.index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(folders, func(f *indexdb.Folder) bool { return f.Name == q.Folder })
	if i < 0 {
		return nil, &sendonce.Error{Path: q.Folder, Kind: sendonce.KindNotFound, Detail: "no such folder"}
	}
	if err := s.index.SetQuota(ctx, c.tenant, folders[i].ID, q.Bytes); err != nil {
		return nil, err
	}
	folders[i].Quota = q.Bytes
	st := statusOfFolder(folders[i], c.role(folders[i].ID))
	return &st, nil
}
