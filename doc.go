// Package sendonce is the vocabulary of the project: the words that every other
// package speaks (chunk IDs, references, nodes, cursors, roles, limits, errors)
// and nothing else. It does no I/O and imports only the standard library.
//
// Invariants: the values here are plain data; a decoder that hands one of them
// out has already checked it against the limits in limits.go.
//
// Read sendonce.go first, then error.go.
package sendonce
