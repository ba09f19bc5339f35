package content

// The files in testdata/golden are kept for ever, and so are these lists: a new
// version of a format adds to them. Pages are stored one after another, each
// behind its length (4 bytes, little endian), in the order of Describe.
var goldenTrees = []struct {
	file  string
	seed  uint64
	refs  int
	root  string
	level uint8
}{
	{"tree-17.v1", 17, 17, "4c5dca830f1032a20ce3cdd4c41be391c0771fd28f7a634426795033a3c3b869", 0},
	{"tree-3000.v1", 3000, 3000, "788b32b9a2a73404d09b1915c9bee8c0129e8b8d90c3dc5fad67469e1365553f", 1},
}

// Records that hold packs of testText, in both encodings.
var goldenRecords = []string{"record-raw.v1", "record-zstd.v1", "record-pages.v1"}
