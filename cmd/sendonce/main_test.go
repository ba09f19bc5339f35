package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sendonce"
)

func TestExitCodes(t *testing.T) {
	for kind, want := range map[sendonce.ErrKind]int{
		sendonce.KindInternal: 1, sendonce.KindInvalid: 1, sendonce.KindNotFound: 1, sendonce.KindFull: 1, sendonce.KindNewerFormat: 1,
		sendonce.KindPartial: 3, sendonce.KindNotSetUp: 10, sendonce.KindLocked: 11, sendonce.KindUnauthorized: 12,
		sendonce.KindUnavailable: 13, sendonce.KindRefused: 14, sendonce.KindDamaged: 15, sendonce.KindUsage: 64, sendonce.KindInterrupted: 130,
	} {
		err := fmt.Errorf("outer: %w", &sendonce.Error{Op: "x", Err: &sendonce.Error{Kind: kind}})
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit code %d, want %d", kind, got, want)
		}
	}
	if got := exitCode(errors.New("anything")); got != 1 {
		t.Errorf("an unclassified error: %d", got)
	}
	if got := exitCode(fmt.Errorf("x: %w", context.Canceled)); got != 130 {
		t.Errorf("a cancelled context: %d", got)
	}
}

// runHere runs the program in this process.
func runHere(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	environ := []string{"HOME=" + t.TempDir(), "SENDONCE_STATE=" + t.TempDir() + "/state"}
	code = run(ctx, args, strings.NewReader(""), &out, &errs, environ)
	return code, out.String(), errs.String()
}

func TestInterruptedBeforeItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	code, stdout, stderr := runHere(t, ctx, "sync")
	if code != exitInterrupted || stdout != "" || !strings.Contains(stderr, "interrupted") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	a := newApp(nil, nil, nil, nil)
	for _, c := range newRoot(a).Commands() {
		code, stdout, _ := runHere(t, context.Background(), c.Name(), "--help")
		if code != 0 || len(stdout) < 40 {
			t.Errorf("%s --help: code %d, %q", c.Name(), code, stdout)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.Name(), c.Short)
		}
	}
}

func TestEveryErrorNamesItself(t *testing.T) {
	code, stdout, stderr := runHere(t, context.Background(), "stauts")
	if code != exitUsage || stdout != "" || stderr != "sendonce: error: unknown command \"stauts\" for \"sendonce\"\nsendonce: hint: did you mean status\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestParsePlace(t *testing.T) {
	now := time.Unix(1e9, 0)
	for arg, want := range map[string]place{
		"docs":             {folder: "docs"},
		"docs:":            {folder: "docs"},
		"docs:a/b":         {folder: "docs", path: "a/b"},
		"docs:/a//b/":      {folder: "docs", path: "a/b"},
		"docs:../../a":     {folder: "docs", path: "a"},
		"docs:a:b":         {folder: "docs", path: "a:b"},
		"docs:./a/../b/./": {folder: "docs", path: "b"},
	} {
		got, err := parsePlace(arg, "", now)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"", ":a", "docs:a\x00b"} {
		if _, err := parsePlace(arg, "", now); sendonce.KindOf(err) != sendonce.KindUsage {
			t.Errorf("%q: got %v", arg, err)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	f.Add("docs:a/../b", "2h ago")
	f.Add("docs:/../..//x", "42")
	f.Fuzz(func(t *testing.T, arg, at string) {
		p, err := parsePlace(arg, at, time.Unix(1e9, 0))
		if err != nil {
			return
		}
		for part := range strings.SplitSeq(p.path, "/") {
			if part == ".." || part == "." || p.path != "" && part == "" {
				t.Errorf("%q gives the path %q", arg, p.path)
			}
		}
		if p.folder == "" || strings.Contains(p.folder, ":") {
			t.Errorf("%q gives the folder %q", arg, p.folder)
		}
	})
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{"a b.txt": "a b.txt", "größe": "größe", "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`} {
		if got := printable(s); got != want {
			t.Errorf("%q: got %s", s, got)
		}
	}
}

func TestWhereabouts(t *testing.T) {
	named := func() (string, error) { return "box", nil }
	for w, want := range map[whereabouts]string{
		{Listen: "127.0.0.1:7411"}:              "127.0.0.1:7411",
		{Listen: "[::]:7411"}:                   "box:7411",
		{Listen: "0.0.0.0:1"}:                   "box:1",
		{Listen: ":1"}:                          "box:1",
		{Listen: "[::]:1", Advertise: "h:2"}:    "h:2",
		{Listen: "[2001:db8::1]:5"}:             "[2001:db8::1]:5",
		{Listen: "10.0.0.1:1", Advertise: "x:"}: "x:",
	} {
		got, err := w.addrs(named)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%+v: got %v, %v", w, got, err)
		}
	}
	_, err := whereabouts{Listen: ":1"}.addrs(func() (string, error) { return "", nil })
	if sendonce.KindOf(err) != sendonce.KindUsage || !strings.Contains(sendonce.HintOf(err), "--addr") {
		t.Errorf("a machine without a name: %v", err)
	}
}
