// Package quiclink carries the protocol over QUIC (RFC 9000, quic-go): it makes
// the connections and streams that package protocol's contracts describe.
//
// Invariants: both ends prove an Ed25519 key with a self-signed certificate
// under TLS 1.3; a peer's identity is the SHA-256 of its public key (SPKI) and
// nothing else in the certificate counts; it is checked in VerifyConnection, on
// every connection, before any application byte is sent or believed; there are
// no session tickets and no 0-RTT. Every error is a *sendonce.Error (io.EOF
// aside). Closing a Dialer or Listener waits for all that it started.
//
// What it does not promise: that an identity is enrolled (the proxy's question),
// nor that bytes written right before Close arrive; see conn.Close.
//
// Read identity.go first, then quiclink.go, then conn.go.
package quiclink
