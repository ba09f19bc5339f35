// Package apply turns one commit of a push into what the index commits, and
// commits it: edit scripts become manifests, manifests become contents and pages,
// and what a device claims about its chunks is compared with what is stored.
//
// Invariants: a device builds only on revisions that it may know (I11); the root
// that a device computed is the one that is computed here, and the sizes that it
// claims are those of the stored chunks, or nothing is committed; pages that the
// collector removes in between are stored again. What it does not do: receive
// chunks, decide who may push (the index judges the commit), or answer the device.
//
// Read apply.go first (the steps), then describe.go (one file).
package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/vault"
)

// Index is the part of indexdb.Index that a commit needs.
type Index interface {
	Commit(ctx context.Context, c *indexdb.Commit) (indexdb.Result, error)
	Locate(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) ([]indexdb.Stored, error)
	Device(ctx context.Context, id sendonce.DeviceID) (*indexdb.Device, error)
	Creators(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.NodeID) ([]sendonce.DeviceID, error)
	Nodes(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, at uint64, ids []sendonce.NodeID) ([]*sendonce.Node, error)
}

// Vault describes manifests and stores pages; vault.Vault implements it.
type Vault interface {
	Describe(ctx context.Context, tenant sendonce.TenantID, base sendonce.Manifest, edits []sendonce.Edit, inserted []sendonce.Ref) (vault.Described, error)
	Manifest(ctx context.Context, tenant sendonce.TenantID, c sendonce.Content) (sendonce.Manifest, error)
	Put(ctx context.Context, tenant sendonce.TenantID, packs []vault.Pack) ([]indexdb.Stored, error)
}

// Offer is one file's manifest as a device has offered it: an edit script.
type Offer struct {
	Node  sendonce.NodeID // whose revision Base the edits apply to; zero: none
	Base  uint64          // 0: the file is offered as new
	Edits []sendonce.Edit
	Refs  []sendonce.Ref // what the edits insert, in order
}

// Request is a commit that is to be applied. It is only read, and must stay as it
// is until Apply has returned.
type Request struct {
	Who    indexdb.Asker
	Commit *protocol.Commit
	Offers []*Offer // of each change, complete; nil: it has none
	Bases  []uint64 // revision that each change replaces
	Time   time.Time
}

// Work is a commit in the index's words, and what has to be stored for it.
type Work struct {
	Packs []vault.Pack // pages that are not stored yet

	index  Index
	vault  Vault
	who    indexdb.Asker
	commit *indexdb.Commit
	refs   []sendonce.Ref // inserted ones, whose sizes the device claims
	pages  map[sendonce.ID]vault.Page
}

// Prepare resolves the offers of a commit into contents and their pages. Nothing
// is written: the caller stores Work.Packs, and the chunks, before Work.Apply.
// Errors: KindInvalid for an offer that is not what it claims, KindLimit,
// KindNotFound for a base that the device may not build on; on an error the Work
// is empty.
func Prepare(ctx context.Context, index Index, v Vault, q Request) (Work, error) {
	m := q.Commit
	w := Work{
		index: index, vault: v, who: q.Who, pages: map[sendonce.ID]vault.Page{},
		commit: &indexdb.Commit{Who: q.Who, Op: m.ID, Time: q.Time, Snapshot: m.Snapshot,
			Changes: make([]indexdb.Change, len(m.Changes))},
	}
	for i := range m.Changes {
		ch := &m.Changes[i]
		to := &w.commit.Changes[i]
		*to = indexdb.Change{
			Node: ch.Node, Base: q.Bases[i], Delete: ch.Delete,
			SetPlace: ch.SetPlace, Parent: ch.Parent, Name: ch.Name, Kind: ch.Kind,
			SetMeta: ch.SetMeta, Mode: ch.Mode, MTimeNS: ch.MTimeNS, Xattrs: ch.Xattrs,
			SetContent: ch.SetContent, Target: ch.Target,
		}
		if !ch.SetContent {
			continue
		}
		if len(ch.Inline) > 0 {
			to.Size, to.Content = int64(len(ch.Inline)), sendonce.Content{Inline: ch.Inline}
		}
		if o := q.Offers[i]; o != nil {
			if err := w.describe(ctx, to, o, ch.Root); err != nil {
				return Work{}, &sendonce.Error{Op: "commit", Path: ch.Name, Err: err}
			}
		}
	}
	if err := w.packPages(ctx); err != nil {
		return Work{}, err
	}
	return w, nil
}

// packPages gathers the pages that are not stored yet into packs.
func (w *Work) packPages(ctx context.Context) error {
	if len(w.pages) == 0 {
		return nil
	}
	ids := make([]sendonce.ID, 0, len(w.pages))
	for id := range w.pages {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b sendonce.ID) int { return slices.Compare(a[:], b[:]) })
	there, err := w.index.Locate(ctx, w.who.Tenant, ids)
	if err != nil {
		return err
	}
	var fresh []vault.Page
	for i, id := range ids {
		if there[i].Location.IsZero() {
			fresh = append(fresh, w.pages[id])
		}
	}
	w.Packs = vault.PackPages(fresh)
	return nil
}

// Apply checks the sizes that the device claims and commits. stored tells where
// Work.Packs are, and chunks that the index has not been told of: they are
// recorded with the commit, in one step, unless it is a replay. Pages that the
// collector removed since they were looked up are stored again. Errors: those of
// indexdb.Journal.Commit, and KindInvalid for a wrong size.
func (w *Work) Apply(ctx context.Context, stored []indexdb.Stored) (indexdb.Result, error) {
	w.commit.Stored = stored
	if err := w.checkSizes(ctx); err != nil {
		return indexdb.Result{}, err
	}
	for try := 0; ; try++ {
		result, err := w.index.Commit(ctx, w.commit)
		var gone *indexdb.MissingError
		if err == nil || try == 3 || !errors.As(err, &gone) {
			return result, err
		}
		again := make([]vault.Page, 0, len(gone.IDs))
		for _, id := range gone.IDs {
			if page, ok := w.pages[id]; ok {
				again = append(again, page)
			}
		}
		if len(again) == 0 {
			return result, err
		}
		rows, putErr := w.vault.Put(ctx, w.who.Tenant, vault.PackPages(again))
		if putErr != nil {
			return result, putErr
		}
		w.commit.Stored = append(w.commit.Stored, rows...)
	}
}

// checkSizes compares the sizes in offered references with those of the stored
// chunks: an ID says nothing about a size, and a manifest with wrong sizes would
// put every later byte of the file in the wrong place.
func (w *Work) checkSizes(ctx context.Context) error {
	size := make(map[sendonce.ID]int64, len(w.commit.Stored))
	for _, s := range w.commit.Stored {
		size[s.ID] = int64(s.Size)
	}
	var ask []sendonce.ID
	for _, r := range w.refs {
		if _, ok := size[r.ID]; !ok {
			size[r.ID] = 0
			ask = append(ask, r.ID)
		}
	}
	rows, err := w.index.Locate(ctx, w.who.Tenant, ask)
	if err != nil {
		return err
	}
	var gone []sendonce.ID
	for i, row := range rows {
		if row.Location.IsZero() {
			gone = append(gone, ask[i])
		}
		size[ask[i]] = int64(row.Size)
	}
	if len(gone) > 0 {
		return &sendonce.Error{Op: "commit", Kind: sendonce.KindMissing, Err: &indexdb.MissingError{IDs: gone}}
	}
	for _, r := range w.refs {
		if size[r.ID] != r.Size {
			return &sendonce.Error{Op: "commit", Kind: sendonce.KindInvalid, Detail: fmt.Sprintf("chunk %s has another size than the %d bytes that were offered", r.ID, r.Size)}
		}
	}
	return nil
}
