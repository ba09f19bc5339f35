package protocol

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"google.golang.org/protobuf/proto"

	"sendonce"
)

// A frame is a uvarint (the length of what follows), one type byte, and the
// message's protobuf. maxFrameLen is what the uvarint may say.
const maxFrameLen = sendonce.MaxFrame

// wire is what every message can do with its bytes; each method's rules are in
// check.go (limits), codec.go, codec_node.go and codec_commit.go (bytes).
type wire interface {
	Message
	// check tells whether the message satisfies every limit that does not depend
	// on its encoding. It is asked before sending and after receiving.
	check() error
	// toPB returns the protobuf form. It may share memory with the message.
	toPB() proto.Message
	// fromPB fills the zero message from bytes, which it does not keep.
	fromPB(body []byte) error
}

// newMessage returns a zero message of type t, or nil for an unknown type.
func newMessage(t FrameType) wire {
	switch t {
	case TypeFail:
		return new(Fail)
	case TypeHello:
		return new(Hello)
	case TypeWelcome:
		return new(Welcome)
	case TypePushOpen:
		return new(PushOpen)
	case TypePushReady:
		return new(PushReady)
	case TypeOffer:
		return new(Offer)
	case TypeMissing:
		return new(Missing)
	case TypeStored:
		return new(StoredAck)
	case TypeCommit:
		return new(Commit)
	case TypeCommitted:
		return new(Committed)
	case TypeConflict:
		return new(Conflict)
	case TypePackHeader:
		return new(PackHeader)
	case TypeChanges:
		return new(Changes)
	case TypeChangeSet:
		return new(ChangeSet)
	case TypeList:
		return new(List)
	case TypeNodeList:
		return new(NodeList)
	case TypeRead:
		return new(Read)
	case TypeManifestPart:
		return new(ManifestPart)
	case TypeFetch:
		return new(Fetch)
	case TypeDone:
		return new(Done)
	case TypeLog:
		return new(Log)
	case TypeLogEntries:
		return new(LogEntries)
	case TypeAdmin:
		return new(Admin)
	case TypeAdminReply:
		return new(AdminReply)
	}
	return nil
}

var typeNames = [...]string{
	TypeFail: "Fail", TypeHello: "Hello", TypeWelcome: "Welcome", TypePushOpen: "PushOpen", TypePushReady: "PushReady",
	TypeOffer: "Offer", TypeMissing: "Missing", TypeStored: "StoredAck", TypeCommit: "Commit", TypeCommitted: "Committed",
	TypeConflict: "Conflict", TypePackHeader: "PackHeader", TypeChanges: "Changes", TypeChangeSet: "ChangeSet",
	TypeList: "List", TypeNodeList: "NodeList", TypeRead: "Read", TypeManifestPart: "ManifestPart", TypeFetch: "Fetch",
	TypeDone: "Done", TypeLog: "Log", TypeLogEntries: "LogEntries", TypeAdmin: "Admin", TypeAdminReply: "AdminReply",
}

// String returns the name of the message that the type stands for.
func (t FrameType) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("frame type %d", uint8(t))
}

// TypeOf returns the type of m's frame.
func TypeOf(m Message) FrameType { return m.frameType() }

// AppendFrame appends m's frame to dst and returns the longer slice. It keeps
// nothing of m. A message that breaks a limit is refused (KindInvalid, or
// KindLimit when its frame would be longer than sendonce.MaxFrame) and dst comes
// back as it was.
func AppendFrame(dst []byte, m Message) ([]byte, error) {
	w, ok := m.(wire)
	if !ok {
		return dst, frameError("append frame", m.frameType(), "not a message of this protocol")
	}
	if err := w.check(); err != nil {
		return dst, &sendonce.Error{Op: "append frame", Path: m.frameType().String(), Err: err}
	}
	p := w.toPB()
	size := 1 + proto.Size(p)
	if size > maxFrameLen {
		return dst, &sendonce.Error{Op: "append frame", Path: m.frameType().String(), Kind: sendonce.KindLimit,
			Detail: fmt.Sprintf("%d bytes, the limit of a frame is %d", size, maxFrameLen)}
	}
	out := binary.AppendUvarint(dst, uint64(size))
	out = append(out, byte(m.frameType()))
	// Deterministic costs nothing here (there are no maps) and says what the golden tests rely on.
	out, err := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(out, p)
	if err != nil { // a text that is not UTF-8
		return dst, &sendonce.Error{Op: "append frame", Path: m.frameType().String(), Kind: sendonce.KindInvalid, Err: err}
	}
	return out, nil
}

// FrameSize returns how many bytes AppendFrame would append for m, without
// checking it.
func FrameSize(m Message) int {
	w, ok := m.(wire)
	if !ok {
		return 0
	}
	n := 1 + proto.Size(w.toPB())
	return n + (bits.Len64(uint64(n))+6)/7
}

// ParseFrame reads the body of a frame of type t: what follows the type byte.
// The message owns its memory; body may be reused. Fields that this version does
// not know are ignored; everything else is strict: every limit, range, name and
// count is checked (KindInvalid, or KindLimit), and an unknown t is KindInvalid.
func ParseFrame(t FrameType, body []byte) (Message, error) {
	w := newMessage(t)
	if w == nil {
		return nil, frameError("parse frame", t, "unknown type")
	}
	if len(body)+1 > maxFrameLen {
		return nil, &sendonce.Error{Op: "parse frame", Path: t.String(), Kind: sendonce.KindLimit, Detail: "longer than a frame may be"}
	}
	if err := w.fromPB(body); err != nil {
		return nil, &sendonce.Error{Op: "parse frame", Path: t.String(), Err: err}
	}
	if err := w.check(); err != nil {
		return nil, &sendonce.Error{Op: "parse frame", Path: t.String(), Err: err}
	}
	return w, nil
}

func frameError(op string, t FrameType, detail string) error {
	return &sendonce.Error{Op: op, Path: t.String(), Kind: sendonce.KindInvalid, Detail: detail}
}

// decode reads body into p; how much memory a small body can make it allocate
// is bounded by countItems first.
func decode(body []byte, p proto.Message) error {
	if err := countItems(body, p.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, p); err != nil {
		return &sendonce.Error{Kind: sendonce.KindInvalid, Detail: "malformed protobuf"}
	}
	return nil
}
