// Package indextest holds what tests of the index need: the conformance suite
// that every indexdb.Index must pass (Run), the one for engines (RunEngine), a
// memory engine (NewMem), one that refuses (Refuse), and one that injects faults
// (Faulty).
//
// Invariants: the suite is driven through the contract alone, with a clock of
// its own, and ends every test with Maintainer.Check where the index has it. It
// promises nothing about crashes: an engine's own tests cut the power. Start
// with run.go.
package indextest
