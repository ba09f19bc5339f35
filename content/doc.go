// Package content holds what both ends must agree on byte for byte: the IDs of
// chunks and pages, the tree of pages that a long manifest becomes, the edit
// script between two manifests, packs, and the record in which a store keeps a
// pack.
//
// Invariants:
//   - Everything that encodes is a pure function of its input and the tenant's
//     key, except that the bytes of a zstd pack depend on the version of the
//     encoder; no ID is made of packed bytes.
//   - Everything that decodes expects hostile input: sizes and counts are checked
//     before anything is allocated, and what it returns has been checked against
//     the ID or checksum that vouches for it.
//   - Formats carry a version; golden files in testdata are kept for ever, and
//     every old one still opens.
//
// Not promised: secrecy. IDs are keyed so that nobody without the tenant's key
// can tell which known content they stand for, but packs are not encrypted here.
//
// docs/formats/content.md has the byte tables. Read hash.go first, then page.go
// and tree.go, edit.go, pack.go, record.go.
package content

import (
	"fmt"

	"sendonce"
)

// fail makes this package's error.
func fail(op string, kind sendonce.ErrKind, format string, args ...any) error {
	return &sendonce.Error{Op: op, Kind: kind, Detail: fmt.Sprintf(format, args...)}
}
