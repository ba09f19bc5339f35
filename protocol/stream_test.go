package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sendonce"
)

func TestStreamOfAllMessages(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	packs := 0
	pack := bytes.Repeat([]byte("pack"), 100<<10) // larger than every buffer
	var sent []Message
	for _, m := range samples() {
		if h, ok := m.(*PackHeader); ok {
			h.Length = uint32(len(pack) >> (packs * 10)) // the second fits into the buffer
			packs++
			if err := w.SendPack(h, pack[:h.Length]); err != nil {
				t.Fatal(err)
			}
		} else if err := w.Send(m); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, m)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(b.Bytes()), "byte by byte": iotest.OneByteReader(bytes.NewReader(b.Bytes()))} {
		r := NewReader(r)
		for i, want := range sent {
			got, err := r.Next()
			if err != nil {
				t.Fatalf("%s: message %d: %v", name, i, err)
			}
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("%s: message %d: %s", name, i, d)
			}
			if h, ok := got.(*PackHeader); ok {
				body, err := r.Body([]byte("dst"))
				if err != nil || string(body) != "dst"+string(pack[:h.Length]) {
					t.Fatalf("%s: %d bytes of body, %v", name, len(body), err)
				}
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestEveryPrefixIsTruncated(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.SendPack(&PackHeader{Op: 1, Sizes: []uint32{100}, Length: 5}, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(&Done{Op: 300}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	header := len(whole) - 5 - len(frame(t, &Done{Op: 300}))
	for n := range whole {
		r := NewReader(bytes.NewReader(whole[:n]))
		var err error
		for err == nil {
			var m Message
			if m, err = r.Next(); err == nil && TypeOf(m) == TypePackHeader {
				_, err = r.Body(nil)
			}
		}
		if n == 0 || n == header+5 {
			if err != io.EOF {
				t.Errorf("%d bytes: %v, want EOF", n, err)
			}
			continue
		}
		if wantKind(t, err, sendonce.KindInvalid).Detail != "truncated" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestBadLengths(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		kind sendonce.ErrKind
	}{
		{[]byte{0}, sendonce.KindInvalid},
		{[]byte{0x81, 0x80, 0x40, 1}, sendonce.KindLimit}, // MaxFrame + 1
		{[]byte{0xff, 0xff, 0x7f, 1}, sendonce.KindLimit},
		{[]byte{0xff, 0xff, 0xff, 1}, sendonce.KindLimit},
		{[]byte{1, 99}, sendonce.KindInvalid},
	} {
		_, err := NewReader(bytes.NewReader(c.in)).Next()
		wantKind(t, err, c.kind)
	}
}

// What a header promises costs nothing until it arrives.
func TestPromisesCostNoMemory(t *testing.T) {
	long := append([]byte{0x80, 0x80, 0x40, byte(TypeAdminReply)}, make([]byte, 100)...) // a frame of 1 MiB
	r := NewReader(bytes.NewReader(long))
	if _, err := r.Next(); err == nil {
		t.Fatal("no error")
	}
	if cap(r.buf) > 2*growStep {
		t.Errorf("%d bytes allocated for 100", cap(r.buf))
	}
	r = NewReader(bytes.NewReader(frame(t, &PackHeader{Op: 1, Sizes: []uint32{1}, Length: sendonce.MaxPack})))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	body, err := r.Body(nil)
	wantKind(t, err, sendonce.KindInvalid)
	if cap(body) > 2*growStep {
		t.Errorf("%d bytes allocated for none", cap(body))
	}
}

func TestBodyOutOfTurn(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.SendPack(&PackHeader{Op: 1, Sizes: []uint32{1}, Length: 1}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := NewReader(&b)
	_, err := r.Body(nil)
	wantKind(t, err, sendonce.KindInternal)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	_, err = r.Next()
	wantKind(t, err, sendonce.KindInternal)
	if b, err := r.Body(nil); string(b) != "x" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_, err = r.Body(nil)
	wantKind(t, err, sendonce.KindInternal)
}

// failAfter accepts n bytes.
type failAfter struct{ n int }

var errBroken = errors.New("broken")

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestWriterErrors(t *testing.T) {
	header := func(n int) *PackHeader { return &PackHeader{Op: 1, Sizes: []uint32{1}, Length: uint32(n)} }
	big := make([]byte, writeBuffer+1)
	w := NewWriter(&failAfter{})
	wantKind(t, w.Send(&Hello{}), sendonce.KindInvalid)
	wantKind(t, w.SendPack(header(3), nil), sendonce.KindInvalid)
	wantKind(t, w.SendPack(&PackHeader{}, nil), sendonce.KindInvalid)
	if err := w.Send(&Done{Op: 1}); err != nil { // refused messages break nothing
		t.Fatal(err)
	}
	if err := w.Flush(); err != errBroken {
		t.Errorf("flush: %v", err)
	}
	for _, again := range []error{w.Send(&Done{Op: 1}), w.Flush(), w.SendPack(header(1), []byte("x")), w.SendPack(header(len(big)), big)} {
		if again != errBroken {
			t.Errorf("after the error: %v", again)
		}
	}
	if err := NewWriter(&failAfter{}).SendPack(header(len(big)), big); err != errBroken {
		t.Errorf("pack whose header cannot be written: %v", err)
	}
	w = NewWriter(&failAfter{100})
	if err := w.SendPack(header(len(big)), big); err != errBroken {
		t.Errorf("pack whose body cannot be written: %v", err)
	}
	if err := w.Send(&Done{}); err != errBroken {
		t.Errorf("after that: %v", err)
	}
	w = NewWriter(&failAfter{100})
	var err error
	for range 100 {
		if err = w.Send(&AdminReply{Body: make([]byte, 1000)}); err != nil {
			break
		}
	}
	if err != errBroken {
		t.Errorf("full buffer: %v", err)
	}
}

func TestConcurrentSendersKeepFramesWhole(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	var wg sync.WaitGroup
	const senders, each = 8, 50
	for s := range senders {
		wg.Go(func() {
			pack := bytes.Repeat([]byte{byte(s)}, 3000+s*9000)
			for range each {
				if err := w.SendPack(&PackHeader{Op: uint64(s), Sizes: []uint32{1}, Length: uint32(len(pack))}, pack); err != nil {
					t.Error(err)
				}
				if err := w.Send(&Done{Op: uint64(s)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := NewReader(&b)
	n := 0
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		if h, ok := m.(*PackHeader); ok {
			body, err := r.Body(nil)
			if err != nil || bytes.Count(body, []byte{byte(h.Op)}) != int(h.Length) {
				t.Fatalf("pack of %d mixed with others: %v", h.Op, err)
			}
		}
	}
	if n != 2*senders*each {
		t.Errorf("%d messages", n)
	}
}

// slowReader gives a few bytes a read and lets time pass; its deadline works.
type slowReader struct {
	data     []byte
	step     int
	pause    time.Duration
	now      time.Time
	deadline time.Time
	idle     time.Duration // passes before the first byte of the next read
	sets     int
}

func (s *slowReader) SetReadDeadline(t time.Time) error {
	s.deadline = t
	s.sets++
	return nil
}

func (s *slowReader) Read(p []byte) (int, error) {
	s.now = s.now.Add(s.pause + s.idle)
	s.idle = 0
	if !s.deadline.IsZero() && s.now.After(s.deadline) {
		s.now = s.deadline
		return 0, fmt.Errorf("stream: %w", os.ErrDeadlineExceeded)
	}
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.data)
	s.data = s.data[n:]
	return n, nil
}

func TestMinimumRate(t *testing.T) {
	small := frame(t, &Done{Op: 1 << 50})
	big := frame(t, bigOffer())
	pack := append(frame(t, &PackHeader{Op: 1, Sizes: []uint32{1}, Length: sendonce.MaxPack}), make([]byte, sendonce.MaxPack)...)
	for _, c := range []struct {
		name string
		r    *slowReader
		ok   bool
	}{
		{"a small frame within the window", &slowReader{data: small, step: 1, pause: 2 * time.Second}, true},
		{"a small frame that takes longer", &slowReader{data: small, step: 1, pause: 4 * time.Second}, false},
		{"a large frame at 32 KiB/s", &slowReader{data: big, step: 32 << 10, pause: time.Second}, true},
		{"a large frame at 8 KiB/s", &slowReader{data: big, step: 8 << 10, pause: time.Second}, false},
		{"a pack at 20 KiB/s", &slowReader{data: pack, step: 20 << 10, pause: time.Second}, true},
		{"a pack at 10 KiB/s", &slowReader{data: pack, step: 10 << 10, pause: time.Second}, false},
		{"a long wait before a frame", &slowReader{data: small, step: 100, idle: time.Hour}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReaderRate(c.r, func() time.Time { return c.r.now })
			m, err := r.Next()
			if err == nil && TypeOf(m) == TypePackHeader {
				_, err = r.Body(nil)
			}
			if c.ok {
				if err != nil {
					t.Fatal(err)
				}
				if !c.r.deadline.IsZero() {
					t.Error("a deadline stays set between frames")
				}
				return
			}
			wantKind(t, err, sendonce.KindUnavailable)
		})
	}
}

func TestBufferedFramesSetNoDeadline(t *testing.T) {
	one := frame(t, &Done{Op: 1})
	r := &slowReader{data: bytes.Repeat(one, 50), step: 1 << 20}
	reader := NewReaderRate(r, func() time.Time { return r.now })
	for range 50 {
		if _, err := reader.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if r.sets != 0 {
		t.Errorf("%d deadlines set", r.sets)
	}
}

type noDeadline struct{ slowReader }

func (*noDeadline) SetReadDeadline(time.Time) error { return errBroken }

func TestDeadlineThatCannotBeSet(t *testing.T) {
	r := &noDeadline{slowReader{data: frame(t, bigOffer()), step: 100}}
	_, err := NewReaderRate(r, func() time.Time { return r.now }).Next()
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if _, err := NewReaderRate(r, nil).Next(); err == nil { // mid-stream: garbage, but read without deadlines
		t.Error("garbage was read")
	}
}
