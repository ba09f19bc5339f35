// Package simtest is a whole world in one process: disks that crash, a network
// that loses packets and splits, both inside a testing/synctest bubble, where
// time costs nothing. It is for tests only.
//
// Disk is a filesystem for Pebble that counts syncs, crashes at the one it is
// told to, and comes back with what a real disk could have kept. Net connects
// hosts by packets with latency, bandwidth, loss and partitions that a test
// turns on and off.
//
// Invariants: after a crash no operation of the old process reaches the disk that
// Restart returns, which is a state of the very moment of the crash; a packet
// that Net delivers is delivered whole and unchanged, once.
//
// What it does not promise: replay. A seed fixes how much is lost and which of
// the packets offered in a given order are dropped, but goroutines run in an
// order that no seed fixes (and MemFS walks maps), so the same seed may tell a
// different story. Tests log their seeds all the same: the odds of a failure
// often follow them.
//
// What works in a bubble, and what blocks (tried with Pebble 2.1.7 and quic-go
// 0.65):
//   - Close everything that has goroutines before the bubble ends: Pebble's
//     cleaner, log flusher and cache wait on channels for ever, and so do a QUIC
//     transport and a Net. synctest panics about what is left. The order is from
//     the inside out: connections, listeners, transports, Net; databases anywhere.
//   - While a Pebble database is open the bubble never counts as deadlocked: the
//     database's scheduler of compactions has a ticker, so the clock runs on for
//     ever and a test that waits for nothing hangs. Give contexts a deadline.
//   - A goroutine that waits for a mutex or a system call stops the clock. So no
//     real files and no sockets, and nothing may hold a mutex while it sleeps or
//     waits for another goroutine that sleeps.
//   - A channel or timer made in the bubble must not be used outside, and
//     reverse: open databases and networks inside.
//
// Package world puts the whole program into such a bubble.
//
// Read disk.go first, then net.go.
package simtest
