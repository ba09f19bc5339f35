package push

import (
	"errors"
	"io"

	"sendonce"
	"sendonce/protocol"
)

// commitFrame is a commit that is not answered.
type commitFrame struct {
	op   uint64
	id   sendonce.OpID
	jobs []*Job
}

// answers reads what the proxy says until it ends the stream.
func (p *Push) answers() error {
	for {
		m, err := p.st.Next()
		if errors.Is(err, io.EOF) && p.said.Load() {
			return nil
		}
		if err != nil {
			if p.ctx.Err() != nil {
				return nil
			}
			return &sendonce.Error{Op: "push", Kind: sendonce.KindUnavailable, Detail: "the connection to the server broke", Hint: "it is safe to run the same command again", Err: err}
		}
		if err := p.answer(m); err != nil {
			return err
		}
	}
}

func (p *Push) answer(m protocol.Message) error {
	switch m := m.(type) {
	case *protocol.PushReady, *protocol.StoredAck:
		return nil
	case *protocol.Missing:
		if m.IDs != nil {
			return p.commitAnswer(m.Op, func(c commitFrame) error {
				p.h.Failed(c.jobs, Failure{Missing: m.IDs})
				return nil
			})
		}
		return p.missing(m)
	case *protocol.Committed:
		return p.commitAnswer(m.Op, func(c commitFrame) error {
			if m.Receipt.Folder != p.o.Folder || m.Receipt.Op != c.id || !m.Receipt.Verify(p.o.ServerKey) {
				return broken("the receipt of a commit is not signed by the server")
			}
			p.Stats.Changes.Add(int64(len(c.jobs)))
			return p.h.Committed(c.jobs, m.Receipt)
		})
	case *protocol.Conflict:
		return p.commitAnswer(m.Op, func(c commitFrame) error {
			p.h.Failed(c.jobs, Failure{Nodes: m.Nodes})
			return nil
		})
	case *protocol.Fail:
		if m.Op != 0 && m.Kind == sendonce.KindNotFound { // the base of an edit script
			return p.commitAnswer(m.Op, func(c commitFrame) error {
				p.h.Failed(c.jobs, Failure{NoBase: true})
				return nil
			})
		}
		return m.Err()
	}
	return broken("an answer of an unexpected type")
}

func broken(detail string) error {
	return &sendonce.Error{Op: "push", Kind: sendonce.KindInvalid, Detail: detail}
}

// missing hands the missing chunks of the oldest unanswered offer frame to the
// packer.
func (p *Push) missing(m *protocol.Missing) error {
	f, ok := p.frames.peek() // never a mark: those go with the frame before them
	if !ok || f.op != m.Op {
		return broken("an answer to an offer that was not made")
	}
	for i, pc := range f.pieces {
		if pc.data == nil || !m.IsMissing(i) {
			p.drop(pc)
			continue
		}
		p.Stats.ChunksMissing.Add(1)
		p.Stats.BytesMissing.Add(pc.ref.Size)
		if err := p.packs.add(pc.data); err != nil {
			return err
		}
	}
	p.frames.pop()
	for {
		f, ok := p.frames.peek()
		if !ok || !f.mark {
			return nil
		}
		if err := p.packs.flush(); err != nil {
			return err
		}
		p.frames.pop()
	}
}

func (p *Push) commitAnswer(op uint64, then func(commitFrame) error) error {
	c, ok := p.commits.peek()
	if !ok || c.op != op {
		return broken("an answer to a commit that was not sent")
	}
	err := then(c)
	p.commits.pop()
	<-p.inFlight
	return err
}
