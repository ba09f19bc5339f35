package unixsock

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sendonce"
)

// talk proves that l serves path.
func talk(t *testing.T, l net.Listener, path string) {
	t.Helper()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	c, err := Dial(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestListenIsPrivateAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	talk(t, l, path)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestListenReplacesAStaleSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if _, err := Listen(path); sendonce.KindOf(err) != sendonce.KindLocked {
		t.Errorf("a live socket: %v", err)
	}
	stale.Close() // as a killed process leaves it
	if _, err := Dial(context.Background(), path); sendonce.KindOf(err) != sendonce.KindUnavailable {
		t.Errorf("dialling a stale socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	talk(t, l, path)
}

func TestListenKeepsOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); sendonce.KindOf(err) != sendonce.KindExists {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

func TestLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := Listen(path)
	if runtime.GOOS != "linux" {
		if sendonce.KindOf(err) != sendonce.KindLimit || sendonce.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	talk(t, l, path)
	if _, err := Listen(path); sendonce.KindOf(err) != sendonce.KindLocked {
		t.Errorf("a second listener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("n", 120))); sendonce.KindOf(err) != sendonce.KindLimit {
		t.Errorf("a long name: %v", err)
	}
	if _, err := Listen(filepath.Join(dir, "missing", "s")); sendonce.KindOf(err) != sendonce.KindUnavailable {
		t.Errorf("a missing directory: %v", err)
	}
}
