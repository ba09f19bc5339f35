package pebbleblob

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ingest writes rows as tables, one for each segment, and adds all of them to
// the database in one step. The order is: each table synced, linked into the
// database's directory, the directory synced, the manifest synced.
func (w *writer) ingest(rows []row, copied func()) error {
	var paths []string
	var err error
	for len(rows) > 0 && err == nil {
		n := 1
		for n < len(rows) && rows[n].segment == rows[0].segment {
			n++
		}
		var path string
		path, err = w.table(rows[:n])
		paths, rows = append(paths, path), rows[n:]
	}
	copied()
	if err == nil {
		err = w.s.db.Ingest(context.Background(), paths)
	}
	if err != nil {
		for _, p := range paths {
			if e := w.s.fs.Remove(p); e != nil && !notThere(e) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// table writes rows, which are in ascending order, as one synced table, and
// returns its path even if that failed.
func (w *writer) table(rows []row) (string, error) {
	w.tables++
	path := w.s.fs.PathJoin(w.tmp, fmt.Sprintf("%d.sst", w.tables))
	f, err := w.s.fs.Create(path, writeCategory)
	if err != nil {
		return path, err
	}
	// The system is asked to write early, so that the final sync has little left.
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: 1 << 20})
	o := sstable.WriterOptions{
		TableFormat:          w.tableFormat,
		Compression:          sstable.NoCompression,
		BlockSize:            32 << 10,
		IndexBlockSize:       256 << 10,
		WritingToLowestLevel: true,
	}
	t := sstable.NewWriter(objstorageprovider.NewFileWritable(f), o)
	var key [keySize]byte
	for _, r := range rows {
		if err = t.Set(putKey(key[:], r.segment, r.offset), r.value); err != nil {
			break
		}
	}
	return path, errors.Join(err, t.Close())
}

// clean makes the directory for temporary tables and empties it: what a crash
// left there was never ingested, or is linked under its final name.
func (w *writer) clean() error {
	if err := w.s.fs.MkdirAll(w.tmp, 0o700); err != nil {
		return err
	}
	names, err := w.s.fs.List(w.tmp)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.s.fs.Remove(w.s.fs.PathJoin(w.tmp, name)); err != nil {
			return err
		}
	}
	return nil
}
