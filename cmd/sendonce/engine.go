package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/blobstore/pebbleblob"
	"sendonce/indexdb"
	"sendonce/indexdb/pebbleidx"
)

// openIndex opens the index that --index names; "" is the embedded one in dir.
func openIndex(url, dir string, now func() time.Time, log *slog.Logger) (indexdb.Index, error) {
	path, err := pebblePath("index", url, dir)
	if err != nil {
		return nil, err
	}
	engine, err := pebbleidx.Open(vfs.Default, path, pebbleidx.Options{Log: log, Fatal: func(reason string) { diskFailed(log, "index", reason) }})
	if err != nil {
		return nil, err
	}
	db, err := indexdb.New(engine, indexdb.Options{Now: now, Rand: rand.Reader, Log: log})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return db, nil
}

// openStore opens the store that --store names; "" is the embedded one in dir.
func openStore(url, dir string, log *slog.Logger) (blobstore.Store, error) {
	path, err := pebblePath("store", url, dir)
	if err != nil {
		return nil, err
	}
	store, err := pebbleblob.Open(vfs.Default, path, pebbleblob.Options{Logger: log, Fatal: func(err error) {
		diskFailed(log, "store", err.Error())
	}})
	if err != nil {
		return nil, err // not store: a nil *Store is no nil Store
	}
	return store, nil
}

// diskFailed ends the process. Nothing is known about the disk any more; what was
// acknowledged is safe, and going on could only break that.
func diskFailed(log *slog.Logger, what, reason string) {
	log.Error("cannot write to the disk; ending", "what", what, "reason", reason)
	os.Exit(exitFailed)
}

// pebblePath reads a URL of the form pebble:DIR.
func pebblePath(flag, url, otherwise string) (string, error) {
	if url == "" {
		return otherwise, nil
	}
	path, ok := strings.CutPrefix(url, "pebble:")
	if !ok || path == "" || strings.HasPrefix(path, "//") {
		return "", usageError(fmt.Sprintf("--%s %q is not supported by this version", flag, url), "this version supports pebble:DIR, a directory on this machine")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", &sendonce.Error{Op: "open " + flag, Path: path, Kind: sendonce.KindUsage, Err: err}
	}
	return abs, nil
}
