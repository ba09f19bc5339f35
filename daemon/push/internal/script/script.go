// Package script makes the edit script of an offer while the file is still being
// read.
//
// Invariant: the script, applied to the base with what was not kept, gives the
// references that were added. What it does not promise: the shortest one;
// content.Diff, which needs the whole list, does better.
//
// Read script.go.
package script

import "sendonce"

// Differ compares a growing manifest with a base: each reference is kept if the
// base holds it at or after the point reached, else inserted. What it inserts needlessly costs an ID on the
// wire and never a chunk.
//
// A reference found far ahead is believed only when a few in a row agree, so that
// one chunk which moved, or occurs often, does not give up all that lies between.
type Differ struct {
	base  sendonce.Manifest
	pos   int                   // references before it are kept or skipped
	index map[sendonce.ID]int32 // first position of each ID in the base
	edits []sendonce.Edit
	cur   sendonce.Edit

	far   int // where the base would go on if the last references are a move ahead
	agree int // how many of them there are
}

const (
	nearBy  = 64 // references that are skipped at once
	farRuns = 3  // references in a row that prove a larger move
)

// New compares with base, which is kept and not changed.
func New(base sendonce.Manifest) *Differ {
	d := &Differ{base: base, index: make(map[sendonce.ID]int32, len(base))}
	for i := len(base) - 1; i >= 0; i-- {
		if !base[i].ID.IsZero() {
			d.index[base[i].ID] = int32(i)
		}
	}
	return d
}

// Add adds the next reference and reports whether it is kept from the base.
func (d *Differ) Add(r sendonce.Ref) bool {
	at := d.find(r)
	if at < 0 {
		d.cur.Insert++
		return false
	}
	if at != d.pos || d.cur.Insert > 0 {
		d.flush()
		d.cur.Skip = uint64(at - d.pos)
	}
	d.cur.Keep++
	d.pos = at + 1
	return true
}

// find returns the position in the base to keep r from, or -1.
func (d *Differ) find(r sendonce.Ref) int {
	if d.pos < len(d.base) && d.base[d.pos] == r {
		d.agree = 0
		return d.pos
	}
	at := -1
	switch i, ok := d.index[r.ID]; {
	case d.agree > 0 && d.far < len(d.base) && d.base[d.far] == r:
		at = d.far
	case ok && int(i) > d.pos && d.base[i] == r:
		at, d.agree = int(i), 0
	default:
		d.agree = 0
		return -1
	}
	if at-d.pos <= nearBy || d.agree+1 >= farRuns {
		d.agree = 0
		return at
	}
	d.far, d.agree = at+1, d.agree+1
	return -1
}

func (d *Differ) flush() {
	if d.cur != (sendonce.Edit{}) {
		d.edits = append(d.edits, d.cur)
		d.cur = sendonce.Edit{}
	}
}

// Len returns how many edits wait to be taken.
func (d *Differ) Len() int { return len(d.edits) }

// Take returns the script since the last Take; it belongs to the caller.
func (d *Differ) Take() []sendonce.Edit {
	d.flush()
	e := d.edits
	d.edits = nil
	return e
}
