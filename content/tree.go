package content

import (
	"fmt"
	"math"

	"sendonce"
)

// MaxRefs is the largest number of references in one manifest: 4 TiB of data at
// an average of 64 KiB, and 2.5 GiB of memory for whoever loads it whole.
const MaxRefs = 1 << 26

// pageBatch is how many pages are asked for at a time: at most 6 MiB of them.
const pageBatch = 128

// Page is an encoded page of a manifest tree.
type Page struct {
	ID   sendonce.ID
	Data []byte
}

// CheckRefs checks references that come from outside: sizes are positive, chunks
// have at most sendonce.MaxChunk bytes, the sum fits an int64. The error is
// KindInvalid.
func CheckRefs(refs []sendonce.Ref) error {
	var sum int64
	for i, r := range refs {
		if r.Size <= 0 || !r.ID.IsZero() && r.Size > sendonce.MaxChunk || r.Size > math.MaxInt64-sum {
			return fail("check manifest", sendonce.KindInvalid, "reference %d has size %d", i, r.Size)
		}
		sum += r.Size
	}
	return nil
}

// InlineContent returns the content that keeps data itself, as a copy; no data is
// the empty content. data must not have more than sendonce.MaxInline bytes.
func InlineContent(data []byte) sendonce.Content {
	if len(data) > sendonce.MaxInline {
		panic("content: too much data to keep inline")
	}
	if len(data) == 0 {
		return sendonce.Content{}
	}
	return sendonce.Content{Inline: append([]byte(nil), data...)}
}

// Describe returns the content that stands for a manifest: empty, up to
// sendonce.MaxDirectRefs references (a copy), or a tree of pages. Whether to keep
// the bytes themselves inline instead is the caller's choice (InlineContent).
//
// emit is called once for each page, pages before those that list them, the root
// last; it owns the page's Data. It may be nil if only the root matters. Its
// error ends Describe and is returned as it is. Other errors: KindInvalid for
// what CheckRefs refuses, KindLimit above MaxRefs.
func Describe(h *Hasher, m sendonce.Manifest, emit func(Page) error) (sendonce.Content, error) {
	if err := CheckRefs(m); err != nil {
		return sendonce.Content{}, err
	}
	if len(m) <= sendonce.MaxDirectRefs {
		return sendonce.Content{Refs: append([]sendonce.Ref(nil), m...)}, nil
	}
	if len(m) > MaxRefs {
		return sendonce.Content{}, fail("describe content", sendonce.KindLimit, "%d references, the limit is %d", len(m), MaxRefs)
	}
	b := &treeBuilder{h: h, emit: emit}
	for _, r := range m {
		if err := b.add(0, Entry{ID: r.ID, Bytes: r.Size, Refs: 1}); err != nil {
			return sendonce.Content{}, err
		}
	}
	root, level, err := b.finish()
	if err != nil {
		return sendonce.Content{}, err
	}
	return sendonce.Content{Root: root, Level: level, Count: uint64(len(m))}, nil
}

// treeBuilder builds all levels at once, with one unfinished page for each.
type treeBuilder struct {
	h      *Hasher
	emit   func(Page) error
	levels []treeLevel
	buf    []byte // the page being written; made anew if emit keeps it
}

type treeLevel struct {
	open []Entry // of the unfinished page
	done int     // pages finished
}

func (b *treeBuilder) add(level uint8, e Entry) error {
	if int(level) == len(b.levels) {
		b.levels = append(b.levels, treeLevel{})
	}
	l := &b.levels[level]
	l.open = append(l.open, e)
	if n := len(l.open); n == MaxPageEntries || n >= minEntries && endsPage(e.ID) {
		return b.endPage(level)
	}
	return nil
}

// endPage writes the unfinished page of a level and lists it one level up.
func (b *treeBuilder) endPage(level uint8) error {
	e, err := b.write(level)
	if err != nil {
		return err
	}
	b.levels[level].done++
	return b.add(level+1, e)
}

func (b *treeBuilder) write(level uint8) (Entry, error) {
	l := &b.levels[level]
	var up Entry
	for _, e := range l.open {
		up.Bytes += e.Bytes
		up.Refs += e.Refs
	}
	if b.emit != nil || b.buf == nil {
		b.buf = make([]byte, 0, pageHeader+len(l.open)*40)
	}
	b.buf = AppendPage(b.buf[:0], level, l.open)
	l.open = l.open[:0]
	up.ID = b.h.Page(b.buf)
	if b.emit == nil {
		return up, nil
	}
	return up, b.emit(Page{ID: up.ID, Data: b.buf})
}

// finish ends the last page of each level until one page is left, the root.
func (b *treeBuilder) finish() (root sendonce.ID, level uint8, err error) {
	for level = 0; ; level++ {
		l := &b.levels[level]
		switch {
		case l.done == 0: // everything is in this page
			e, err := b.write(level)
			return e.ID, level, err
		case l.done == 1 && len(l.open) == 0: // it has been written already
			return b.levels[level+1].open[0].ID, level, nil
		case len(l.open) > 0:
			if err := b.endPage(level); err != nil {
				return root, level, err
			}
		}
	}
}

// Load returns the manifest of a content that is not inline. get returns the
// pages with the given IDs (at most 128), in their order; they need to stay
// valid only until it is called again; a page that is not there is nil. Each
// page is checked against its ID, and counts and sizes against what names them,
// so that hostile pages make Load fail before it allocates more than Count
// references.
//
// Errors: get's as they are; KindDamaged for a page that is not there or not
// what its ID says; KindLimit above MaxRefs; KindInvalid for an inline content or
// one that CheckRefs refuses. A caller who cannot afford c.Count references (40
// bytes each) checks it before, or uses Walk.
func Load(h *Hasher, c sendonce.Content, get func(ids []sendonce.ID) ([][]byte, error)) (sendonce.Manifest, error) {
	var m sendonce.Manifest
	err := Walk(h, c, 0, 0, get, func(refs []sendonce.Ref) error {
		m = append(m, refs...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Walk gives fn the n references of a content that begin with number first, in
// order and in several calls; n = 0 means to the end. refs is valid only during
// the call. Pages outside the range are not asked for; of the others those above
// the leaves are held in memory, the leaves batch by batch. A range that reaches
// past the end is KindInvalid; for get and other errors see Load. fn's error ends
// Walk and is returned as it is.
func Walk(h *Hasher, c sendonce.Content, first, n uint64, get func(ids []sendonce.ID) ([][]byte, error), fn func(refs []sendonce.Ref) error) error {
	const op = "walk content"
	count := uint64(len(c.Refs))
	switch {
	case len(c.Inline) > 0:
		return fail(op, sendonce.KindInvalid, "it is kept inline and has no manifest")
	case c.IsTree():
		count = c.Count
		if count > MaxRefs {
			return fail(op, sendonce.KindLimit, "%d references, the limit is %d", count, MaxRefs)
		}
		if c.Level > MaxLevel || count == 0 || len(c.Refs) > 0 {
			return fail(op, sendonce.KindInvalid, "a tree of level %d with %d references and %d direct ones", c.Level, count, len(c.Refs))
		}
	}
	if first > count || n > count-first {
		return fail(op, sendonce.KindInvalid, "references %d+%d of %d", first, n, count)
	}
	if n == 0 {
		n = count - first
	}
	if n == 0 {
		return nil
	}
	if !c.IsTree() {
		if err := CheckRefs(c.Refs); err != nil {
			return err
		}
		return fn(c.Refs[first : first+n])
	}
	w := &walker{h: h, get: get, fn: fn, skip: first, left: n}
	level := []Entry{{ID: c.Root, Bytes: -1, Refs: count}}
	for l := c.Level; l > 0; l-- {
		next, err := w.upper(l, level)
		if err != nil {
			return err
		}
		level = next
	}
	return w.leaves(level)
}

// walker goes down a tree. The entries that it is given always cover a run of
// references; skip says how many of them come before the range, left how many
// are in it.
type walker struct {
	h          *Hasher
	get        func(ids []sendonce.ID) ([][]byte, error)
	fn         func(refs []sendonce.Ref) error
	skip, left uint64
	parsed     []Entry
	refs       []sendonce.Ref
}

// upper reads pages of a level above the leaves and returns their entries that
// the range touches.
func (w *walker) upper(level uint8, pages []Entry) ([]Entry, error) {
	var out []Entry
	var before uint64 // references passed, counted from those of the first page
	skipped := uint64(0)
	err := w.read(level, pages, func(entries []Entry) error {
		for _, e := range entries {
			switch {
			case before+e.Refs <= w.skip:
				skipped += e.Refs
			case before < w.skip+w.left:
				out = append(out, e)
			}
			before += e.Refs
		}
		return nil
	})
	w.skip -= skipped
	return out, err
}

// leaves reads leaves and hands out their references.
func (w *walker) leaves(pages []Entry) error {
	return w.read(0, pages, func(entries []Entry) error {
		drop := min(w.skip, uint64(len(entries)))
		w.skip -= drop
		entries = entries[drop:]
		entries = entries[:min(w.left, uint64(len(entries)))]
		w.left -= uint64(len(entries))
		if len(entries) == 0 {
			return nil
		}
		w.refs = w.refs[:0]
		for _, e := range entries {
			w.refs = append(w.refs, sendonce.Ref{ID: e.ID, Size: e.Bytes})
		}
		return w.fn(w.refs)
	})
}

// read fetches pages in batches, checks each against the entry that names it,
// and gives fn the entries of each, valid during the call.
func (w *walker) read(level uint8, pages []Entry, fn func(entries []Entry) error) error {
	for len(pages) > 0 {
		batch := pages[:min(len(pages), pageBatch)]
		pages = pages[len(batch):]
		ids := make([]sendonce.ID, len(batch))
		for i, e := range batch {
			ids[i] = e.ID
		}
		got, err := w.get(ids)
		if err != nil {
			return err
		}
		if len(got) != len(ids) {
			return fail("read manifest pages", sendonce.KindInternal, "%d pages were asked for, %d came", len(ids), len(got))
		}
		for i, data := range got {
			if err := w.check(level, batch[i], data); err != nil {
				return err
			}
			if err := fn(w.parsed); err != nil {
				return err
			}
		}
	}
	return nil
}

// check parses a page into w.parsed and compares it with the entry that names
// it. The root is named by a Content, which does not tell its bytes (-1).
func (w *walker) check(level uint8, want Entry, data []byte) error {
	bad := func(format string, args ...any) error {
		return &sendonce.Error{Op: "read manifest page", Path: want.ID.String(), Kind: sendonce.KindDamaged, Detail: fmt.Sprintf(format, args...)}
	}
	if data == nil {
		return bad("it is not there")
	}
	if len(data) > MaxPage || w.h.Page(data) != want.ID {
		return bad("its bytes do not match its ID")
	}
	got, entries, err := ParsePage(w.parsed[:0], data)
	if err != nil {
		return &sendonce.Error{Op: "walk content", Path: want.ID.String(), Err: err}
	}
	w.parsed = entries
	var bytes int64
	var refs uint64
	for _, e := range entries {
		bytes += e.Bytes
		refs += e.Refs
	}
	if got != level || refs != want.Refs || want.Bytes >= 0 && bytes != want.Bytes {
		return bad("it has level %d, %d references and %d bytes; expected were %d, %d and %d", got, refs, bytes, level, want.Refs, want.Bytes)
	}
	return nil
}
