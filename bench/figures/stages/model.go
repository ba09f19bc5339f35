package stages

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/measure"
	"sendonce/blobstore/pebbleblob"
	"sendonce/chunking"
	"sendonce/content"
	"sendonce/indexdb"
	"sendonce/indexdb/pebbleidx"
	"sendonce/internal/fsys"
)

// Stage is one part of a push.
type Stage struct {
	Name string  `json:"name"`
	Side string  `json:"side"` // "client" or "proxy"
	CPU  float64 `json:"cpu"`  // seconds for a GB (10^9 bytes) of content
	Wall float64 `json:"wall"` // likewise
}

// window is how much content is in memory at once.
const window = 128 << 20

// model is the content, cut and packed, that stages work on.
type model struct {
	scratch string // directory
	repeats int    // of window
	data    []byte
	chunks  [][]byte
	packs   [][]byte // of chunks, not compressed
	sizes   [][]uint32
	ids     [][]sendonce.ID
	hasher  *content.Hasher
	stages  []Stage
}

// Run measures every stage but the link, one after another, on about total
// bytes that do not compress. scratch is a directory on the disk to measure;
// file is one to read.
func Run(ctx context.Context, scratch, file string, total int64) ([]Stage, error) {
	m := &model{scratch: scratch, repeats: max(1, int(total/window)), data: make([]byte, window), hasher: content.NewHasher([32]byte{1})}
	if _, err := io.ReadFull(corpus.Source(11), m.data); err != nil {
		return nil, err
	}
	type step struct {
		name, side string
		run        func(ctx context.Context) (int64, error) // returns the bytes worked on
	}
	for _, s := range []step{
		{"read", "client", func(context.Context) (int64, error) { return m.read(file) }},
		{"chunk", "client", m.cut},
		{"hash", "client", m.hash},
		{"compress", "client", m.compress},
		{"decode", "proxy", m.decode},
		{"verify", "proxy", m.hash},
		{"store", "proxy", m.store},
		{"index", "proxy", m.index},
	} {
		runtime.GC()
		cpu, begun := measure.SelfCPU(), time.Now()
		n, err := s.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", s.name, err)
		}
		gb := float64(n) / 1e9
		m.stages = append(m.stages, Stage{s.name, s.side, (measure.SelfCPU() - cpu).Seconds() / gb, time.Since(begun).Seconds() / gb})
		if s.name == "chunk" {
			m.pack()
		}
	}
	return m.stages, nil
}

func (m *model) read(path string) (int64, error) {
	t, err := fsys.OpenTree(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer t.Close()
	f, err := t.Open(filepath.Base(path))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 128<<10)
	var off int64
	for {
		n, err := f.ReadAt(buf, off)
		off += int64(n)
		if err == io.EOF || err == nil && off >= int64(m.repeats)*window {
			return off, nil
		}
		if err != nil {
			return off, err
		}
	}
}

func (m *model) cut(context.Context) (int64, error) {
	c, err := chunking.New(sendonce.DefaultParams)
	if err != nil {
		return 0, err
	}
	scratch := make([]byte, 0, sendonce.DefaultParams.Max)
	for range m.repeats {
		c.Reset(bytes.NewReader(m.data), window)
		m.chunks = m.chunks[:0]
		for off := 0; ; {
			k, err := c.Next(scratch)
			if err == io.EOF {
				break
			}
			if err != nil {
				return 0, err
			}
			m.chunks = append(m.chunks, m.data[off:off+int(k.Length)])
			off += int(k.Length)
		}
	}
	return int64(m.repeats) * window, nil
}

// pack groups the chunks as the daemon does; it is not measured.
func (m *model) pack() {
	var raw []byte
	var sizes []uint32
	var ids []sendonce.ID
	flush := func() {
		if len(raw) == 0 {
			return
		}
		m.packs, m.sizes, m.ids = append(m.packs, raw), append(m.sizes, sizes), append(m.ids, ids)
		raw, sizes, ids = nil, nil, nil
	}
	for _, c := range m.chunks {
		if len(raw)+len(c) > sendonce.PackTarget {
			flush()
		}
		raw = append(raw, c...)
		sizes = append(sizes, uint32(len(c)))
		ids = append(ids, m.hasher.Chunk(c))
	}
	flush()
}

func (m *model) hash(context.Context) (int64, error) {
	for range m.repeats {
		for _, c := range m.chunks {
			if m.hasher.Chunk(c).IsZero() {
				return 0, fmt.Errorf("a zero ID")
			}
		}
	}
	return int64(m.repeats) * window, nil
}

func (m *model) compress(context.Context) (int64, error) {
	p, err := content.NewPacker(content.Default)
	if err != nil {
		return 0, err
	}
	out := make([]byte, 0, 2*sendonce.PackTarget)
	for range m.repeats {
		for _, raw := range m.packs {
			if enc, _ := p.Encode(out[:0], raw); enc != content.EncodingRaw {
				return 0, fmt.Errorf("random bytes were compressed")
			}
		}
	}
	return int64(m.repeats) * window, nil
}

func (m *model) decode(context.Context) (int64, error) {
	u, err := content.NewUnpacker()
	if err != nil {
		return 0, err
	}
	out := make([]byte, 0, 2*sendonce.PackTarget)
	for range m.repeats {
		for _, raw := range m.packs {
			if _, err := u.Decode(out[:0], content.EncodingRaw, raw, len(raw)); err != nil {
				return 0, err
			}
		}
	}
	return int64(m.repeats) * window, nil
}

// storeBatch is how many packs the proxy makes durable at once.
const storeBatch = 32

// store encodes records and puts them, as the proxy's vault does.
func (m *model) store(ctx context.Context) (int64, error) {
	dir := filepath.Join(m.scratch, "store")
	s, err := pebbleblob.Open(vfs.Default, dir, pebbleblob.Options{Fatal: fatal})
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for range m.repeats {
		for from := 0; from < len(m.packs); from += storeBatch {
			var records [][]byte
			for i := from; i < min(from+storeBatch, len(m.packs)); i++ {
				r := content.Record{Kind: content.RecordChunks, Tenant: sendonce.DefaultTenant, IDs: m.ids[i], Sizes: m.sizes[i], Payload: m.packs[i]}
				records = append(records, content.AppendRecord(make([]byte, 0, r.Size()), &r))
			}
			if _, err := s.Put(ctx, records); err != nil {
				s.Close()
				return 0, err
			}
		}
	}
	return int64(m.repeats) * window, s.Close()
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "figures: the disk failed:", err)
	os.Exit(1)
}

// index asks for every chunk and records where it is, a durable batch for each
// group of packs.
func (m *model) index(ctx context.Context) (int64, error) {
	dir := filepath.Join(m.scratch, "index")
	e, err := pebbleidx.Open(vfs.Default, dir, pebbleidx.Options{Fatal: func(reason string) { fatal(fmt.Errorf("%s", reason)) }})
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	db, err := indexdb.New(e, indexdb.Options{Now: time.Now, Rand: rand.Reader})
	if err != nil {
		e.Close()
		return 0, err
	}
	device := sendonce.DeviceID{1}
	for round := range m.repeats {
		for from := 0; from < len(m.packs); from += storeBatch {
			var rows []indexdb.Stored
			var ids []sendonce.ID
			for i := from; i < min(from+storeBatch, len(m.packs)); i++ {
				loc := sendonce.Location{Segment: 1, Offset: uint32(i), Length: uint32(len(m.packs[i]))}
				for j, id := range m.ids[i] {
					id[0], id[1] = id[0]^byte(round), id[1]^byte(round>>8) // other IDs each time
					ids = append(ids, id)
					rows = append(rows, indexdb.Stored{ID: id, Location: loc, Index: uint32(j), Size: m.sizes[i][j]})
				}
			}
			if _, err := db.Locate(ctx, sendonce.DefaultTenant, ids); err != nil {
				return 0, err
			}
			if err := db.AddStored(ctx, sendonce.DefaultTenant, device, rows); err != nil {
				return 0, err
			}
		}
	}
	return int64(m.repeats) * window, db.Close()
}
