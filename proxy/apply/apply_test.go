package apply

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"sendonce"
	"sendonce/blobstore/blobtest"
	"sendonce/content"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
	"sendonce/protocol"
	"sendonce/proxy/vault"
)

const tenant = sendonce.DefaultTenant

var ctx = context.Background()

// desk is one device's folder, over memory engines.
type desk struct {
	t      *testing.T
	index  *indexdb.DB
	vault  *vault.Vault
	hasher *content.Hasher
	who    indexdb.Asker
	ops    byte
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	index, err := indexdb.New(indextest.NewMem(), indexdb.Options{Now: time.Now, Rand: mathrand.NewChaCha8([32]byte{1})})
	d := &desk{t: t, index: index}
	d.must(err)
	t.Cleanup(func() { index.Close() })
	d.vault, err = vault.New(index, blobtest.NewMem())
	d.must(err)
	d.hasher, err = d.vault.Hasher(ctx, tenant)
	d.must(err)
	d.who = indexdb.Asker{Tenant: tenant, Folder: sendonce.FolderID{5}}
	_, err = index.CreateFolder(ctx, indexdb.Folder{ID: d.who.Folder, Tenant: tenant, Name: "docs"})
	d.must(err)
	d.enrol(1, sendonce.RoleReadWrite)
	return d
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// enrol makes a device, which acts from now on.
func (d *desk) enrol(n byte, role sendonce.Role) {
	d.t.Helper()
	d.must(d.index.AddInvite(ctx, indexdb.Invite{Token: [32]byte{n}, Tenant: tenant, Role: role, Folder: "docs", Expires: time.Now().Add(time.Hour)}))
	d.who.Device = sendonce.DeviceID{n}
	_, err := d.index.Redeem(ctx, [32]byte{n}, d.who.Device, "device", time.Now(), sendonce.FolderID{})
	d.must(err)
}

// chunks stores n chunks of a kibibyte and tells the index that the device sent them.
func (d *desk) chunks(seed byte, n int) (refs []sendonce.Ref) {
	d.t.Helper()
	var packs []vault.Pack
	for i := range n {
		b := make([]byte, 1024)
		mathrand.NewChaCha8([32]byte{seed, byte(i), byte(i >> 8)}).Read(b)
		refs = append(refs, sendonce.Ref{ID: d.hasher.Chunk(b), Size: 1024})
		packs = append(packs, vault.Pack{IDs: []sendonce.ID{refs[i].ID}, Sizes: []uint32{1024}, Encoding: content.EncodingRaw, Payload: b})
	}
	rows, err := d.vault.Put(ctx, tenant, packs)
	d.must(err)
	d.must(d.index.AddStored(ctx, tenant, d.who.Device, rows))
	return refs
}

// request is a commit of one change.
func (d *desk) request(ch protocol.Change, base uint64, o *Offer) Request {
	d.ops++
	return Request{Who: d.who, Commit: &protocol.Commit{Op: 1, ID: sendonce.OpID{d.ops}, Changes: []protocol.Change{ch}},
		Offers: []*Offer{o}, Bases: []uint64{base}, Time: time.Now()}
}

// do prepares and applies, the way a push does.
func (d *desk) do(index Index, q Request) (indexdb.Result, error) {
	d.t.Helper()
	w, err := Prepare(ctx, index, d.vault, q)
	if err != nil {
		return indexdb.Result{}, err
	}
	rows, err := d.vault.Put(ctx, tenant, w.Packs)
	d.must(err)
	return w.Apply(ctx, rows)
}

func (d *desk) create(node byte) protocol.Change {
	return protocol.Change{Node: sendonce.NodeID{node}, SetPlace: true, Parent: d.who.Folder.Root(), Name: string('a' + rune(node)),
		Kind: sendonce.KindFile, SetContent: true}
}

func offerOf(refs []sendonce.Ref) *Offer {
	return &Offer{Edits: []sendonce.Edit{{Insert: uint64(len(refs))}}, Refs: refs}
}

// manifest reads back what a node's content is at a revision.
func (d *desk) manifest(node byte, rev uint64) sendonce.Manifest {
	d.t.Helper()
	nodes, err := d.index.Nodes(ctx, tenant, d.who.Folder, rev, []sendonce.NodeID{{node}})
	d.must(err)
	m, err := d.vault.Manifest(ctx, tenant, nodes[0].Content)
	d.must(err)
	return m
}

func TestEditScripts(t *testing.T) {
	d := newDesk(t)
	refs := d.chunks(1, 3000) // several pages
	_, err := d.do(d.index, d.request(d.create(1), 0, offerOf(refs)))
	d.must(err)
	if got := d.manifest(1, 0); !slices.Equal(got, refs) {
		t.Fatalf("%d references come back", len(got))
	}
	more := d.chunks(2, 1)
	edit := protocol.Change{Node: sendonce.NodeID{1}, SetContent: true}
	r, err := d.do(d.index, d.request(edit, 1, &Offer{Node: edit.Node, Base: 1, Edits: []sendonce.Edit{{Keep: 2999, Insert: 1}}, Refs: more}))
	d.must(err)
	if got := d.manifest(1, r.Cursor.Seq); !slices.Equal(got[2998:], []sendonce.Ref{refs[2998], more[0]}) {
		t.Error("the edit is not what the script says")
	}
	if got := d.manifest(1, 1); !slices.Equal(got, refs) {
		t.Error("the base has changed")
	}
	for name, c := range map[string]struct {
		o    Offer
		kind sendonce.ErrKind
	}{
		"a revision that is not there":  {Offer{Node: edit.Node, Base: 99}, sendonce.KindNotFound},
		"a node that is not there":      {Offer{Node: sendonce.NodeID{77}, Base: 1}, sendonce.KindNotFound},
		"a directory":                   {Offer{Node: d.who.Folder.Root(), Base: 1}, sendonce.KindNotFound},
		"a script that does not fit":    {Offer{Node: edit.Node, Base: 1, Edits: []sendonce.Edit{{Keep: 9000}}}, sendonce.KindInvalid},
		"references that nobody sent":   {*offerOf([]sendonce.Ref{{ID: sendonce.ID{9}, Size: 5000}}), sendonce.KindMissing},
		"another size than what stands": {*offerOf([]sendonce.Ref{{ID: refs[0].ID, Size: 1025}}), sendonce.KindInvalid},
		"what belongs inline":           {*offerOf([]sendonce.Ref{{ID: refs[0].ID, Size: 100}}), sendonce.KindInvalid},
	} {
		if _, err := d.do(d.index, d.request(edit, 2, &c.o)); sendonce.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := edit
	wrong.Root = sendonce.ID{1}
	if w, err := Prepare(ctx, d.index, d.vault, d.request(wrong, 2, offerOf(refs))); sendonce.KindOf(err) != sendonce.KindInvalid || w.Packs != nil {
		t.Errorf("another root than the device's: %v", err)
	}
	if head, err := d.index.Head(ctx, tenant, d.who.Folder); err != nil || head.Seq != 2 {
		t.Errorf("the head is %d, %v", head.Seq, err)
	}
	// A push-only device builds on what it made, and on nothing else.
	d.enrol(2, sendonce.RolePushOnly)
	own := d.chunks(3, 20)
	_, err = d.do(d.index, d.request(d.create(3), 0, offerOf(own)))
	d.must(err)
	same := &Offer{Node: edit.Node, Base: 1, Edits: []sendonce.Edit{{Keep: 3000}}}
	if _, err := d.do(d.index, d.request(d.create(4), 0, same)); sendonce.KindOf(err) != sendonce.KindNotFound {
		t.Errorf("it builds on another's file: %v", err)
	}
	mine := protocol.Change{Node: sendonce.NodeID{3}, SetContent: true}
	_, err = d.do(d.index, d.request(mine, 3, &Offer{Node: mine.Node, Base: 3, Edits: []sendonce.Edit{{Keep: 10}}}))
	d.must(err)
	if got := d.manifest(3, 0); !slices.Equal(got, own[:10]) {
		t.Errorf("%d references are left", len(got))
	}
}

// sweeping is an index whose collector removes pages between a look and a commit.
type sweeping struct {
	*indexdb.DB
	times int
}

func (s *sweeping) Commit(ctx context.Context, c *indexdb.Commit) (indexdb.Result, error) {
	if s.times > 0 {
		s.times--
		var pages []sendonce.ID
		for _, ch := range c.Changes {
			pages = append(pages, ch.Pages...)
		}
		return indexdb.Result{}, &sendonce.Error{Op: "commit", Kind: sendonce.KindMissing, Err: &indexdb.MissingError{IDs: pages}}
	}
	return s.DB.Commit(ctx, c)
}

func TestPagesThatTheCollectorRemoved(t *testing.T) {
	d := newDesk(t)
	refs := d.chunks(1, 3000)
	_, err := d.do(&sweeping{d.index, 3}, d.request(d.create(1), 0, offerOf(refs)))
	d.must(err)
	if got := d.manifest(1, 0); !slices.Equal(got, refs) {
		t.Errorf("%d references come back", len(got))
	}
	var gone *indexdb.MissingError
	if _, err := d.do(&sweeping{d.index, 1000}, d.request(d.create(2), 0, offerOf(refs))); !errors.As(err, &gone) {
		t.Errorf("it is tried for ever: %v", err)
	}
}

// A replay is recognised by the index, and pages that are stored already are not
// packed again.
func TestReplay(t *testing.T) {
	d := newDesk(t)
	refs := d.chunks(1, 3000)
	q := d.request(d.create(1), 0, offerOf(refs))
	first, err := d.do(d.index, q)
	d.must(err)
	w, err := Prepare(ctx, d.index, d.vault, q)
	d.must(err)
	if len(w.Packs) != 0 {
		t.Errorf("%d packs of pages, which are there", len(w.Packs))
	}
	again, err := w.Apply(ctx, nil)
	if err != nil || !again.Replay || again.Cursor != first.Cursor {
		t.Errorf("again: %+v, %v", again, err)
	}
}
