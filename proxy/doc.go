// Package proxy is the server role: it decides which chunks a device has to
// send, receives those, checks each one, makes them durable, commits, and tells
// the other devices; and it reads back.
//
// Invariants: I1 (what it acknowledges is durable first: packs, then locations,
// then Stored or Committed), I7 (a replayed commit gives the first answer), I11
// (what a device may not read makes no difference to what it sees), I13 (memory,
// streams and pushes per peer are capped), I14 (every chunk that is received or
// decoded is hashed). A receipt is signed only for a commit that is durable.
//
// What it does not promise: that the stored bytes of a pack that is passed on
// whole are still good (the reader hashes every chunk), nor that a Changes
// stream delivers every revision (only the newest of each node).
//
// The package sees neither QUIC nor a storage engine; it keeps nothing of its
// own between runs.
//
// Read offer.go first (the decision), then push.go (one push from offer to
// receipt), then server.go.
package proxy
