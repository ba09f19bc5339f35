package state

import (
	"encoding/binary"
	"fmt"

	"sendonce"
	"sendonce/daemon/state/internal/row"
)

const flagRacy = 1

// appendLocal appends the value of a Local row; parent and name are its key.
// ctime and birth are differences from mtime, which they mostly are close to.
func appendLocal(b []byte, l *Local) []byte {
	var flags byte
	if l.Racy {
		flags = flagRacy
	}
	b = append(b, row.Version, flags, byte(l.Kind))
	b = append(b, l.Node[:]...)
	b = binary.AppendUvarint(b, l.Stat.Dev)
	b = binary.AppendUvarint(b, l.Stat.Ino)
	b = binary.AppendUvarint(b, uint64(l.Stat.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Stat.MTimeNS))
	b = binary.AppendVarint(b, l.Stat.CTimeNS-l.Stat.MTimeNS)
	b = binary.AppendVarint(b, l.Stat.BirthNS-l.Stat.MTimeNS)
	b = binary.AppendUvarint(b, uint64(l.Stat.Mode))
	b = row.AppendContent(b, l.Content)
	return row.AppendString(b, l.Target)
}

// parseLocal reads what appendLocal wrote; parent and name are left empty.
func parseLocal(b []byte) (l Local, ok bool) {
	r := row.NewReader(b)
	r.Version()
	flags := r.Byte()
	r.Must(flags&^flagRacy == 0)
	l.Racy = flags&flagRacy != 0
	l.Kind = r.Kind()
	copy(l.Node[:], r.Take(16))
	l.Stat.Dev = r.Uvarint()
	l.Stat.Ino = r.Uvarint()
	l.Stat.Size = r.Size()
	l.Stat.MTimeNS = int64(r.Uint64())
	l.Stat.CTimeNS = r.Varint() + l.Stat.MTimeNS
	l.Stat.BirthNS = r.Varint() + l.Stat.MTimeNS
	l.Stat.Mode = r.Uint32()
	l.Content = r.Content()
	l.Target = r.Text(sendonce.MaxTarget)
	return l, r.Done()
}

func checkLocal(l *Local) error {
	if l.Node.IsZero() {
		return fmt.Errorf("a Local row without a node")
	}
	if l.Stat.Size < 0 || len(l.Target) > sendonce.MaxTarget {
		return fmt.Errorf("a size or target out of range")
	}
	return row.FirstError(row.CheckName(l.Name), row.CheckKind(l.Kind), row.CheckContent(l.Content))
}
