// Package chunking decides where content is cut.
//
// Its job: turn the bytes of a file into chunks whose boundaries depend on the
// content alone, so that an insertion moves only the boundaries next to it, and
// into zero extents, which stand for long runs of zero bytes and carry no data.
//
// Invariants:
//   - The output is a pure function of the bytes and the params: read sizes,
//     holes and earlier use of the Chunker make no difference.
//   - Chunks and zero extents, laid end to end, are the content.
//   - A zero extent is a maximal run of at least sendonce.MinZeroRun zero bytes,
//     byte exact, whether it was read or found as a hole or is partly both.
//     Cutting starts anew after it, as at the start of a file.
//   - A chunk has at most Max bytes, and at least Min unless a zero extent or
//     the end of the content follows it.
//
// Not promised: that chunks are of average size Avg (zero extents aside, real
// data cuts at anything between half and twice of it), and that a file which
// changes while it is read comes out as it was at any one moment: the caller
// compares what the file system says before and after.
//
// docs/formats/chunking.md is the format. Read chunker.go first, then scanner.go.
package chunking
