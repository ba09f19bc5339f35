package progress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sendonce/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLine(t *testing.T) {
	for _, c := range []struct {
		p    daemon.Progress
		rate float64
		want string
	}{
		{daemon.Progress{Phase: "scan", Files: 12}, 0, "scan, 12 files"},
		{daemon.Progress{Folder: "docs", Phase: "scan", Files: 1, Bytes: 2048}, 1024, "docs: scan, 2.0 KiB, 1 file, 1.0 KiB/s"},
		{daemon.Progress{Folder: "docs", Phase: "push", Files: 5, FilesTotal: 1000, Bytes: 1 << 20, BytesTotal: 3 << 20, WireSent: 1 << 10}, 1 << 20,
			"docs: push, 1.0 MiB of 3.0 MiB, 5 of 1 000 files, sent 1.0 KiB, 1.0 MiB/s, 2s left"},
	} {
		if got := Line(c.p, c.rate); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// clock is moved by hand.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func TestLinesAndJSONComeAtTheirOwnPace(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	var lines, objects bytes.Buffer
	r := New(Options{Lines: &lines, JSON: &objects, Now: c.read})
	for range 610 { // 61 seconds
		r.Update(daemon.Progress{Phase: "push", Files: 1})
		c.now = c.now.Add(100 * time.Millisecond)
	}
	r.Close()
	r.Update(daemon.Progress{Phase: "late"})
	if n := strings.Count(lines.String(), "\n"); n != 2 {
		t.Errorf("%d lines in 61 seconds:\n%s", n, lines.String())
	}
	if n := strings.Count(objects.String(), "\n"); n != 60 {
		t.Errorf("%d objects in 61 seconds", n)
	}
	first, _, _ := strings.Cut(objects.String(), "\n")
	if !strings.HasPrefix(first, `{"progress":{"phase":"push","files":1,`) {
		t.Errorf("got %s", first)
	}
	if strings.Contains(lines.String()+objects.String(), "late") {
		t.Error("it wrote after Close")
	}
}

func TestShortWorkSaysNothing(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	var out bytes.Buffer
	r := New(Options{Lines: &out, JSON: &out, Now: c.read})
	r.Update(daemon.Progress{Phase: "push"})
	r.Close()
	if out.Len() != 0 {
		t.Errorf("got %q", out.String())
	}
}

func TestRateFollowsTheLastSeconds(t *testing.T) {
	var r rate
	at := time.Unix(1e9, 0)
	p := daemon.Progress{Phase: "push"}
	for i := range 60 {
		if p.Bytes += 1000; i >= 30 {
			p.Bytes += 9000 // ten times as fast in the second half
		}
		r.add(at, p)
		at = at.Add(time.Second)
	}
	if got := r.perSecond(); got < 9_000 || got > 10_000 {
		t.Errorf("got %v bytes a second", got)
	}
	r.add(at, daemon.Progress{Phase: "restore"})
	if got := r.perSecond(); got != 0 {
		t.Errorf("a new phase begins at %v", got)
	}
}

// safeBuffer is written by the bar's goroutine.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestBar(t *testing.T) {
	var out safeBuffer
	r := New(Options{Terminal: &out, Now: time.Now})
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(out.String(), "1.0 MiB of 2.0 MiB") {
		if time.Now().After(deadline) {
			t.Fatalf("no bar came: %q", out.String())
		}
		r.Update(daemon.Progress{Folder: "docs", Phase: "push", Bytes: 1 << 20, BytesTotal: 2 << 20})
		time.Sleep(time.Millisecond)
	}
	r.Update(daemon.Progress{Folder: "docs", Phase: "push", Bytes: 2 << 20, BytesTotal: 2 << 20})
	r.Close()
	before := out.String()
	r.Update(daemon.Progress{Phase: "late"})
	r.Close()
	if after := out.String(); after != before || strings.Contains(after, "\x1b[3") {
		t.Errorf("written after Close, or coloured: %q", after)
	}
}
