// Package protocol is what client and proxy say to each other: the messages,
// their limits and frames, the receipts, the join links, and the contracts of
// the transports that carry them.
//
// Invariants: a frame's declared length is checked before anything is
// allocated; every message that a Reader returns satisfies the limits of package
// sendonce; parsing what Append wrote gives the same message. What it does not
// promise: that a peer's claims are true (hashes, roles): that is the proxy's
// and the daemon's to check.
//
// Read messages.go first, then docs/protocol.md, then frame.go and stream.go.
package protocol
