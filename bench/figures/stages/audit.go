package stages

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/blobstore/pebbleblob"
	"sendonce/content"
	"sendonce/indexdb"
	"sendonce/indexdb/pebbleidx"
)

// Copy is one stored copy of a chunk.
type Copy struct {
	ID       sendonce.ID
	Location sendonce.Location
	Size     uint32
}

// Audit is what a stopped proxy's data directory holds.
type Audit struct {
	Copies  []Copy               // every stored copy of every chunk of files
	Indexed map[sendonce.ID]bool // the chunks that the index knows
}

// Open reads the data directory of a proxy that does not run. What it opens, it
// repairs as the proxy itself would at its next start.
func Open(ctx context.Context, data string) (Audit, error) {
	a := Audit{Indexed: map[sendonce.ID]bool{}}
	if err := a.copies(ctx, filepath.Join(data, "store")); err != nil {
		return a, err
	}
	return a, a.indexed(ctx, filepath.Join(data, "index"))
}

func (a *Audit) copies(ctx context.Context, dir string) (err error) {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	s, err := pebbleblob.Open(vfs.Default, dir, pebbleblob.Options{Fatal: fatal})
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Close(); err == nil {
			err = e
		}
	}()
	segments, err := s.Segments(ctx)
	if err != nil {
		return err
	}
	for _, g := range segments {
		err := s.Scan(ctx, g.ID, func(loc sendonce.Location, record []byte) error {
			r, err := content.ParseRecord(record)
			if err != nil || r.Kind != content.RecordChunks {
				return err
			}
			for i, id := range r.IDs {
				a.Copies = append(a.Copies, Copy{id, loc, r.Sizes[i]})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Audit) indexed(ctx context.Context, dir string) (err error) {
	e, err := pebbleidx.Open(vfs.Default, dir, pebbleidx.Options{Fatal: func(reason string) { fatal(os.ErrInvalid) }})
	if err != nil {
		return err
	}
	db, err := indexdb.New(e, indexdb.Options{Now: time.Now, Rand: rand.Reader})
	if err != nil {
		e.Close()
		return err
	}
	defer func() {
		if e := db.Close(); err == nil {
			err = e
		}
	}()
	for from := 0; from < len(a.Copies); from += 1000 {
		part := a.Copies[from:min(from+1000, len(a.Copies))]
		ids := make([]sendonce.ID, len(part))
		for i := range part {
			ids[i] = part[i].ID
		}
		rows, err := db.Locate(ctx, sendonce.DefaultTenant, ids)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if !r.Location.IsZero() {
				a.Indexed[r.ID] = true
			}
		}
	}
	return nil
}

// SentAgain looks for chunks that were stored once more although they were
// known when the proxy was looked into before: old is that look, a the one at
// the end. explained counts the extra copies that are right: of chunks which the
// store held but the index did not, so that they had not been acknowledged.
func (a Audit) SentAgain(old []Audit) (again, explained int) {
	copies := map[sendonce.ID]int{}
	for _, c := range a.Copies {
		copies[c.ID]++
	}
	// A chunk may be sent once more for each death of the proxy that found it
	// stored and not indexed.
	excused := map[sendonce.ID]int{}
	for _, o := range old {
		seen := map[sendonce.ID]bool{}
		for _, c := range o.Copies {
			if !o.Indexed[c.ID] && !seen[c.ID] {
				seen[c.ID] = true
				excused[c.ID]++
			}
		}
	}
	for id, n := range copies {
		extra := n - 1
		ok := min(extra, excused[id])
		explained += ok
		again += extra - ok
	}
	return again, explained
}
