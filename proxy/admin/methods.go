package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
)

func (s *Service) status(ctx context.Context, c caller, _ struct{}) (*StatusReply, error) {
	folders, err := s.env.Index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	devices, err := s.env.Index.Devices(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	r := &StatusReply{Version: s.env.Version, Fingerprint: s.env.Identity.String(), Started: s.env.Started, Folders: len(folders),
		Connected: len(s.env.Live.Devices()), Pushes: s.env.Live.Pushes(), Counters: map[string]int64{}}
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

func (s *Service) listDevices(ctx context.Context, c caller, _ struct{}) (*DevicesReply, error) {
	devices, err := s.env.Index.Devices(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	folders, err := s.env.Index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	names := map[sendonce.FolderID]string{}
	for _, f := range folders {
		names[f.ID] = f.Name
	}
	live := s.env.Live.Devices()
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

func (s *Service) revoke(ctx context.Context, c caller, q RevokeRequest) (*RevokeReply, error) {
	devices, err := s.env.Index.Devices(ctx, c.tenant)
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
	if err := s.env.Index.Revoke(ctx, d.ID); err != nil {
		return nil, err
	}
	s.env.Log.Info("device revoked", "device", d.ID.Short(), "name", d.Name)
	n := s.env.Live.Close(d.ID, sendonce.KindUnauthorized, "the device is revoked")
	return &RevokeReply{ID: d.ID.String(), Name: d.Name, Closed: n}, nil
}

// maxInviteMinutes is the longest that an invite may last: 30 days.
const maxInviteMinutes = 30 * 24 * 60

func (s *Service) invite(ctx context.Context, c caller, q InviteRequest) (*InviteReply, error) {
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
	r := &InviteReply{Token: make([]byte, protocol.TokenSize), Fingerprint: s.env.Identity.String(), Expires: s.env.Now().Add(time.Duration(q.Minutes) * time.Minute)}
	if err := s.env.Random(r.Token); err != nil {
		return nil, err
	}
	err = s.env.Index.AddInvite(ctx, indexdb.Invite{Token: HashToken(r.Token), Tenant: c.tenant, Role: role, Folder: q.Folder, Expires: r.Expires})
	if err != nil {
		return nil, err
	}
	return r, nil
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

func (s *Service) folders(ctx context.Context, c caller, _ struct{}) (*FoldersReply, error) {
	folders, err := s.env.Index.Folders(ctx, c.tenant)
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

func (s *Service) createFolder(ctx context.Context, c caller, q CreateFolderRequest) (*FolderStatus, error) {
	if c.device != nil && !c.device.Wide.CanPush() {
		return nil, &sendonce.Error{Kind: sendonce.KindUnauthorized, Detail: "this device's role does not make folders", Hint: "ask the owner of the proxy for an invite with --folder, or without one"}
	}
	if err := checkFolderName(q.Name); err != nil {
		return nil, err
	}
	f := indexdb.Folder{Tenant: c.tenant, Name: q.Name, Created: s.env.Now(), Quota: q.Quota}
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
	if err := s.env.Random(f.ID[:]); err != nil {
		return nil, err
	}
	made, err := s.env.Index.CreateFolder(ctx, f)
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

func (s *Service) setQuota(ctx context.Context, c caller, q SetQuotaRequest) (*FolderStatus, error) {
	folders, err := s.env.Index.Folders(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(folders, func(f *indexdb.Folder) bool { return f.Name == q.Folder })
	if i < 0 {
		return nil, &sendonce.Error{Path: q.Folder, Kind: sendonce.KindNotFound, Detail: "no such folder"}
	}
	if err := s.env.Index.SetQuota(ctx, c.tenant, folders[i].ID, q.Bytes); err != nil {
		return nil, err
	}
	folders[i].Quota = q.Bytes
	st := statusOfFolder(folders[i], c.role(folders[i].ID))
	return &st, nil
}
