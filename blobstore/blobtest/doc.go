// Package blobtest is what the contract of package blobstore looks like as
// tests, and the stores that tests of other packages need.
//
// Run is the conformance suite: every implementation passes it. Mem is a store
// in memory, Refuse one that always fails, Faulty one that fails when told to.
//
// What it does not cover: crashes. They belong to the disk under a store, so
// each implementation tests them with its own (pebbleblob/crash_test.go).
//
// Read run.go first.
package blobtest
