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
	{"tree-17.v1", 17, 17, "ROOT17", 0},
	{"tree-3000.v1", 3000, 3000, "ROOT3000", 1},
}

// Records that hold packs of testText, in both encodings.
var goldenRecords = []string{"record-raw.v1", "record-zstd.v1", "record-pages.v1"}
