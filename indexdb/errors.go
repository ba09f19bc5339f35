package indexdb

import (
	"context"
	"errors"
	"fmt"

	"sendonce"
)

// Error names the first node in the way and says how many more there are.
func (e *ConflictError) Error() string {
	if len(e.Nodes) == 0 {
		return "conflict"
	}
	s := fmt.Sprintf("node %s: %s", e.Nodes[0].Node, e.Nodes[0].Reason)
	if n := len(e.Nodes) - 1; n > 0 {
		s += fmt.Sprintf(", and %d more", n)
	}
	return s
}

var reasonNames = [...]string{
	ConflictRevision: "its revision is not the one replaced", ConflictSlot: "another node has the name",
	ConflictParent: "the parent is missing, deleted or no directory", ConflictNotEmpty: "the directory is not empty",
	ConflictCycle: "the directory would be inside itself", ConflictForbidden: "the role does not allow it",
	ConflictName: "the folder's name rule refuses the name",
}

// String says in words what stood in the way.
func (r ConflictReason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("conflict %d", uint8(r))
}

// Error names the first chunk and says how many there are.
func (e *MissingError) Error() string {
	if len(e.IDs) == 0 {
		return "chunks missing"
	}
	return fmt.Sprintf("%d chunks are not there, %s first", len(e.IDs), e.IDs[0])
}

func invalid(format string, args ...any) error {
	return &sendonce.Error{Kind: sendonce.KindInvalid, Detail: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &sendonce.Error{Kind: sendonce.KindNotFound, Detail: fmt.Sprintf(format, args...)}
}

func damaged(format string, args ...any) error {
	return &sendonce.Error{Kind: sendonce.KindDamaged, Detail: fmt.Sprintf(format, args...),
		Hint: "run \"sendonce verify\", and restore the index from a copy if it reports damage"}
}

func unauthorized(detail string) error {
	return &sendonce.Error{Kind: sendonce.KindUnauthorized, Detail: detail}
}

// wrap puts the operation in front of an error and gives a kind to those of
// contexts; nil stays nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	e := &sendonce.Error{Op: op, Err: err}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		e.Kind = sendonce.KindInterrupted
	}
	return e
}
