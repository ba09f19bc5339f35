package protocol

import (
	"errors"
	"strings"

	"sendonce"
)

// Err returns the failure as the error that the caller of the request gets.
func (f *Fail) Err() error {
	detail := f.Detail
	if detail == "" {
		detail = f.Kind.String()
	}
	return &sendonce.Error{Op: "server", Kind: f.Kind, Detail: detail, Hint: f.Hint}
}

// FailOf describes err to a peer. Kind, hint, what was being done and what is
// wrong travel; paths, addresses and causes of the server's own, which a peer has
// no business with, do not. An unclassified error is only "internal error".
func FailOf(op uint64, err error) *Fail {
	kind := sendonce.KindOf(err)
	if kind == 0 {
		kind = sendonce.KindInternal
	}
	f := &Fail{Op: op, Kind: kind, Hint: clean(sendonce.HintOf(err))}
	if kind == sendonce.KindInternal {
		f.Detail = kind.String()
		return f
	}
	// The outermost error that says what is wrong speaks; errors around it that
	// only say what was being done add nothing that a peer could use.
	for e := err; e != nil; {
		se, ok := errors.AsType[*sendonce.Error](e)
		if !ok {
			break
		}
		if se.Detail != "" {
			f.Detail = se.Detail
			if se.Op != "" {
				f.Detail = se.Op + ": " + se.Detail
			}
			break
		}
		e = se.Err
	}
	if f.Detail == "" {
		f.Detail = kind.String()
	}
	f.Detail = clean(f.Detail)
	return f
}

// clean makes a text that travels: UTF-8, no longer than MaxText.
func clean(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText]
	}
	return strings.ToValidUTF8(s, "")
}
