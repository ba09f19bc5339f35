package quiclink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/quic-go/quic-go"

	"sendonce"
)

var (
	errWrongKey = errors.New("the server's key is not the pinned one")
	errNoAnswer = errors.New("no answer")
)

const hintUnreachable = "check the address, that the proxy is running, and that UDP reaches it"

// TLS alerts (RFC 8446, 6) as QUIC codes (RFC 9001, 4.8).
const (
	cryptoFirst       = 0x100
	cryptoLast        = 0x1ff
	alertNoALPN       = cryptoFirst + 120
	alertOldVersion   = cryptoFirst + 70
	alertCertRequired = cryptoFirst + 116
)

func closedError(op, addr string) error {
	return &sendonce.Error{Op: op, Path: addr, Kind: sendonce.KindUnavailable, Detail: "closed", Err: net.ErrClosed}
}

// dialError is wrap for a connection that never came to be.
func dialError(addr string, err error) error {
	wrapped := wrap("dial", addr, err)
	if e, ok := errors.AsType[*sendonce.Error](wrapped); ok && e.Kind == sendonce.KindUnavailable && e.Hint == "" {
		e.Hint = hintUnreachable
	}
	return wrapped
}

// wrap turns any error of quic-go, the resolver or a context into a
// *sendonce.Error; io.EOF stays what it is. Causes that mean something to callers
// (a deadline, a cancelled context, a closed socket) stay in the chain.
func wrap(op, addr string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	e := &sendonce.Error{Op: op, Path: addr, Kind: sendonce.KindUnavailable, Err: err}
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		e.Kind, e.Detail, e.Err = kindOf(uint64(app.ErrorCode)), "closed by the peer", nil
		if !app.Remote {
			e.Detail = "closed by this side"
		}
		if app.ErrorMessage != "" {
			e.Detail += ": " + app.ErrorMessage
		}
		return e
	}
	if st, ok := errors.AsType[*quic.StreamError](err); ok {
		e.Kind, e.Detail, e.Err = kindOf(uint64(st.ErrorCode)), "cancelled by this side", nil
		if st.Remote {
			e.Detail = "cancelled by the peer"
		}
		return e
	}
	if tr, ok := errors.AsType[*quic.TransportError](err); ok {
		return transportError(e, tr)
	}
	switch {
	case errors.Is(err, errNoAnswer):
		e.Detail, e.Err = "no answer within "+handshakeTimeout.String(), nil
	case errors.Is(err, context.Canceled):
		e.Kind = sendonce.KindInterrupted
	case isA[*quic.VersionNegotiationError](err):
		e.Kind, e.Detail, e.Hint, e.Err = sendonce.KindUnsupported, "no QUIC version in common", "update the older side", nil
	case isA[*quic.HandshakeTimeoutError](err), isA[*quic.IdleTimeoutError](err):
		e.Detail, e.Err = "the peer does not answer", nil
	case isA[*quic.StatelessResetError](err):
		e.Detail, e.Err = "the peer has restarted", nil
	}
	return e
}

func transportError(e *sendonce.Error, tr *quic.TransportError) error {
	code := uint64(tr.ErrorCode)
	switch {
	case tr.ErrorCode == quic.ConnectionRefused:
		e.Detail, e.Err, e.Hint = "the peer refuses connections just now", nil, "try again later"
	case code == alertNoALPN || code == alertOldVersion:
		e.Kind, e.Detail, e.Err = sendonce.KindUnsupported, "the peer speaks another protocol or version", nil
		e.Hint = "check the address, and update the older side"
	case code == alertCertRequired:
		e.Kind, e.Detail, e.Err = sendonce.KindUnauthorized, "the server wants a certificate", nil
	case code >= cryptoFirst && code <= cryptoLast:
		e.Kind, e.Detail = sendonce.KindUnauthorized, fmt.Sprintf("the secure handshake failed (TLS alert %d)", code-cryptoFirst)
	}
	return e
}

// kindOf reads a kind off a peer's close or cancel code. 0 and what no kind can
// be mean no more than that the other side is gone.
func kindOf(code uint64) sendonce.ErrKind {
	if code == 0 || code > 255 {
		return sendonce.KindUnavailable
	}
	return sendonce.ErrKind(code)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
