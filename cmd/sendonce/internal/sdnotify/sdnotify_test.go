package sdnotify

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// systemd is the other end of NOTIFY_SOCKET.
func systemd(t *testing.T) (getenv func(string) string, next func() string) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	getenv = func(k string) string {
		return map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"}[k]
	}
	return getenv, func() string {
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestMessages(t *testing.T) {
	getenv, next := systemd(t)
	n := New(getenv)
	n.Ready()
	n.Status("two\nlines")
	n.Stopping()
	for _, want := range []string{"READY=1", "STATUS=two lines", "STOPPING=1"} {
		if got := next(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWatchdogBarksOnlyWhileAlive(t *testing.T) {
	getenv, next := systemd(t)
	ctx, cancel := context.WithCancel(context.Background())
	var asked atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		New(getenv).Watch(ctx, func(context.Context) error {
			if asked.Add(1) <= 3 {
				return errors.New("stuck")
			}
			return nil
		})
	}()
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("got %q", got)
	}
	if n := asked.Load(); n < 4 {
		t.Errorf("it said alive after %d questions, of which three failed", n)
	}
	cancel()
	<-done
}

func TestWithoutSystemdNothingHappens(t *testing.T) {
	n := New(func(string) string { return "" })
	n.Ready()
	n.Watch(context.Background(), func(context.Context) error { t.Error("asked"); return nil }) // returns at once
	gone := Notifier{socket: filepath.Join(t.TempDir(), "nobody"), watchdog: time.Second}
	gone.Stopping()
}
