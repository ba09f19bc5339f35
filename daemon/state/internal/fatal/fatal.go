// Package fatal is the engine's logger, and how what the engine calls fatal (its
// log or manifest cannot be written) comes back as an error instead of ending
// the process from inside a library.
//
// Invariants: Fatalf never returns, since the engine's memory no longer matches
// its disk: it panics. In a call that recovers with Caught the panic becomes an
// error; in the engine's own goroutines it ends the process, which is a crash
// like any other.
package fatal

import (
	"fmt"
	"log/slog"
)

// Log is a logger for the engine. It is not changed after its first use.
type Log struct {
	Log *slog.Logger // nil drops everything
}

// Error is what the engine called fatal.
type Error struct {
	msg   string
	cause error
}

// Error returns the engine's message.
func (e Error) Error() string { return e.msg }

// Unwrap returns the first error among the engine's arguments, or nil.
func (e Error) Unwrap() error { return e.cause }

// Infof drops the engine's chatter.
func (l *Log) Infof(string, ...any) {}

// Errorf reports an error of background work.
func (l *Log) Errorf(format string, args ...any) {
	if l.Log != nil {
		l.Log.Warn("state engine", "error", fmt.Sprintf(format, args...))
	}
}

// Fatalf panics with an Error.
func (l *Log) Fatalf(format string, args ...any) {
	err := Error{msg: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if cause, ok := a.(error); ok && err.cause == nil {
			err.cause = cause
		}
	}
	l.Errorf("fatal: %s", err.msg)
	panic(err)
}

// Caught returns the Error that was recovered; any other panic goes on.
func Caught(recovered any) error {
	err, ok := recovered.(Error)
	if !ok {
		panic(recovered)
	}
	return err
}
