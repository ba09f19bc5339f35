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
// Three rules for a test in a bubble, each learnt from a test that hung:
//   - Everything that has goroutines is closed before the bubble ends: Pebble
//     databases (their cleaners and log flushers wait on channels for ever),
//     QUIC transports, then the Net.
//   - A goroutine that waits on a mutex, a system call or a condition of the
//     outside world stops the clock for all; so no real files, no sockets, and
//     nothing that holds a mutex while it waits for time to pass.
//   - A channel, timer or WaitGroup made outside the bubble must not be used
//     inside it: open databases and networks inside.
//
// Read disk.go first, then net.go.
package simtest
