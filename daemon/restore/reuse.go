package restore

import (
	"context"
	"io"
	"slices"

	"sendonce"
	"sendonce/chunking"
	"sendonce/internal/fsys"
)

// maxReuse bounds how many chunks of the target are remembered (about 100 bytes
// each).
const maxReuse = 400_000

// reuse knows the chunks of the files that the target holds already under the
// names that are restored, so that a second restore fetches only what differs.
//
// Files are replaced in order, so a chunk of file j serves file i only if j comes
// no earlier, or stays as it is. Of equal chunks the last one is remembered, which
// serves the most files.
type reuse struct {
	o      Options
	files  map[int][]sendonce.Ref // by position in the list of files
	chunks map[sendonce.ID]place
	kept   map[int]bool // found to be as they should be

	// Owned by the writing goroutine: the file that read came from last.
	from   int
	open   fsys.File
	buffer []byte
	paths  []entry
}

// place is where a chunk lies in the target.
type place struct {
	file int
	off  int64
	size int64
}

// scanTarget cuts and hashes those files of the target that are to be restored.
func scanTarget(ctx context.Context, o Options, files []entry) (*reuse, error) {
	r := &reuse{o: o, files: make(map[int][]sendonce.Ref), chunks: make(map[sendonce.ID]place), kept: make(map[int]bool), paths: files, from: -1}
	top, err := o.Target.ReadDir("")
	if err != nil {
		return nil, err
	}
	if len(top) == 0 {
		return r, nil
	}
	ck, err := chunking.New(o.Params)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 0, o.Params.Max)
	for i := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e := &files[i]
		if e.node.Kind != sendonce.KindFile || e.node.Content.IsEmpty() || len(e.node.Content.Inline) > 0 {
			continue
		}
		r.scan(ck, buf, i)
	}
	return r, nil
}

// scan remembers one file; one that cannot be read is simply fetched.
func (r *reuse) scan(ck *chunking.Chunker, buf []byte, file int) {
	f, err := r.o.Target.Open(r.paths[file].path)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return
	}
	var refs []sendonce.Ref
	ck.Reset(f, info.Size)
	for {
		c, err := ck.Next(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return
		}
		ref := sendonce.Ref{Size: c.Length}
		if !c.Zero {
			ref.ID = r.o.Hasher.Chunk(c.Data)
			if _, ok := r.chunks[ref.ID]; ok || len(r.chunks) < maxReuse {
				r.chunks[ref.ID] = place{file: file, off: c.Offset, size: c.Length}
			}
		}
		refs = append(refs, ref)
	}
	r.files[file] = refs
}

// same reports whether the target holds file i as it should be. It must be asked
// for the files in order, before has.
func (r *reuse) same(i int, refs []sendonce.Ref) bool {
	have, ok := r.files[i]
	if !ok || !slices.Equal(have, refs) {
		return false
	}
	r.kept[i] = true
	return true
}

// has reports whether the target can provide a chunk for file i.
func (r *reuse) has(i int, ref sendonce.Ref) bool {
	p, ok := r.chunks[ref.ID]
	return ok && p.size == ref.Size && (p.file >= i || r.kept[p.file])
}

// read returns a chunk from the target, valid until the next call.
func (r *reuse) read(ref sendonce.Ref) ([]byte, error) {
	p, ok := r.chunks[ref.ID]
	if !ok {
		return nil, nil
	}
	if r.from != p.file {
		r.close()
		f, err := r.o.Target.Open(r.paths[p.file].path)
		if err != nil {
			return nil, err
		}
		r.from, r.open = p.file, f
	}
	if int64(cap(r.buffer)) < p.size {
		r.buffer = make([]byte, p.size)
	}
	data := r.buffer[:p.size]
	if _, err := r.open.ReadAt(data, p.off); err != nil && err != io.EOF {
		return nil, err
	}
	if r.o.Hasher.Chunk(data) != ref.ID {
		return nil, &sendonce.Error{Op: "restore", Path: r.paths[p.file].path, Kind: sendonce.KindBusy, Detail: "the file in the target changed while restoring",
			Hint: "run the same command again"}
	}
	return data, nil
}

func (r *reuse) close() {
	if r.open != nil {
		r.open.Close()
		r.open, r.from = nil, -1
	}
}
