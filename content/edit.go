package content

import (
	"slices"

	"sendonce"
)

// Apply returns the manifest that an edit script makes of base: see Applier. The
// result is new memory.
func Apply(base sendonce.Manifest, edits []sendonce.Edit, inserted []sendonce.Ref, max int) (sendonce.Manifest, error) {
	a := NewApplier(base, max)
	if err := a.Add(edits, inserted); err != nil {
		return nil, err
	}
	return a.Manifest(), nil
}

// Applier applies an edit script that comes in several parts.
type Applier struct {
	base sendonce.Manifest // what is left of it
	out  sendonce.Manifest
	max  int
}

// NewApplier begins with a base, which is not changed and must not change, and
// the largest number of references that the result may have.
func NewApplier(base sendonce.Manifest, max int) *Applier {
	return &Applier{base: base, max: max}
}

// Add applies the next part of the script; its edits consume exactly the given
// references. Nothing is believed and nothing allocated before the whole part has
// been checked; after an error the Applier is as before. Errors: KindInvalid for
// a script that reaches past the end of the base, for counts that do not fit the
// references, and for references that CheckRefs refuses; KindLimit for a result
// of more than max references.
func (a *Applier) Add(edits []sendonce.Edit, inserted []sendonce.Ref) error {
	const op = "apply edits"
	if err := CheckRefs(inserted); err != nil {
		return err
	}
	base, refs, room := uint64(len(a.base)), uint64(len(inserted)), uint64(max(a.max-len(a.out), 0))
	grow := room
	for i, e := range edits {
		if e.Skip > base || e.Keep > base-e.Skip {
			return fail(op, sendonce.KindInvalid, "edit %d reaches past the end of the base", i)
		}
		if e.Insert > refs {
			return fail(op, sendonce.KindInvalid, "edit %d inserts more references than there are", i)
		}
		// Both are lengths of slices by now: the sum cannot overflow.
		if e.Keep+e.Insert > room {
			return fail(op, sendonce.KindLimit, "the manifest would have more than %d references", a.max)
		}
		base -= e.Skip + e.Keep
		refs -= e.Insert
		room -= e.Keep + e.Insert
	}
	if refs != 0 {
		return fail(op, sendonce.KindInvalid, "%d references are not used", refs)
	}
	a.out = slices.Grow(a.out, int(grow-room))
	for _, e := range edits {
		a.base = a.base[e.Skip:]
		a.out = append(append(a.out, a.base[:e.Keep]...), inserted[:e.Insert]...)
		a.base = a.base[e.Keep:]
		inserted = inserted[e.Insert:]
	}
	return nil
}

// Manifest returns the result so far; the rest of the base is not part of it.
// After the last part it belongs to the caller.
func (a *Applier) Manifest() sendonce.Manifest { return a.out }
