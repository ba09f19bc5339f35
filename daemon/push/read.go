package push

import (
	"errors"
	"io"
	"time"

	"sendonce"
	"sendonce/chunking"
	"sendonce/content"
	"sendonce/internal/fsys"
)

// smallFile is the size up to which a file is read whole before it is offered;
// larger ones are offered while they are read.
const smallFile = 1 << 20

// maxAttempts is how often a file that changes while it is read is read.
const maxAttempts = 3

// errChanged says that a file changed while it was read.
var errChanged = errors.New("it changed while it was read")

// reader is what one reading goroutine reuses.
type reader struct {
	p       *Push
	chunker *chunking.Chunker
	scratch []byte
}

// read is one reading goroutine: it cuts and hashes files, several at once.
func (p *Push) read() error {
	c, err := chunking.New(p.o.Params)
	if err != nil {
		return err
	}
	r := &reader{p: p, chunker: c, scratch: make([]byte, 0, p.o.Params.Max)}
	for {
		select {
		case j, ok := <-p.todo:
			if !ok {
				return nil
			}
			if err := r.job(j); err != nil {
				return err
			}
		case <-p.ctx.Done():
			return nil
		}
	}
}

// job reads one file until an attempt is not disturbed. Only the push's own end
// is an error; the file's troubles are the job's.
func (r *reader) job(j *Job) error {
	var fatal error
	for j.attempts = 1; ; j.attempts++ {
		j.err, fatal = r.attempt(j)
		if fatal != nil || !errors.Is(j.err, errChanged) {
			break
		}
		if j.attempts == maxAttempts {
			j.err = &sendonce.Error{Op: "read", Path: j.Path(), Kind: sendonce.KindBusy, Detail: "busy: it changed each time it was read"}
			break
		}
		if fatal = r.forget(j); fatal != nil {
			break
		}
		wait := time.NewTimer(r.p.o.BusyWait * time.Duration(j.attempts))
		select {
		case <-wait.C:
		case <-r.p.ctx.Done():
			wait.Stop()
			return nil
		}
	}
	if j.err != nil && j.stream == nil {
		r.p.drop(j.pieces...)
		j.pieces = nil
	}
	if j.stream != nil {
		close(j.stream)
	} else {
		close(j.known)
	}
	if fatal != nil && r.p.ctx.Err() != nil {
		return nil
	}
	return fatal
}

// Path of the job's file, for errors.
func (j *Job) Path() string { return j.Change.Name }

// forget makes an attempt's pieces void.
func (r *reader) forget(j *Job) error {
	if j.stream == nil {
		r.p.drop(j.pieces...)
		j.pieces = nil
		return nil
	}
	return r.send(j, piece{reset: true})
}

func (r *reader) send(j *Job, pc piece) error {
	if j.stream == nil {
		j.pieces = append(j.pieces, pc)
		return nil
	}
	select {
	case j.stream <- pc:
		return nil
	case <-r.p.ctx.Done():
		return r.p.ctx.Err()
	}
}

// attempt reads the file once. The first error is about the file, the second
// ends the push.
func (r *reader) attempt(j *Job) (error, error) {
	j.ReadNS = r.p.o.Now().UnixNano()
	f, err := j.Open()
	if err != nil {
		return err, nil
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err, nil
	}
	if before.Type != fsys.Regular {
		return errChanged, nil
	}
	if before, err = r.rest(f, before); err != nil {
		return err, nil
	}
	if before.Size > smallFile && j.stream == nil {
		j.stream = make(chan piece, 8)
		close(j.known)
	}
	j.Manifest, j.inline, j.Length = nil, nil, 0
	r.p.Stats.FilesRead.Add(1)
	r.chunker.Reset(f, before.Size)
	for {
		c, err := r.chunker.Next(r.scratch)
		if err == io.EOF {
			break
		}
		if err != nil {
			if now, e := f.Stat(); e == nil && changed(before, now) {
				err = errChanged // the trouble may come from that: cut short, say
			}
			return err, nil
		}
		pc := piece{ref: sendonce.Ref{Size: c.Length}}
		j.Length += c.Length
		if !c.Zero {
			pc.ref.ID = r.p.o.Hasher.Chunk(c.Data)
			r.p.Stats.BytesRead.Add(c.Length)
		}
		j.Manifest = append(j.Manifest, pc.ref)
		if before.Size <= sendonce.MaxInline {
			j.inline = append(j.inline, c.Data...)
			continue
		}
		if !c.Zero && !j.HashOnly {
			if err := r.p.mem.acquire(room(len(c.Data)), j.seq); err != nil {
				return nil, err
			}
			pc.data = r.p.buffers.get(len(c.Data))
			copy(pc.data, c.Data)
		}
		if err := r.send(j, pc); err != nil {
			r.p.drop(pc)
			return nil, err
		}
	}
	after, err := f.Stat()
	if err != nil {
		return err, nil
	}
	if changed(before, after) || j.Length != after.Size {
		return errChanged, nil
	}
	j.Info = after
	if len(j.inline) > 0 {
		j.Content = sendonce.Content{Inline: j.inline}
		return nil, nil
	}
	j.Content, err = content.Describe(r.p.o.Hasher, j.Manifest, nil)
	return err, nil
}

// tick is the coarsest step in which file systems that count in nanoseconds
// keep time (a clock interrupt, 10 ms at most).
const tick = 20 * time.Millisecond

// rest waits until a file that was written just now is a tick old. A further
// write within the same tick would leave no trace in its times, and so could be
// mixed with what is read (P7).
func (r *reader) rest(f fsys.File, info fsys.Info) (fsys.Info, error) {
	age := time.Duration(r.p.o.Now().UnixNano() - info.CTimeNS)
	if age >= tick || age < -tick { // a clock that is off proves nothing
		return info, nil
	}
	t := time.NewTimer(tick)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.p.ctx.Done():
	}
	return f.Stat()
}

// changed reports whether a file was written between two stats. A changed
// ctime alone counts: a tool may have put size and mtime back.
func changed(a, b fsys.Info) bool {
	return a.Ino != b.Ino || a.Dev != b.Dev || a.Size != b.Size || a.MTimeNS != b.MTimeNS || a.CTimeNS != b.CTimeNS
}
