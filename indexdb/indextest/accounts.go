package indextest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sendonce"
	"sendonce/indexdb"
)

func defaults(w *world) {
	t, err := w.ix.Tenant(ctx, tenant)
	must(w.t, err)
	if t.Name != "default" || t.Key == [32]byte{} || t.Params != sendonce.DefaultParams {
		w.t.Errorf("the default tenant is %+v", t)
	}
	w.restart()
	again, err := w.ix.Tenant(ctx, tenant)
	must(w.t, err)
	if again != t {
		w.t.Error("the default tenant changed over a restart")
	}
	if _, err := w.ix.Tenant(ctx, 99); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("an unknown tenant: %v", err)
	}
	if _, err := w.ix.Device(ctx, w.device()); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("an unknown device: %v", err)
	}
}

func folders(w *world) {
	b := w.folder("b", sendonce.NamesPortable)
	a := w.folder("a", sendonce.NamesExact)
	if again := w.folder("b", sendonce.NamesExact); again != b {
		w.t.Error("a second folder of one name was made")
	}
	w.restart()
	list, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	if len(list) != 2 || list[0].ID != a || list[1].ID != b || list[1].Names != sendonce.NamesPortable || !list[0].Created.Equal(w.clock) {
		w.t.Errorf("folders: %+v", list)
	}
	p := w.as(w.enrol(sendonce.RoleReadWrite, ""), a)
	if n := p.get(p.root(), 0); n == nil || n.Kind != sendonce.KindDir || n.Rev != 0 || n.Deleted {
		w.t.Errorf("a new root: %+v", n)
	}
	for _, f := range []indexdb.Folder{
		{ID: w.folderID(), Tenant: tenant, Name: "a/b"}, {ID: w.folderID(), Tenant: tenant}, {Tenant: tenant, Name: "c"},
		{ID: w.folderID(), Tenant: tenant, Name: "c", Quota: -1},
	} {
		if _, err := w.ix.CreateFolder(ctx, f); sendonce.KindOf(err) != sendonce.KindInvalid {
			w.t.Errorf("folder %+v: %v", f, err)
		}
	}
	if _, err := w.ix.CreateFolder(ctx, indexdb.Folder{ID: a, Tenant: tenant, Name: "c"}); sendonce.KindOf(err) != sendonce.KindExists {
		w.t.Errorf("a folder with another's ID: %v", err)
	}
	if _, err := w.ix.Head(ctx, tenant, w.folderID()); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("the head of no folder: %v", err)
	}
}

func invites(w *world) {
	token, d := [32]byte{1}, w.device()
	redeem := func(token [32]byte, d sendonce.DeviceID, folder sendonce.FolderID) (*indexdb.Device, error) {
		return w.ix.Redeem(ctx, token, d, "laptop", w.clock, folder)
	}
	inv := indexdb.Invite{Token: token, Tenant: tenant, Role: sendonce.RoleReadWrite, Folder: "docs", Expires: w.clock.Add(time.Minute)}
	must(w.t, w.ix.AddInvite(ctx, inv))
	if err := w.ix.AddInvite(ctx, inv); sendonce.KindOf(err) != sendonce.KindExists {
		w.t.Errorf("the same token twice: %v", err)
	}
	folder := w.folderID()
	first, err := redeem(token, d, folder)
	must(w.t, err)
	if first.Name != "laptop" || first.Role(folder) != sendonce.RoleReadWrite || first.Wide != sendonce.RoleNone {
		w.t.Errorf("enrolled as %+v", first)
	}
	w.restart()
	w.clock = w.clock.Add(time.Hour) // a repeated answer does not expire
	again, err := redeem(token, d, w.folderID())
	must(w.t, err)
	if fmt.Sprint(again) != fmt.Sprint(first) {
		w.t.Errorf("redeemed again: %+v, at first %+v", again, first)
	}
	must(w.t, w.ix.AddInvite(ctx, indexdb.Invite{Token: [32]byte{2}, Tenant: tenant, Role: sendonce.RoleAdmin, Expires: w.clock}))
	_, other := redeem(token, w.device(), w.folderID())
	_, unknown := redeem([32]byte{9}, w.device(), w.folderID())
	_, expired := redeem([32]byte{2}, w.device(), w.folderID())
	for _, err := range []error{other, unknown, expired} {
		if sendonce.KindOf(err) != sendonce.KindUnauthorized || err.Error() != unknown.Error() {
			w.t.Errorf("a bad token: %v", err)
		}
	}
	// A second invite adds to what the device has, and never takes away.
	w.grant(d, sendonce.RoleReadOnly, "docs")
	w.grant(d, sendonce.RolePushOnly, "")
	now, err := w.ix.Device(ctx, d)
	must(w.t, err)
	if now.Role(folder) != sendonce.RoleReadWrite || now.Wide != sendonce.RolePushOnly {
		w.t.Errorf("after two more invites: %+v", now)
	}
	list, err := w.ix.Devices(ctx, tenant)
	must(w.t, err)
	if len(list) != 1 || list[0].ID != d {
		w.t.Errorf("devices: %+v", list)
	}
	if err := w.ix.AddInvite(ctx, indexdb.Invite{Token: [32]byte{3}, Tenant: tenant}); sendonce.KindOf(err) != sendonce.KindInvalid {
		w.t.Errorf("an invite without a role: %v", err)
	}
}

// inviteRace has many devices redeem one token; one wins.
func inviteRace(w *world) {
	for round := range byte(10) {
		token := [32]byte{1, round}
		must(w.t, w.ix.AddInvite(ctx, indexdb.Invite{Token: token, Tenant: tenant, Role: sendonce.RoleReadOnly, Expires: w.clock.Add(time.Hour)}))
		var wg sync.WaitGroup
		won := make(chan sendonce.DeviceID, 4)
		for range 4 {
			d, f := w.device(), w.folderID()
			wg.Go(func() {
				if _, err := w.ix.Redeem(ctx, token, d, "racer", w.clock, f); err == nil {
					won <- d
				} else if sendonce.KindOf(err) != sendonce.KindUnauthorized {
					w.t.Errorf("a loser got %v", err)
				}
			})
		}
		wg.Wait()
		close(won)
		if len(won) != 1 {
			w.t.Errorf("%d devices redeemed one token", len(won))
		}
	}
}

func revoke(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	id := p.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(id)))
	must(w.t, w.ix.Revoke(ctx, p.who.Device))
	must(w.t, w.ix.Revoke(ctx, p.who.Device))
	w.restart()
	d, err := w.ix.Device(ctx, p.who.Device)
	must(w.t, err)
	if !d.Revoked || d.Role(p.who.Folder) != sendonce.RoleNone {
		w.t.Errorf("after revocation: %+v", d)
	}
	p.refused(sendonce.KindUnauthorized, dir(p.node(), p.root(), "a"))
	if _, err := w.ix.Present(ctx, p.who, []sendonce.ID{id}); sendonce.KindOf(err) != sendonce.KindUnauthorized {
		w.t.Errorf("a revoked device asks: %v", err)
	}
	if _, err := w.ix.BeginPush(ctx, p.who, sendonce.PushID{1}); sendonce.KindOf(err) != sendonce.KindUnauthorized {
		w.t.Errorf("a revoked device begins a push: %v", err)
	}
	if err := w.ix.Revoke(ctx, w.device()); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("an unknown device: %v", err)
	}
	// A fresh invite enrols it anew, with that role alone.
	w.grant(p.who.Device, sendonce.RoleReadOnly, "")
	d, err = w.ix.Device(ctx, p.who.Device)
	must(w.t, err)
	if d.Revoked || len(d.Grants) != 0 || d.Wide != sendonce.RoleReadOnly {
		w.t.Errorf("enrolled anew: %+v", d)
	}
}

// tenants checks that tenants share nothing, where the index can make them.
func tenants(w *world) {
	maker, ok := w.ix.(interface {
		AddTenant(ctx context.Context, name string) (indexdb.Tenant, error)
	})
	if !ok {
		w.t.Skip("the index makes no tenants")
	}
	other, err := maker.AddTenant(ctx, "other")
	must(w.t, err)
	mine, err := w.ix.Tenant(ctx, tenant)
	must(w.t, err)
	if other.ID == tenant || other.Key == mine.Key {
		w.t.Errorf("the second tenant is %+v", other)
	}
	p := w.peer(sendonce.RoleAdmin, "f")
	id := p.chunk()
	must(w.t, w.ix.AddStored(ctx, tenant, p.who.Device, w.stored(id)))
	p.ok(chunked(p.node(), p.root(), "a", id))
	got, err := w.ix.Locate(ctx, other.ID, []sendonce.ID{id})
	must(w.t, err)
	if !got[0].Location.IsZero() {
		w.t.Error("a chunk is seen from another tenant")
	}
	p.who.Tenant = other.ID
	if _, err := w.ix.Present(ctx, p.who, []sendonce.ID{id}); sendonce.KindOf(err) != sendonce.KindUnauthorized {
		w.t.Errorf("a device asks in another tenant: %v", err)
	}
	p.refused(sendonce.KindUnauthorized, dir(p.node(), p.root(), "b"))
	if _, err := w.ix.Head(ctx, other.ID, p.who.Folder); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("a folder is seen from another tenant: %v", err)
	}
}
