package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/cmd/sendonce/internal/human"
	"sendonce/cmd/sendonce/internal/keyfile"
	"sendonce/daemon"
	"sendonce/daemon/session"
	"sendonce/protocol"
	"sendonce/protocol/quiclink"
)

type doctorOptions struct{ json bool }

func doctorCommand(a *app) *cobra.Command {
	var o doctorOptions
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check what a device needs in order to work",
		Long: `Check the state directory, the daemon, the server, the clocks, and the limits of
this machine. The exit code is that of the first check that failed; a warning is
no failure.`,
		Args: between(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runDoctor(c.Context(), a, o) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print a JSON array")
	return c
}

// finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // "ok", "warning", "failed"
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`

	kind sendonce.ErrKind // of a failed one
}

func ok(check, format string, args ...any) finding {
	return finding{Check: check, Result: "ok", Detail: fmt.Sprintf(format, args...)}
}

func warning(check, hint, format string, args ...any) finding {
	return finding{Check: check, Result: "warning", Detail: fmt.Sprintf(format, args...), Hint: hint}
}

func failed(check string, err error) finding {
	return finding{Check: check, Result: "failed", Detail: oneLine(err.Error()), Hint: sendonce.HintOf(err), kind: sendonce.KindOf(err)}
}

func runDoctor(ctx context.Context, a *app, o doctorOptions) error {
	findings := []finding{checkStateDir(a)}
	status, f := checkState(ctx, a)
	findings = append(findings, f)
	if status != nil {
		findings = append(findings, checkServer(ctx, a, status)...)
		findings = append(findings, checkFolders(status)...)
	}
	findings = append(findings, checkMachine(ctx, a.global.State, status)...)
	if err := printFindings(a, findings, o.json); err != nil {
		return err
	}
	for _, f := range findings {
		if f.Result == "failed" {
			return &sendonce.Error{Op: "doctor", Kind: f.kind, Detail: f.Check + " failed", Hint: f.Hint}
		}
	}
	return nil
}

func printFindings(a *app, findings []finding, asJSON bool) error {
	if asJSON {
		return a.printJSON(findings)
	}
	return a.table(func(row func(...string)) {
		for _, f := range findings {
			row(f.Result, f.Check, f.Detail)
			if f.Hint != "" {
				row("", "", "hint: "+f.Hint)
			}
		}
	})
}

// checkStateDir looks at what must be private to the user.
func checkStateDir(a *app) finding {
	const check = "state directory"
	dir := a.global.State
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = a.identity(false) // says what to do
		return failed(check, err)
	case err != nil:
		return failed(check, err)
	case !info.IsDir():
		return failed(check, &sendonce.Error{Path: dir, Kind: sendonce.KindUsage, Detail: "it is not a directory"})
	case info.Mode().Perm()&0o022 != 0:
		return failed(check, &sendonce.Error{Path: dir, Kind: sendonce.KindRefused, Detail: fmt.Sprintf("others may write to it (mode %04o)", info.Mode().Perm()),
			Hint: "run chmod 700 " + dir})
	}
	if _, err := a.identity(false); err != nil {
		return failed(check, err)
	}
	return ok(check, "%s, with a key only its owner can read", dir)
}

// checkState asks the daemon, or opens the state, which shows who holds its lock.
func checkState(ctx context.Context, a *app) (*daemon.Status, finding) {
	const check = "state and daemon"
	c, err := a.client(ctx)
	if err != nil {
		return nil, failed(check, err)
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return nil, failed(check, err)
	}
	if s.Daemon {
		return &s, ok(check, "a daemon runs and answers")
	}
	return &s, ok(check, "no daemon runs; the state opens")
}

// clockSlack is how far apart two clocks may be before it is worth a word. They
// decide nothing; only the times that people see would be odd.
const clockSlack = time.Minute

// checkServer greets the server on a connection of its own.
func checkServer(ctx context.Context, a *app, s *daemon.Status) []finding {
	const check = "server"
	if s.Server == "" {
		return []finding{failed(check, &sendonce.Error{Kind: sendonce.KindNotSetUp, Detail: "this device has not joined a server", Hint: "run sendonce join LINK"})}
	}
	server, err := sendonce.ParseDeviceID(s.Fingerprint)
	if err != nil {
		return []finding{failed(check, err)}
	}
	id, err := keyfile.Load(filepath.Join(a.global.State, stateKeyFile))
	if err != nil {
		return []finding{failed(check, err)}
	}
	dialer, err := quiclink.NewDialer(quiclink.Config{Identity: id})
	if err != nil {
		return []finding{failed(check, err)}
	}
	defer dialer.Close()
	began := a.now()
	link, err := session.Dial(ctx, dialer, session.Target{Addrs: serverAddrs(*s), Server: server, Hello: protocol.Hello{DeviceName: s.DeviceName}})
	if err != nil {
		return []finding{failed(check, err)}
	}
	defer link.Close()
	ended := a.now()
	took := ended.Sub(began)
	findings := []finding{ok(check, "%s answered in %s, version %s", s.Server, took.Round(time.Millisecond), link.Welcome.Server)}
	if theirs := link.Welcome.Time; !theirs.IsZero() {
		// It was read at some moment between the two readings of ours.
		apart := theirs.Sub(began.Add(took / 2)).Round(time.Millisecond)
		if apart.Abs() > clockSlack+took {
			findings = append(findings, warning("clocks", "set both machines' clocks by NTP", "the server's clock differs by %s; only displayed times suffer", apart))
		} else {
			findings = append(findings, ok("clocks", "the server's differs by %s", apart))
		}
	}
	return findings
}

// checkFolders sees whether every attached directory is there.
func checkFolders(s *daemon.Status) []finding {
	if len(s.Folders) == 0 {
		return []finding{warning("folders", "attach a directory: sendonce add DIR", "no directory is attached")}
	}
	var findings []finding
	for _, f := range s.Folders {
		check := "folder " + printable(f.Name)
		switch info, err := os.Stat(f.Dir); {
		case err != nil:
			findings = append(findings, failed(check, &sendonce.Error{Kind: sendonce.KindRefused, Err: err,
				Hint: "mount or restore it, or detach it: sendonce remove " + f.Dir}))
		case !info.IsDir():
			findings = append(findings, failed(check, &sendonce.Error{Path: f.Dir, Kind: sendonce.KindRefused, Detail: "it is not a directory"}))
		case len(f.Conflicts)+len(f.Skipped) > 0:
			findings = append(findings, warning(check, "see sendonce status --json", "%s, %s", human.Plural(int64(len(f.Conflicts)), "conflict"),
				human.Plural(int64(len(f.Skipped)), "skipped file")))
		default:
			findings = append(findings, ok(check, "%s is there", printable(f.Dir)))
		}
	}
	return findings
}
