package sendonce

import (
	"errors"
	"fmt"
	"strings"
)

// ErrKind classifies an error. The numbers cross the wire and are kept for ever.
type ErrKind uint8

// The kinds of error.
const (
	KindInternal     ErrKind = 1  // a bug, or an error nobody classified
	KindInvalid      ErrKind = 2  // malformed input or a broken protocol rule
	KindNotFound     ErrKind = 3  // no such folder, node, revision, device
	KindConflict     ErrKind = 4  // compare-and-swap failed; nothing was applied
	KindUnauthorized ErrKind = 5  // unknown, revoked or not allowed; also bad tokens
	KindUnavailable  ErrKind = 6  // cannot reach the peer, or it is stopping: retry helps
	KindFull         ErrKind = 7  // disk full or quota reached
	KindDamaged      ErrKind = 8  // bytes that do not match their ID or checksum
	KindLocked       ErrKind = 9  // another process holds the directory
	KindNotSetUp     ErrKind = 10 // no state, not joined, no folder attached
	KindRefused      ErrKind = 11 // a safety limit says no
	KindBusy         ErrKind = 12 // a file keeps changing while it is read
	KindTooOld       ErrKind = 13 // an operation whose result is no longer kept
	KindNewerFormat  ErrKind = 14 // data written by a newer version
	KindInterrupted  ErrKind = 15 // a signal or a cancelled context
	KindPartial      ErrKind = 16 // done, except for what is listed
	KindUsage        ErrKind = 17 // the command line or a config file is wrong
	KindExists       ErrKind = 18 // it is there already
	KindMissing      ErrKind = 19 // a commit names chunks that are not there (any more)
	KindLimit        ErrKind = 20 // larger than a limit of the protocol
	KindUnsupported  ErrKind = 21 // the platform or the peer cannot do it
)

var kindNames = [...]string{
	KindInternal: "internal error", KindInvalid: "invalid", KindNotFound: "not found", KindConflict: "conflict",
	KindUnauthorized: "not authorised", KindUnavailable: "unavailable", KindFull: "out of space", KindDamaged: "damaged",
	KindLocked: "locked", KindNotSetUp: "not set up", KindRefused: "refused by a safety limit", KindBusy: "busy",
	KindTooOld: "too old", KindNewerFormat: "newer format", KindInterrupted: "interrupted", KindPartial: "part failed",
	KindUsage: "usage", KindExists: "already exists", KindMissing: "chunks missing", KindLimit: "over a limit",
	KindUnsupported: "not supported",
}

// String returns a few words that name the kind.
func (k ErrKind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("error kind %d", uint8(k))
}

// Error is the project's error: what was being done, to what, what kind of
// failure it was, and what the user can do about it.
type Error struct {
	Op     string  // what was being done: "open index", "commit"
	Path   string  // the file, folder or address concerned, or empty
	Kind   ErrKind // zero takes the kind of Err
	Detail string  // what is wrong, if Err does not say it
	Hint   string  // what to do, a full sentence without a period, or empty
	Err    error   // the cause, or nil
}

// Error joins what is known with colons, without the hint.
func (e *Error) Error() string {
	var parts []string
	for _, s := range []string{e.Op, e.Path, e.Detail} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	} else if e.Detail == "" {
		parts = append(parts, e.Kind.String())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost *Error in err's chain that has one,
// KindInternal for any other error, and 0 for nil.
func KindOf(err error) ErrKind {
	if err == nil {
		return 0
	}
	for e := err; e != nil; {
		var se *Error
		if !errors.As(e, &se) {
			break
		}
		if se.Kind != 0 {
			return se.Kind
		}
		e = se.Err
	}
	return KindInternal
}

// HintOf returns the outermost hint in err's chain, or "".
func HintOf(err error) string {
	for e := err; e != nil; {
		var se *Error
		if !errors.As(e, &se) {
			return ""
		}
		if se.Hint != "" {
			return se.Hint
		}
		e = se.Err
	}
	return ""
}
