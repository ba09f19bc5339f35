// Package stream is one conversation between the proxy and a peer: messages in
// and messages out, on one stream of a connection.
//
// Invariants: a peer that stops reading or writing in the middle of a message is
// cut off after a time (I13), and every stream that failed says why before it
// ends, unless the peer has gone. It does not know what a conversation is about,
// and does not limit how long a peer may be silent between messages: some
// conversations are silent for days.
//
// There is one file, stream.go.
package stream

import (
	"errors"
	"fmt"
	"io"
	"time"

	"sendonce"
	"sendonce/protocol"
)

// Stream is one conversation. One goroutine reads and one writes.
type Stream struct {
	*protocol.Reader
	*protocol.Writer
	Raw protocol.Stream // below both
}

// New returns the proxy's end of a conversation. A peer has patience for each
// piece of what is written to it; now is the clock of the deadlines.
func New(raw protocol.Stream, now func() time.Time, patience time.Duration) *Stream {
	return &Stream{
		Reader: protocol.NewReaderRate(raw, now),
		Writer: protocol.NewWriter(&patientWriter{w: raw, now: now, patience: patience}),
		Raw:    raw,
	}
}

// Answer sends m at once.
func (st *Stream) Answer(m protocol.Message) error {
	if err := st.Send(m); err != nil {
		return err
	}
	return st.Flush()
}

// Fail tells the peer that the request op (0: the stream) failed, and returns err,
// or the error of telling it.
func (st *Stream) Fail(op uint64, err error) error {
	if e := st.Answer(protocol.FailOf(op, err)); e != nil {
		return e
	}
	return err
}

// End closes the stream; an error that is not the peer's end of it (io.EOF) is
// told. Nothing is sent afterwards.
func (st *Stream) End(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		_ = st.Flush() // the peer may be gone, and then nobody minds
		_ = st.Raw.Close()
		return
	}
	// A failure to tell means that the peer is gone already.
	if e := st.Answer(protocol.FailOf(0, err)); e == nil {
		_ = st.Raw.Close()
	} else {
		st.Raw.Cancel(sendonce.KindOf(err))
	}
	st.Raw.StopRecv(sendonce.KindOf(err))
}

// Abort makes every read and write of the stream fail.
func (st *Stream) Abort(kind sendonce.ErrKind) {
	st.Raw.StopRecv(kind)
	st.Raw.Cancel(kind)
}

// Broken is a peer's breach of the protocol, of KindInvalid.
func Broken(format string, args ...any) error {
	return &sendonce.Error{Op: "converse", Kind: sendonce.KindInvalid, Detail: fmt.Sprintf(format, args...)}
}

// patientWriter gives the peer some time for each piece of what is written.
type patientWriter struct {
	w        protocol.SendStream
	now      func() time.Time
	patience time.Duration
}

const patientPiece = 256 << 10

func (w *patientWriter) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if err := w.w.SetWriteDeadline(w.now().Add(w.patience)); err != nil {
			return n, err
		}
		m, err := w.w.Write(b[n:min(len(b), n+patientPiece)])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
