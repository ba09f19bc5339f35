package apply

import (
	"context"
	"fmt"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/proxy/stream"
)

// describe turns an offer into the content of a change.
func (w *Work) describe(ctx context.Context, to *indexdb.Change, o *Offer, root sendonce.ID) error {
	base, err := w.baseManifest(ctx, o)
	if err != nil {
		return err
	}
	d, err := w.vault.Describe(ctx, w.who.Tenant, base, o.Edits, o.Refs)
	if err != nil {
		return err
	}
	if !root.IsZero() && root != d.Root {
		return &sendonce.Error{Kind: sendonce.KindInvalid, Detail: fmt.Sprintf("the offered manifest gives root %s, the device computed %s", d.Root, root)}
	}
	if d.Size > 0 && d.Size <= sendonce.MaxInline {
		return stream.Broken("content of %d bytes must travel inline", d.Size)
	}
	to.Content, to.Size = d.Content, d.Size
	for _, page := range d.Pages {
		to.Pages = append(to.Pages, page.ID)
		w.pages[page.ID] = page
	}
	// What the edits kept is vouched for by the base revision being current, if
	// it is the one that this change replaces; else all of it has to be allowed.
	named := o.Refs
	if o.Base != 0 && (o.Node != to.Node || o.Base != to.Base) {
		named = d.Manifest
	}
	seen := make(map[sendonce.ID]bool, len(named))
	for _, r := range named {
		if !r.ID.IsZero() && !seen[r.ID] {
			seen[r.ID] = true
			to.Refs = append(to.Refs, r.ID)
		}
	}
	for _, r := range o.Refs {
		if !r.ID.IsZero() {
			w.refs = append(w.refs, r)
		}
	}
	return nil
}

// baseManifest loads the manifest that an offer's edits apply to.
func (w *Work) baseManifest(ctx context.Context, o *Offer) (sendonce.Manifest, error) {
	if o.Base == 0 {
		return nil, nil
	}
	n, err := w.revision(ctx, o.Node, o.Base)
	if err != nil {
		return nil, err
	}
	m, err := w.vault.Manifest(ctx, w.who.Tenant, n.Content)
	if sendonce.KindOf(err) == sendonce.KindDamaged {
		return nil, &sendonce.Error{Kind: sendonce.KindNotFound, Detail: "the manifest that the edits apply to is damaged", Hint: "offer the file as new", Err: err}
	}
	return m, err
}

// revision returns a node at one revision, if the device may build on it: a
// push-only device on the nodes that it created. Anything else is not found.
func (w *Work) revision(ctx context.Context, id sendonce.NodeID, rev uint64) (*sendonce.Node, error) {
	absent := &sendonce.Error{Op: "offer", Kind: sendonce.KindNotFound, Detail: "there is no such revision to build on", Hint: "offer the file as new"}
	d, err := w.index.Device(ctx, w.who.Device)
	if err != nil {
		return nil, err
	}
	if !d.Role(w.who.Folder).CanRead() {
		creators, err := w.index.Creators(ctx, w.who.Tenant, w.who.Folder, []sendonce.NodeID{id})
		if err != nil {
			return nil, err
		}
		if len(creators) != 1 || creators[0] != w.who.Device {
			return nil, absent
		}
	}
	nodes, err := w.index.Nodes(ctx, w.who.Tenant, w.who.Folder, rev, []sendonce.NodeID{id})
	if err != nil {
		return nil, err
	}
	if len(nodes) != 1 || nodes[0] == nil || nodes[0].Rev != rev || nodes[0].Deleted || nodes[0].Kind != sendonce.KindFile {
		return nil, absent
	}
	return nodes[0], nil
}
