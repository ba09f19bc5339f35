package pass

import (
	"errors"

	"sendonce"
	"sendonce/daemon/plan"
	"sendonce/daemon/scan"
)

// deletes sends the tombstones, after every move has been seen.
func (p *pass) deletes() error {
	if wait, err := p.brake(); wait || err != nil {
		return err
	}
	for _, ch := range p.removed {
		if err := p.delete(ch); err != nil {
			return err
		}
	}
	p.removed = nil
	return nil
}

func (p *pass) delete(ch scan.Change) error {
	if p.role == sendonce.RolePushOnly && !p.names[ch.Path] {
		// What a push-only device deletes here stays on the server: that is what
		// the role is for.
		return p.out.dropLocal(p, ch.Node)
	}
	it := &item{change: ch, local: plan.Local{Gone: true, Node: ch.Node, Parent: ch.Parent, Name: ch.Name, Kind: ch.Type}}
	if err := p.decide(it); err != nil {
		return err
	}
	if it.dec.Verb == plan.Delete && ch.Type == sendonce.KindDir {
		used, err := p.inUse(ch.Node)
		if err != nil {
			return err
		}
		if used {
			it.dec = plan.Decision{Verb: plan.Conflict, Node: ch.Node, Reason: conflictText(reasonNotEmpty)}
		}
	}
	return p.act(it)
}

// inUse reports whether the server will still have something in a directory
// after what this round has deleted and moved so far.
func (p *pass) inUse(dir sendonce.NodeID) (used bool, err error) {
	err = p.rd.RemoteChildren(dir, func(n *sendonce.Node) (bool, error) {
		used = !p.places.isVacated(n.ID)
		return !used, nil
	})
	return used, err
}

// brake stops a pass that would delete too much at once (P5). wait says that a
// further round will decide, which looks at the whole folder.
func (p *pass) brake() (wait bool, err error) {
	gone := int64(len(p.removed))
	if gone == 0 {
		return false, nil
	}
	// Rows below a directory that is gone were not compared with anything.
	known := p.report.Known
	dirs := make(map[sendonce.NodeID]bool)
	for _, ch := range p.removed {
		if ch.Type == sendonce.KindDir {
			dirs[ch.Node] = true
		}
	}
	for _, ch := range p.removed {
		if dirs[ch.Parent] {
			known++
		}
	}
	err = plan.Brake(gone, known)
	switch {
	case err != nil && p.Dirs != nil: // a part of the folder proves nothing
		p.Dirs, p.removed = nil, nil
		p.retry.Store(true)
		return true, nil
	case p.accepted || p.Accepted(!p.DryRun): // one pass that deletes uses it up, large or small
		p.accepted = true
		return false, nil
	case err != nil:
		return false, p.pause(err)
	}
	return false, nil
}

// pause stops the folder until the user has looked at it.
func (p *pass) pause(why error) error {
	if p.DryRun {
		return why
	}
	f := p.Folder
	f.Paused, f.PauseReason = true, why.Error()
	return errors.Join(why, p.State.SetFolder(f))
}
