package quiclink

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"time"

	"sendonce"
)

// Identity is an Ed25519 key and what follows from it: a device ID and a
// certificate. It is immutable and safe for concurrent use.
type Identity struct {
	key  ed25519.PrivateKey
	id   sendonce.DeviceID
	cert tls.Certificate
}

const pemType = "PRIVATE KEY" // PKCS #8 (RFC 5958, RFC 7468)

// NewIdentity makes a key from 32 bytes of random.
func NewIdentity(random io.Reader) (*Identity, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, &sendonce.Error{Op: "make identity", Kind: sendonce.KindInternal, Err: err}
	}
	return identityOf(ed25519.NewKeyFromSeed(seed))
}

// ParsePEM reads what MarshalPEM wrote: one PEM block that holds an Ed25519 key
// in PKCS #8. KindInvalid if it is anything else.
func ParsePEM(b []byte) (*Identity, error) {
	bad := func(detail string) error {
		return &sendonce.Error{Op: "read identity", Kind: sendonce.KindInvalid, Detail: detail,
			Hint: "the key file must hold one PEM block \"PRIVATE KEY\" with an Ed25519 key; restore it from a backup, or remove it to start with a new identity"}
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemType {
		return nil, bad("no PEM block \"" + pemType + "\"")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, bad("something follows the key")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, bad("not a PKCS #8 key")
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, bad("not an Ed25519 key")
	}
	return identityOf(key)
}

// MarshalPEM returns the private key for a file that only its owner may read.
func (i *Identity) MarshalPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		panic("quiclink: an Ed25519 key has no PKCS #8 form: " + err.Error())
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

// ID returns the identity that peers know and join links carry.
func (i *Identity) ID() sendonce.DeviceID { return i.id }

// Key returns the private key, with which a server signs receipts.
func (i *Identity) Key() ed25519.PrivateKey { return i.key }

// Public returns the public key.
func (i *Identity) Public() ed25519.PublicKey { return i.key.Public().(ed25519.PublicKey) }

// identityOf makes the certificate. Nothing in it counts but the key, so it is
// as small as X.509 allows, the same every time, and valid for ever (RFC 5280,
// 4.1.2.5: 99991231235959Z means no end).
func identityOf(key ed25519.PrivateKey) (*Identity, error) {
	public := key.Public().(ed25519.PublicKey)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		return nil, &sendonce.Error{Op: "make identity", Kind: sendonce.KindInternal, Err: err}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &sendonce.Error{Op: "make identity", Kind: sendonce.KindInternal, Err: err}
	}
	return &Identity{
		key:  key,
		id:   sendonce.DeviceIDOf(leaf.RawSubjectPublicKeyInfo),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
	}, nil
}
