package push

import "sendonce"

// differ makes an edit script while the new manifest is still growing (content.Diff
// needs the whole of it): each reference is kept if the base holds it at or after
// the point reached, else inserted. What it inserts needlessly costs an ID on the
// wire and never a chunk.
//
// A reference found far ahead is believed only when a few in a row agree, so that
// one chunk which moved, or occurs often, does not give up all that lies between.
type differ struct {
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

func newDiffer(base sendonce.Manifest) *differ {
	d := &differ{base: base, index: make(map[sendonce.ID]int32, len(base))}
	for i := len(base) - 1; i >= 0; i-- {
		if !base[i].ID.IsZero() {
			d.index[base[i].ID] = int32(i)
		}
	}
	return d
}

// add reports whether r is kept from the base.
func (d *differ) add(r sendonce.Ref) bool {
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
func (d *differ) find(r sendonce.Ref) int {
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

func (d *differ) flush() {
	if d.cur != (sendonce.Edit{}) {
		d.edits = append(d.edits, d.cur)
		d.cur = sendonce.Edit{}
	}
}

// take returns the script since the last take.
func (d *differ) take() []sendonce.Edit {
	d.flush()
	e := d.edits
	d.edits = nil
	return e
}
