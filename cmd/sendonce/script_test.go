package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sendonce/cmd/sendonce/internal/sample"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sendonce": main, "get": cmdGet})
}

// TestScripts runs the real program. Besides the commands of testscript there
// are:
//
//	exits CODE PROGRAM ARGS...       runs it and checks the exit code
//	until [-PATTERN] PROGRAM ARGS... runs it until it succeeds (and its stdout matches)
//	setenv NAME                      sets a variable to the last stdout, trimmed
//	sigterm WORD                     sends SIGTERM to the background command with that argument
//	same DIR1 DIR2                   compares two trees byte for byte
//	exec get URL                     prints what a server answers
//	append FILE TEXT                 adds a line to a file
//	touch-tree DIR N                 makes N small files
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "until": cmdUntil, "setenv": cmdSetenv, "sigterm": cmdSigterm,
			"same": cmdSame, "append": cmdAppend, "touch-tree": cmdTouchTree,
		},
	})
}

// setupScript gives each script a home of its own. The state and the config file
// are named, because root would otherwise get the system's.
func setupScript(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	config := filepath.Join(home, "config.toml")
	if _, err := os.Stat(config); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(config, nil, 0o600); err != nil {
			return err
		}
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	e.Setenv("HOME", home)
	e.Setenv("FREE_PORT", port)
	e.Setenv("LONG", strings.Repeat("long-", 20))
	e.Setenv("SENDONCE_STATE", filepath.Join(home, "state"))
	e.Setenv("SENDONCE_CONFIG", config)
	return nil
}

// freePort finds a TCP port that nobody uses now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// cmdGet is a program of its own in the scripts, so that its output is stdout.
func cmdGet() {
	resp, err := http.Get(os.Args[1])
	if err == nil {
		_, err = io.Copy(os.Stdout, resp.Body)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, err, resp)
		os.Exit(1)
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// untilPatience ends a wait that will not end by itself; nothing depends on how
// long a step really takes.
const untilPatience = time.Minute

func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	var pattern *regexp.Regexp
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		var err error
		pattern, err = regexp.Compile("(?m)" + args[0][1:])
		ts.Check(err)
		args = args[1:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until [-PATTERN] PROGRAM ARGS...")
	}
	for deadline := time.Now().Add(untilPatience); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil && (pattern == nil || pattern.MatchString(ts.ReadFile("stdout"))) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it never came: %v", err)
		}
	}
}

func cmdSetenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: setenv NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func cmdSigterm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sigterm WORD")
	}
	sent := false
	for _, c := range ts.BackgroundCmds() {
		if slices.Contains(c.Args, args[0]) && c.ProcessState == nil {
			ts.Check(c.Process.Signal(syscall.SIGTERM))
			sent = true
		}
	}
	if !sent {
		ts.Fatalf("no background command has the argument %q", args[0])
	}
}

func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same DIR1 DIR2")
	}
	err := sample.Compare(ts.MkAbs(args[0]), ts.MkAbs(args[1]))
	if neg == (err == nil) {
		ts.Fatalf("compare: %v", err)
	}
}

func cmdAppend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: append FILE TEXT")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	ts.Check(err)
	_, err = f.WriteString(args[1] + "\n")
	ts.Check(errors.Join(err, f.Close()))
}

func cmdTouchTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: touch-tree DIR N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	for i := range n {
		ts.Check(os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte(strconv.Itoa(i)), 0o644))
	}
}
