package pass

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"sendonce"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
)

// collector gathers what a pass has to report and the state rows that need no
// commit. The scan and the push feed it from different goroutines.
type collector struct {
	would atomic.Int64 // changes that a dry run would commit

	mu       sync.Mutex
	clashes  map[string]Note
	left     map[string]Note
	batch    state.Batch
	unsynced state.Batch // stat cache only: losing it costs a second look
	err      error
}

// batchRows is how many rows are written at once.
const batchRows = 500

func (o *collector) skip(path, reason string) { o.note(&o.left, Note{Path: path, Reason: reason}) }

func (o *collector) busy(path, reason string) {
	o.note(&o.left, Note{Path: path, Reason: reason, Busy: true})
}

func (o *collector) conflict(path, reason string) {
	o.note(&o.clashes, Note{Path: path, Reason: reason})
}

func (o *collector) note(m *map[string]Note, n Note) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if *m == nil {
		*m = make(map[string]Note)
	}
	(*m)[n.Path] = n
}

// fail keeps the first error for flush.
func (o *collector) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

// local refreshes a row of the stat cache: same content, new stat.
func (o *collector) local(p *pass, row state.Local, info fsys.Info) error {
	row.Stat = statOf(info)
	return o.row(p, row)
}

// row stores a Local row whose content Synced has already.
func (o *collector) row(p *pass, row state.Local) error {
	if p.DryRun {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unsynced.SetLocal = append(o.unsynced.SetLocal, row)
	return o.writeFull(p)
}

// agree stores that the server has what is here.
func (o *collector) agree(p *pass, remote sendonce.Node, it *item) error {
	if p.DryRun {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batch.SetSynced = append(o.batch.SetSynced, remote)
	o.batch.SetLocal = append(o.batch.SetLocal, it.row(remote.ID))
	if o.batch.SetManifest == nil {
		o.batch.SetManifest = make(map[sendonce.NodeID]sendonce.Manifest)
	}
	it.manifest(&o.batch, remote.ID)
	return o.writeFull(p)
}

// forget drops the rows of a node that is gone on both sides.
func (o *collector) forget(p *pass, id sendonce.NodeID) error {
	if p.DryRun {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batch.DropLocal = append(o.batch.DropLocal, id)
	o.batch.DropSynced = append(o.batch.DropSynced, id)
	return o.writeFull(p)
}

// writeFull writes when enough is gathered.
func (o *collector) writeFull(p *pass) error {
	if len(o.batch.SetLocal)+len(o.batch.DropLocal)+len(o.unsynced.SetLocal) < batchRows {
		return nil
	}
	return o.write(p)
}

// flush writes what is gathered and returns the first error of the pass.
func (o *collector) flush(p *pass) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.write(p); err != nil {
		return err
	}
	return o.err
}

func (o *collector) write(p *pass) error {
	if b := o.unsynced; len(b.SetLocal) > 0 {
		o.unsynced = state.Batch{}
		if err := p.State.ApplyUnsynced(p.Folder.ID, &b); err != nil {
			return err
		}
	}
	if b := o.batch; len(b.SetLocal)+len(b.DropLocal) > 0 {
		o.batch = state.Batch{}
		return p.State.Apply(p.Folder.ID, &b)
	}
	return nil
}

// dropLocal forgets that a node was here; what the server has stays agreed on.
func (o *collector) dropLocal(p *pass, id sendonce.NodeID) error {
	if p.DryRun {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batch.DropLocal = append(o.batch.DropLocal, id)
	return o.writeFull(p)
}

// notes returns the conflicts and what was skipped, by path.
func (o *collector) notes() (conflicts, skipped []Note) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return sorted(o.clashes), sorted(o.left)
}

func sorted(m map[string]Note) []Note {
	out := make([]Note, 0, len(m))
	for _, path := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[path])
	}
	return out
}
