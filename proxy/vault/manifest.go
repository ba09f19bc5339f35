package vault

import (
	"context"

	"sendonce"
	"sendonce/content"
)

// Page is an encoded page of a manifest tree.
type Page = content.Page

// Described is a manifest as the index keeps it.
type Described struct {
	Content  sendonce.Content
	Manifest sendonce.Manifest
	Size     int64
	Root     sendonce.ID // what protocol.Change.Root is compared with
	Pages    []Page      // of a tree, the root last
}

// Describe applies an edit script to a base manifest and describes the result.
// Errors: KindInvalid for a script that does not fit, KindLimit for a manifest
// of more than content.MaxRefs references.
func (v *Vault) Describe(ctx context.Context, tenant sendonce.TenantID, base sendonce.Manifest, edits []sendonce.Edit, inserted []sendonce.Ref) (Described, error) {
	var d Described
	h, err := v.Hasher(ctx, tenant)
	if err != nil {
		return d, err
	}
	if d.Manifest, err = content.Apply(base, edits, inserted, content.MaxRefs); err != nil {
		return d, err
	}
	d.Content, err = content.Describe(h, d.Manifest, func(p Page) error {
		d.Pages = append(d.Pages, p)
		return nil
	})
	if err != nil {
		return d, err
	}
	d.Size = d.Manifest.Size()
	d.Root = h.Root(d.Content)
	return d, nil
}

// PackPages gathers pages into packs of about sendonce.PackTarget. Pages are
// mostly hashes and are not compressed.
func PackPages(pages []Page) []Pack {
	var packs []Pack
	for _, page := range pages {
		if n := len(packs); n == 0 || len(packs[n-1].Payload)+len(page.Data) > sendonce.PackTarget {
			packs = append(packs, Pack{Pages: true, Encoding: content.EncodingRaw})
		}
		p := &packs[len(packs)-1]
		p.IDs = append(p.IDs, page.ID)
		p.Sizes = append(p.Sizes, uint32(len(page.Data)))
		p.Payload = append(p.Payload, page.Data...)
	}
	return packs
}

// Manifest loads all of a content that is not inline; an empty one has none.
// Errors: KindDamaged for pages that are gone or not what they should be.
func (v *Vault) Manifest(ctx context.Context, tenant sendonce.TenantID, c sendonce.Content) (sendonce.Manifest, error) {
	if c.IsEmpty() || len(c.Inline) > 0 {
		return nil, nil
	}
	var m sendonce.Manifest
	err := v.Walk(ctx, tenant, c, 0, 0, func(refs []sendonce.Ref) error {
		m = append(m, refs...)
		return nil
	})
	return m, err
}

// Walk is content.Walk over the tenant's stored pages. Pages are checked there.
func (v *Vault) Walk(ctx context.Context, tenant sendonce.TenantID, c sendonce.Content, first, n uint64, fn func([]sendonce.Ref) error) error {
	h, err := v.Hasher(ctx, tenant)
	if err != nil {
		return err
	}
	return content.Walk(h, c, first, n, func(ids []sendonce.ID) ([][]byte, error) {
		return v.pages(ctx, tenant, ids)
	}, fn)
}

// pages reads pages by ID, which may repeat; nil for one that is not there or
// whose pack is damaged.
func (v *Vault) pages(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) ([][]byte, error) {
	got := make(map[sendonce.ID][]byte, len(ids))
	_, err := v.Read(ctx, tenant, ids, nil, func(id sendonce.ID, page []byte) error {
		got[id] = append([]byte(nil), page...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(ids))
	for i, id := range ids {
		out[i] = got[id]
	}
	return out, nil
}
