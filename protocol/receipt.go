package protocol

import (
	"crypto/ed25519"
	"encoding/binary"
	"time"

	"sendonce"
)

// Receipt is the proxy's signed statement that a commit is durable, over its
// chain hash: a device that keeps it can show that a server was restored or
// forked.
type Receipt struct {
	Folder    sendonce.FolderID
	Op        sendonce.OpID
	Cursor    sendonce.Cursor
	Time      time.Time // nanosecond precision
	Signature []byte    // Ed25519 (RFC 8032) over receiptContext and the fields above
}

const receiptContext = "sendonce receipt 1\x00"

func (r *Receipt) statement() []byte {
	b := make([]byte, 0, 128)
	b = append(b, receiptContext...)
	b = append(b, r.Folder[:]...)
	b = append(b, r.Op[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Cursor.Seq)
	b = append(b, r.Cursor.Chain[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
}

// Append appends the receipt as evidence to keep: what was signed, then the 64
// bytes of the signature.
func (r *Receipt) Append(dst []byte) []byte {
	return append(append(dst, r.statement()...), r.Signature...)
}

// Sign fills in the signature.
func (r *Receipt) Sign(key ed25519.PrivateKey) { r.Signature = ed25519.Sign(key, r.statement()) }

// Verify reports whether key signed the receipt.
func (r *Receipt) Verify(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, r.statement(), r.Signature)
}
