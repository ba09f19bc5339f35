package sendonce

import (
	"fmt"
	"strings"
)

// Limits of the protocol and of the data model (DESIGN: checked before anything
// is allocated). Sizes are bytes.
const (
	MaxFrame      = 1 << 20  // a control frame
	MaxPack       = 8 << 20  // a pack, raw and compressed
	PackTarget    = 1 << 20  // raw bytes at which a sender closes a pack
	MaxOfferRefs  = 16384    // references in one offer frame
	MaxChanges    = 1000     // changes in one commit
	MaxName       = 255      // a node's name
	MaxPath       = 4096     // a path inside a folder
	MaxDepth      = 128      // directories from the root
	MaxInline     = 256      // content kept inside a node
	MaxDirectRefs = 16       // references kept inside a node
	MinZeroRun    = 64 << 10 // a run of zeros at least this long is a zero extent
	MaxChunk      = MaxPack  // a single chunk, whatever the params say
	MaxXattrs     = 64 << 10 // names and values of one node's extended attributes
	MaxTarget     = 4096     // a symlink's target
	MaxMode       = 0o1777   // permission bits that travel; setuid and setgid never do
)

// CheckName reports whether name can be a node's name in an exact folder:
// 1-255 bytes, no '/' or NUL, not "." or "..".
func CheckName(name string) error {
	switch {
	case name == "":
		return invalidName(name, "it is empty")
	case name == "." || name == "..":
		return invalidName(name, "it is reserved")
	case len(name) > MaxName:
		return invalidName(name[:32]+"...", fmt.Sprintf("it has %d bytes, the limit is %d", len(name), MaxName))
	case strings.ContainsAny(name, "/\x00"):
		return invalidName(name, "it holds '/' or NUL")
	}
	return nil
}

func invalidName(name, why string) error {
	return &Error{Op: "check name", Path: name, Kind: KindInvalid, Detail: "not a name: " + why}
}
