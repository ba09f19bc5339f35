package quiclink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"

	"github.com/quic-go/quic-go"

	"sendonce"
)

func tlsCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestErrorsAreOurs(t *testing.T) {
	app := func(code quic.ApplicationErrorCode, remote bool) error {
		return &quic.ApplicationError{ErrorCode: code, Remote: remote, ErrorMessage: "why"}
	}
	transport := func(code quic.TransportErrorCode) error { return &quic.TransportError{ErrorCode: code, Remote: true} }
	for _, c := range []struct {
		err  error
		kind sendonce.ErrKind
		text string
	}{
		{app(5, true), sendonce.KindUnauthorized, "op: addr: closed by the peer: why"},
		{app(5, false), sendonce.KindUnauthorized, "op: addr: closed by this side: why"},
		{app(0, true), sendonce.KindUnavailable, "op: addr: closed by the peer: why"},
		{app(1<<40, true), sendonce.KindUnavailable, "op: addr: closed by the peer: why"},
		{app(200, true), sendonce.ErrKind(200), "op: addr: closed by the peer: why"},
		{&quic.StreamError{ErrorCode: 7, Remote: true}, sendonce.KindFull, "op: addr: cancelled by the peer"},
		{&quic.StreamError{ErrorCode: 7}, sendonce.KindFull, "op: addr: cancelled by this side"},
		{transport(quic.ConnectionRefused), sendonce.KindUnavailable, "op: addr: the peer refuses connections just now"},
		{transport(alertCertRequired), sendonce.KindUnauthorized, "op: addr: the server wants a certificate"},
		{transport(alertNoALPN), sendonce.KindUnsupported, "op: addr: the peer speaks another protocol or version"},
		{transport(alertOldVersion), sendonce.KindUnsupported, "op: addr: the peer speaks another protocol or version"},
		{transport(cryptoFirst + 40), sendonce.KindUnauthorized, ""},
		{transport(quic.FlowControlError), sendonce.KindUnavailable, ""},
		{&quic.VersionNegotiationError{}, sendonce.KindUnsupported, "op: addr: no QUIC version in common"},
		{&quic.IdleTimeoutError{}, sendonce.KindUnavailable, "op: addr: the peer does not answer"},
		{&quic.HandshakeTimeoutError{}, sendonce.KindUnavailable, "op: addr: the peer does not answer"},
		{&quic.StatelessResetError{}, sendonce.KindUnavailable, "op: addr: the peer has restarted"},
		{errNoAnswer, sendonce.KindUnavailable, "op: addr: no answer within 10s"},
		{context.Canceled, sendonce.KindInterrupted, ""},
		{context.DeadlineExceeded, sendonce.KindUnavailable, ""},
		{quic.ErrTransportClosed, sendonce.KindUnavailable, ""},
		{net.ErrClosed, sendonce.KindUnavailable, ""},
		{errors.New("other"), sendonce.KindUnavailable, "op: addr: other"},
	} {
		e := wantKind(t, wrap("op", "addr", c.err), c.kind)
		if e.Kind == 0 || c.text != "" && e.Error() != c.text {
			t.Errorf("%v reads %q, want %q", c.err, e, c.text)
		}
	}
	if wrap("op", "", io.EOF) != io.EOF || wrap("op", "", nil) != nil {
		t.Error("io.EOF and nil must stay")
	}
}
