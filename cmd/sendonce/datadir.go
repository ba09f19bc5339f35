package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"sendonce"
	"sendonce/cmd/sendonce/internal/keyfile"
	"sendonce/protocol/quiclink"
)

// The names inside a proxy's data directory (docs/operations.md lists them).
const (
	dataFormatFile = "format"
	dataLockFile   = "lock"
	dataKeyFile    = "key"
	dataIndexDir   = "index"
	dataStoreDir   = "store"
	dataSocket     = "proxy.sock"
)

// dataFormat numbers the layout of a data directory as a whole; the index and
// the store have numbers of their own.
const dataFormat = 1

// dataDir is a proxy's data directory, locked.
type dataDir struct {
	path     string
	identity *quiclink.Identity
	lock     *flock.Flock
}

// openDataDir makes the directory where it does not exist, locks it, checks its
// format and reads (or makes) the key. keyPath "" is the key inside.
func openDataDir(path, keyPath string) (d *dataDir, err error) {
	const op = "open data directory"
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, &sendonce.Error{Op: op, Kind: sendonce.KindInternal, Err: err}
	}
	lock := flock.New(filepath.Join(path, dataLockFile), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, &sendonce.Error{Op: op, Path: path, Kind: sendonce.KindInternal, Err: err}
	}
	if !ok {
		return nil, &sendonce.Error{Op: op, Path: path, Kind: sendonce.KindLocked, Detail: "another proxy uses it",
			Hint: "stop that one first, or choose another --data directory"}
	}
	d = &dataDir{path: path, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := checkDataFormat(path); err != nil {
		return d, err
	}
	if keyPath == "" {
		d.identity, err = keyfile.LoadOrCreate(filepath.Join(path, dataKeyFile), rand.Reader)
	} else {
		d.identity, err = keyfile.Load(keyPath)
	}
	return d, err
}

// checkDataFormat refuses a directory of a newer version, and one that is not
// empty and was never a proxy's.
func checkDataFormat(dir string) error {
	const op = "open data directory"
	path := filepath.Join(dir, dataFormatFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return &sendonce.Error{Op: op, Kind: sendonce.KindInternal, Err: err}
		}
		for _, e := range entries {
			// What a first start that was cut short may have left.
			if n := e.Name(); n != dataLockFile && n != "lost+found" && !strings.HasPrefix(n, ".") {
				return &sendonce.Error{Op: op, Path: dir, Kind: sendonce.KindRefused,
					Detail: fmt.Sprintf("it holds %q and is not a proxy's data directory", n), Hint: "choose an empty or a new directory"}
			}
		}
		return writeDataFormat(dir, path)
	}
	if err != nil {
		return &sendonce.Error{Op: op, Kind: sendonce.KindInternal, Err: err}
	}
	format, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	switch {
	case err != nil || format == 0:
		return &sendonce.Error{Op: op, Path: path, Kind: sendonce.KindDamaged, Detail: "it does not hold a format number"}
	case format > dataFormat:
		return &sendonce.Error{Op: op, Path: dir, Kind: sendonce.KindNewerFormat,
			Detail: fmt.Sprintf("it has format %d, this version reads %d", format, dataFormat), Hint: "use a newer version of sendonce"}
	}
	return nil
}

func writeDataFormat(dir, path string) error {
	fail := func(err error) error {
		return &sendonce.Error{Op: "make data directory", Path: dir, Kind: sendonce.KindInternal, Err: err}
	}
	tmp, err := os.CreateTemp(dir, ".format-*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintln(tmp, dataFormat)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fail(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fail(err)
	}
	return nil
}

// Close unlocks the directory.
func (d *dataDir) Close() error { return d.lock.Close() }
