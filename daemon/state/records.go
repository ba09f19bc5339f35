package state

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"sendonce"
	"sendonce/daemon/state/internal/row"
)

// Longest texts in records, in bytes.
const (
	maxText  = 64 << 10
	maxAddrs = 64
)

func appendServer(b []byte, s *Server) []byte {
	b = append(b, row.Version)
	b = append(b, s.Fingerprint[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.Addrs)))
	for _, a := range s.Addrs {
		b = row.AppendString(b, a)
	}
	return b
}

func parseServer(b []byte) (s Server, ok bool) {
	r := row.NewReader(b)
	r.Version()
	copy(s.Fingerprint[:], r.Take(len(s.Fingerprint)))
	for range r.Count(maxAddrs, 1) {
		s.Addrs = append(s.Addrs, r.Text(maxText))
	}
	return s, r.Done()
}

const flagPaused = 1

// appendFolder appends the value of a folder record; the ID is its key.
func appendFolder(b []byte, f *Folder) []byte {
	var flags byte
	if f.Paused {
		flags = flagPaused
	}
	b = append(b, row.Version, flags, byte(f.Names), byte(f.Role))
	b = binary.AppendUvarint(b, f.Dev)
	b = binary.AppendUvarint(b, f.Ino)
	b = row.AppendString(b, f.Name)
	b = row.AppendString(b, f.Dir)
	return row.AppendString(b, f.PauseReason)
}

func parseFolder(b []byte) (f Folder, ok bool) {
	r := row.NewReader(b)
	r.Version()
	flags := r.Byte()
	r.Must(flags&^flagPaused == 0)
	f.Paused = flags&flagPaused != 0
	f.Names = sendonce.NameRule(r.Byte())
	f.Role = sendonce.Role(r.Byte())
	f.Dev = r.Uvarint()
	f.Ino = r.Uvarint()
	f.Name = r.Text(maxText)
	f.Dir = r.Text(maxText)
	f.PauseReason = r.Text(maxText)
	return f, r.Done()
}

func tooLong(texts ...string) error {
	for _, t := range texts {
		if len(t) > maxText {
			return errors.New("a text of more than 64 KiB")
		}
	}
	return nil
}

// Server returns the proxy this device is enrolled at, nil if it is at none.
func (d *DB) Server() (*Server, error) {
	v, err := get(d.p, []byte(keyServer))
	if err != nil {
		return nil, d.fail(opRead, err)
	}
	if v == nil {
		return nil, nil
	}
	s, ok := parseServer(v)
	if !ok {
		return nil, d.damaged(opRead, "the server record")
	}
	return &s, nil
}

// SetServer stores the proxy this device is enrolled at; durable on return.
func (d *DB) SetServer(s Server) error {
	if len(s.Addrs) > maxAddrs {
		return d.invalid(errors.New("more than 64 addresses"))
	}
	if err := tooLong(s.Addrs...); err != nil {
		return d.invalid(err)
	}
	return d.put("write state", []byte(keyServer), appendServer(nil, &s))
}

// Folders returns the attached folders, by name.
func (d *DB) Folders() ([]Folder, error) {
	var out []Folder
	err := scan(d.p, []byte{tagFolder}, func(k, v []byte) (bool, error) {
		f, ok := parseFolder(v)
		if !ok || len(k) != 1+len(f.ID) {
			return false, d.damaged(opRead, "a folder record")
		}
		copy(f.ID[:], k[1:])
		out = append(out, f)
		return true, nil
	})
	if err != nil {
		return nil, d.fail(opRead, err)
	}
	slices.SortStableFunc(out, func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func folderKey(id sendonce.FolderID) []byte { return append([]byte{tagFolder}, id[:]...) }

// SetFolder stores the record of an attached folder; durable on return. Its
// trees are not touched.
func (d *DB) SetFolder(f Folder) error {
	if f.ID.IsZero() {
		return d.invalid(errors.New("a folder without an ID"))
	}
	if err := tooLong(f.Name, f.Dir, f.PauseReason); err != nil {
		return d.invalid(err)
	}
	return d.put("write state", folderKey(f.ID), appendFolder(nil, &f))
}

// DropFolder forgets a folder: its record, trees, cursor and receipt, in one
// durable step. A folder that is not there is no error.
func (d *DB) DropFolder(id sendonce.FolderID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.p.NewBatch()
	defer b.Close()
	all := tree{id}.all()
	if err := errors.Join(b.Delete(folderKey(id), nil), b.DeleteRange(all, after(all), nil)); err != nil {
		return d.fail("write state", err)
	}
	return d.commit("write state", b, pebble.Sync)
}

// Setting returns a small text by name, "" if it was never set.
func (d *DB) Setting(key string) (string, error) {
	v, err := get(d.p, append([]byte{tagSetting}, key...))
	if err != nil {
		return "", d.fail(opRead, err)
	}
	return string(v), nil
}

// SetSetting stores a small text by name, "" to forget it; durable on return.
func (d *DB) SetSetting(key, value string) error {
	if err := tooLong(key, value); err != nil {
		return d.invalid(err)
	}
	k := append([]byte{tagSetting}, key...)
	if value == "" {
		return d.put("write state", k, nil)
	}
	return d.put("write state", k, []byte(value))
}

// Receipt returns the folder's latest receipt as SetReceipt got it, nil if
// there is none. It belongs to the caller.
func (d *DB) Receipt(folder sendonce.FolderID) ([]byte, error) {
	v, err := get(d.p, tree{folder}.table(tabReceipt))
	if err != nil {
		return nil, d.fail(opRead, err)
	}
	return v, nil
}

// SetReceipt stores the folder's latest receipt, opaque bytes that are not
// empty; durable on return.
func (d *DB) SetReceipt(folder sendonce.FolderID, receipt []byte) error {
	if err := checkReceipt(receipt); err != nil {
		return d.invalid(err)
	}
	return d.put("write state", tree{folder}.table(tabReceipt), receipt)
}

func checkReceipt(receipt []byte) error {
	if len(receipt) == 0 || len(receipt) > maxText {
		return errors.New("a receipt has 1 byte to 64 KiB")
	}
	return nil
}

// ForgetTrees empties a folder's three trees, manifests and cursor, and keeps
// its record and receipt; durable on return. It is for a server whose journal is
// not the one this device knew: the base is unknown then, and the next pass
// finds a union of both sides (P8).
func (d *DB) ForgetTrees(folder sendonce.FolderID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.p.NewBatch()
	defer b.Close()
	for _, table := range []byte{tabCursor, tabInode, tabSyncedSlot, tabLocal, tabManifest, tabPlace, tabRemoteSlot, tabRemote, tabSynced} {
		prefix := tree{folder}.table(table)
		if err := b.DeleteRange(prefix, after(prefix), nil); err != nil {
			return d.fail("write state", err)
		}
	}
	return d.commit("write state", b, pebble.Sync)
}
