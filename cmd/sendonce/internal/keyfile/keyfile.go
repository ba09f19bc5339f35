// Package keyfile keeps a device's or a proxy's identity in a file: an Ed25519
// private key as PKCS #8 (RFC 5958) in PEM (RFC 7468), mode 0600, as openssl
// writes and reads it.
//
// Invariants: a key is durable under its name before it is used, and an existing
// file is never replaced. A key that others can read is refused: it is the
// device's whole identity.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sendonce"
	"sendonce/protocol/quiclink"
)

// Load reads the key in path. Errors: KindNotFound if there is no file;
// KindRefused if others may read it; KindInvalid if it holds no such key.
func Load(path string) (*quiclink.Identity, error) {
	fail := func(kind sendonce.ErrKind, err error, detail, hint string) (*quiclink.Identity, error) {
		return nil, &sendonce.Error{Op: "read key", Path: path, Kind: kind, Err: err, Detail: detail, Hint: hint}
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(sendonce.KindNotFound, nil, "there is no such file", "")
	}
	if err != nil {
		return fail(sendonce.KindInternal, err, "", "")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(sendonce.KindInternal, err, "", "")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fail(sendonce.KindRefused, nil, fmt.Sprintf("others may read it (mode %04o)", info.Mode().Perm()),
			"run chmod 600 "+path+" if nobody else has seen it")
	}
	b, err := io.ReadAll(io.LimitReader(f, 16<<10))
	if err != nil {
		return fail(sendonce.KindInternal, err, "", "")
	}
	id, err := quiclink.ParsePEM(b)
	if err != nil {
		return nil, &sendonce.Error{Op: "read key", Path: path, Err: err}
	}
	return id, nil
}

// LoadOrCreate reads the key in path, making one (and nothing above its
// directory) where there is none.
func LoadOrCreate(path string, random io.Reader) (*quiclink.Identity, error) {
	id, err := Load(path)
	if sendonce.KindOf(err) != sendonce.KindNotFound {
		return id, err
	}
	if id, err = quiclink.NewIdentity(random); err == nil {
		err = write(path, id.MarshalPEM())
	}
	if errors.Is(err, fs.ErrExist) { // another process was quicker
		return Load(path)
	}
	if err != nil {
		return nil, &sendonce.Error{Op: "write key", Path: path, Kind: sendonce.KindInternal, Err: err}
	}
	return id, nil
}

// write gives the key its name only when its bytes are durable.
func write(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, fails if the name exists.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
