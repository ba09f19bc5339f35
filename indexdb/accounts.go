package indexdb

import (
	"context"
	"encoding/binary"
	"io"
	"sort"
	"time"

	"sendonce"
)

// Tenant implements Accounts.
func (db *DB) Tenant(ctx context.Context, id sendonce.TenantID) (t Tenant, err error) {
	err = db.view(ctx, "read tenant", func(r Reader) (err error) {
		t, err = loadTenant(r, id)
		return err
	})
	return t, err
}

func loadTenant(r Reader, id sendonce.TenantID) (t Tenant, err error) {
	v, err := get(r, tenantKey(rowTenant, id))
	if err == nil && v == nil {
		err = notFound("there is no tenant %d", id)
	}
	if err != nil {
		return t, err
	}
	return rec(decodeTenant(id, v))("a tenant")
}

// AddTenant makes a tenant with a random key and sendonce.DefaultParams.
// Tenants share nothing.
func (db *DB) AddTenant(ctx context.Context, name string) (t Tenant, err error) {
	const op = "add tenant"
	if err := sendonce.CheckName(name); err != nil {
		return t, wrap(op, err)
	}
	var key [32]byte
	if _, err := io.ReadFull(db.rnd, key[:]); err != nil {
		return t, wrap(op, err)
	}
	err = db.update(ctx, op, func(x Txn) error {
		t = Tenant{Name: name, Key: key, Params: sendonce.DefaultParams}
		prefix := []byte{rowTenant}
		err := x.ScanReverse(prefix, after(prefix), func(k, _ []byte) (bool, error) {
			t.ID = sendonce.TenantID(binary.BigEndian.Uint32(k[1:])) + 1
			return false, nil
		})
		if err != nil {
			return err
		}
		x.Put(tenantKey(rowTenant, t.ID), encodeTenant(&t))
		x.Put(tenantKey(rowEpoch, t.ID), encodeEpoch(1))
		return nil
	})
	return t, err
}

// Folders implements Accounts.
func (db *DB) Folders(ctx context.Context, tenant sendonce.TenantID) (out []*Folder, err error) {
	err = db.view(ctx, "list folders", func(r Reader) error {
		out = nil
		var ids []sendonce.FolderID
		prefix := tenantKey(rowFolderName, tenant)
		err := r.Scan(prefix, after(prefix), func(_, v []byte) (bool, error) {
			if len(v) != 16 {
				return false, damaged("a folder's name row is malformed")
			}
			ids = append(ids, sendonce.FolderID(v))
			return true, nil
		})
		for _, id := range ids {
			if err != nil {
				break
			}
			var f *Folder
			f, err = loadFolder(r, place{tenant, id})
			out = append(out, f)
		}
		return err
	})
	return out, err
}

// CreateFolder implements Accounts. f.Created zero means now.
func (db *DB) CreateFolder(ctx context.Context, f Folder) (out *Folder, err error) {
	if f.Created.IsZero() {
		f.Created = db.now()
	}
	err = db.update(ctx, "create folder", func(t Txn) (err error) {
		if _, err := loadTenant(t, f.Tenant); err != nil {
			return err
		}
		out, err = ensureFolder(t, f)
		return err
	})
	return out, err
}

// ensureFolder returns the folder of that name, or makes it.
func ensureFolder(t Txn, f Folder) (*Folder, error) {
	if err := sendonce.CheckName(f.Name); err != nil {
		return nil, err
	}
	p := place{f.Tenant, f.ID}
	v, err := t.Get(folderNameKey(f.Tenant, f.Name), p.key(rowFolder))
	if err != nil {
		return nil, err
	}
	if v[0] != nil {
		if len(v[0]) != 16 {
			return nil, damaged("a folder's name row is malformed")
		}
		return loadFolder(t, place{f.Tenant, sendonce.FolderID(v[0])})
	}
	switch {
	case v[1] != nil:
		return nil, &sendonce.Error{Kind: sendonce.KindExists, Detail: "another folder has the ID " + f.ID.String()}
	case f.ID.IsZero():
		return nil, invalid("a folder needs an ID")
	case f.Quota < 0 || f.Names > sendonce.NamesPortable:
		return nil, invalid("a folder's quota or name rule is out of range")
	}
	f.Bytes, f.Files, f.Head = 0, 0, sendonce.Cursor{}
	root := &record{Node: sendonce.Node{ID: f.ID.Root(), Kind: sendonce.KindDir, Mode: 0o755, MTimeNS: f.Created.UnixNano()}}
	t.Put(folderNameKey(f.Tenant, f.Name), f.ID[:])
	t.Put(p.key(rowFolder), encodeFolder(&f))
	t.Put(p.key(rowHead), encodeHead(headRow{}))
	t.Put(p.node(root.ID, 0), encodeNode(root))
	return loadFolder(t, p)
}

// SetQuota implements Accounts.
func (db *DB) SetQuota(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, bytes int64) error {
	return db.update(ctx, "set quota", func(t Txn) error {
		if bytes < 0 {
			return invalid("a quota is not negative")
		}
		p := place{tenant, folder}
		f, err := loadFolder(t, p)
		if err != nil {
			return err
		}
		f.Quota = bytes
		t.Put(p.key(rowFolder), encodeFolder(f))
		return nil
	})
}

// Device implements Accounts.
func (db *DB) Device(ctx context.Context, id sendonce.DeviceID) (d *Device, err error) {
	err = db.view(ctx, "read device", func(r Reader) (err error) {
		if d, err = loadDevice(r, id); err == nil && d == nil {
			err = notFound("device %s is not enrolled", id.Short())
		}
		return err
	})
	return d, err
}

// loadDevice returns nil for a device that is not enrolled.
func loadDevice(r Reader, id sendonce.DeviceID) (*Device, error) {
	v, err := get(r, deviceKey(id))
	if err != nil || v == nil {
		return nil, err
	}
	return decodeDevice(id, v)
}

// Devices implements Accounts.
func (db *DB) Devices(ctx context.Context, tenant sendonce.TenantID) (out []*Device, err error) {
	err = db.view(ctx, "list devices", func(r Reader) error {
		out = nil
		var ids []sendonce.DeviceID
		prefix := tenantKey(rowDeviceList, tenant)
		err := r.Scan(prefix, after(prefix), func(k, _ []byte) (bool, error) {
			if len(k) != len(prefix)+32 {
				return false, damaged("a device list row is malformed")
			}
			ids = append(ids, sendonce.DeviceID(k[len(prefix):]))
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			d, err := loadDevice(r, id)
			if err == nil && d == nil {
				err = damaged("device %s is listed but not recorded", id.Short())
			}
			if err != nil {
				return err
			}
			out = append(out, d)
		}
		return nil
	})
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, err
}

// AddInvite implements Accounts. Errors: KindInvalid for a role or a folder name
// that cannot be, KindExists for a token that is known.
func (db *DB) AddInvite(ctx context.Context, inv Invite) error {
	return db.update(ctx, "add invite", func(t Txn) error {
		if inv.Role == sendonce.RoleNone || inv.Role > sendonce.RoleAdmin {
			return invalid("an invite needs a role")
		}
		if inv.Folder != "" {
			if err := sendonce.CheckName(inv.Folder); err != nil {
				return err
			}
		}
		if _, err := loadTenant(t, inv.Tenant); err != nil {
			return err
		}
		v, err := get(t, inviteKey(inv.Token))
		if err == nil && v != nil {
			err = &sendonce.Error{Kind: sendonce.KindExists, Detail: "the token is known already"}
		}
		if err == nil {
			t.Put(inviteKey(inv.Token), encodeInvite(&inviteRow{Invite: inv}))
		}
		return err
	})
}

// Redeem implements Accounts. A device that was revoked is enrolled anew by a
// fresh invite, with that invite's role alone; a token it had used before its
// revocation stays refused.
func (db *DB) Redeem(ctx context.Context, token [32]byte, id sendonce.DeviceID, name string, now time.Time, newFolder sendonce.FolderID) (d *Device, err error) {
	err = db.update(ctx, "join", func(t Txn) (err error) {
		d, err = redeem(t, token, id, name, now, newFolder)
		return err
	})
	return d, err
}

func redeem(t Txn, token [32]byte, id sendonce.DeviceID, name string, now time.Time, newFolder sendonce.FolderID) (*Device, error) {
	// One error for every reason, so that a guesser learns nothing.
	refused := &sendonce.Error{Kind: sendonce.KindUnauthorized, Detail: "the invite is not valid",
		Hint: "ask for a new one: an invite is for one device, and for a short time"}
	if id.IsZero() || len(name) > sendonce.MaxName {
		return nil, invalid("a device needs an identity and a name of at most %d bytes", sendonce.MaxName)
	}
	v, err := t.Get(inviteKey(token), deviceKey(id))
	if err != nil {
		return nil, err
	}
	if v[0] == nil {
		return nil, refused
	}
	inv, err := rec(decodeInvite(token, v[0]))("an invite")
	if err != nil {
		return nil, err
	}
	var d *Device
	if v[1] != nil {
		if d, err = decodeDevice(id, v[1]); err != nil {
			return nil, err
		}
	}
	switch {
	case inv.usedBy == id && d != nil && !d.Revoked:
		return d, nil
	case !inv.usedBy.IsZero(), !now.Before(inv.Expires), d != nil && d.Tenant != inv.Tenant:
		return nil, refused
	}
	if d == nil || d.Revoked {
		d = &Device{ID: id, Tenant: inv.Tenant, Added: now.UTC(), Grants: map[sendonce.FolderID]sendonce.Role{}}
	}
	d.Name = name
	if inv.Folder == "" {
		d.Wide = max(d.Wide, inv.Role)
	} else {
		f, err := ensureFolder(t, Folder{ID: newFolder, Tenant: inv.Tenant, Name: inv.Folder, Created: now})
		if err != nil {
			return nil, err
		}
		d.Grants[f.ID] = max(d.Grants[f.ID], inv.Role)
	}
	inv.usedBy = id
	t.Put(inviteKey(token), encodeInvite(&inv))
	t.Put(deviceKey(id), encodeDevice(d))
	t.Put(deviceListKey(d.Tenant, id), nil)
	return d, nil
}

// Revoke implements Accounts.
func (db *DB) Revoke(ctx context.Context, id sendonce.DeviceID) error {
	return db.update(ctx, "revoke device", func(t Txn) error {
		d, err := loadDevice(t, id)
		if err == nil && d == nil {
			err = notFound("device %s is not enrolled", id.Short())
		}
		if err != nil || d.Revoked {
			return err
		}
		d.Revoked = true
		t.Put(deviceKey(id), encodeDevice(d))
		return nil
	})
}
