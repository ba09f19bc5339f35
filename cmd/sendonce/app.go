package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sendonce"
	"sendonce/cmd/sendonce/internal/progress"
	"sendonce/cmd/sendonce/internal/settings"
)

// app is what every subcommand shares: the streams, the environment, and the
// global flags once they are resolved.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            settings.Env
	now            func() time.Time

	paths  settings.Paths // the defaults
	global globalFlags
	// Set by prepare:
	source   settings.Source
	settings []settings.Setting // of the global flags
	log      *slog.Logger
}

// globalFlags are the flags that every subcommand takes.
type globalFlags struct {
	State, Config, Socket string
	LogLevel, LogFormat   string
	Quiet, Verbose        bool
	NoProgress            bool
	Level                 string
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, environ []string) *app {
	env := settings.NewEnv(environ)
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, env: env, now: time.Now,
		paths: settings.DefaultPaths(env, os.Geteuid() == 0), log: slog.New(slog.DiscardHandler)}
}

// prepare runs before every subcommand: it reads the config file, resolves the
// command's flags and makes the logger.
func (a *app) prepare(c *cobra.Command) error {
	if err := a.readConfig(c.Root()); err != nil {
		return err
	}
	table := ""
	if p := c.Parent(); p != nil && p.Parent() == nil {
		table = c.Name() + "."
	}
	global, err := a.source.Resolve(c.Root().PersistentFlags(), "")
	if err != nil {
		return err
	}
	a.settings = global
	if _, err := a.source.Resolve(c.LocalNonPersistentFlags(), table); err != nil {
		return err
	}
	if err := a.checkGlobals(); err != nil {
		return err
	}
	a.log = a.newLogger(longRunning(c))
	return nil
}

// readConfig finds the config file, which the file itself cannot name, and
// reads it.
func (a *app) readConfig(root *cobra.Command) error {
	must := true
	if !root.PersistentFlags().Changed("config") {
		if p := a.env.Get(settings.EnvName("config")); p != "" {
			a.global.Config = p
		} else {
			must = false
		}
	}
	values, err := settings.Load(a.global.Config, must)
	a.source = settings.Source{Env: a.env, Path: a.global.Config, File: values}
	return err
}

func (a *app) checkGlobals() error {
	g := &a.global
	for _, p := range []*string{&g.State, &g.Socket} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return &sendonce.Error{Op: "read settings", Path: *p, Kind: sendonce.KindUsage, Err: err}
		}
		*p = abs
	}
	if g.State == "" {
		return usageError("--state is empty", "name the directory that holds this device's keys and database")
	}
	for _, f := range []struct{ flag, value, allowed string }{
		{"log-level", g.LogLevel, "debug info warn error"},
		{"log-format", g.LogFormat, "text json"},
		{"level", g.Level, "fastest default better"},
	} {
		words := strings.Fields(f.allowed)
		if f.value != "" && !slices.Contains(words, f.value) {
			return usageError(fmt.Sprintf("%q is not a value for --%s", f.value, f.flag), "use one of "+strings.Join(words, ", "))
		}
	}
	return nil
}

// sockets returns where the daemon of this state directory may listen; a daemon
// takes the first.
func (a *app) sockets() []string { return a.paths.Sockets(a.global.State, a.global.Socket) }

// longRunning says whether a command is a service, whose log tells what it
// does; the others log only what goes wrong.
func longRunning(c *cobra.Command) bool { return c.Name() == "proxy" || c.Name() == "daemon" }

func (a *app) newLogger(service bool) *slog.Logger {
	level := slog.LevelWarn
	if service {
		level = slog.LevelInfo
	}
	switch {
	case a.global.LogLevel != "":
		_ = level.UnmarshalText([]byte(a.global.LogLevel)) // checkGlobals saw it
	case a.global.Verbose:
		level = slog.LevelDebug
	case a.global.Quiet:
		level = slog.LevelError
	}
	o := &slog.HandlerOptions{Level: level}
	if a.global.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	if a.env.Get("JOURNAL_STREAM") != "" { // the journal has times of its own
		o.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		}
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// printError writes an error and its hint to stderr.
func (a *app) printError(err error) {
	fmt.Fprintf(a.stderr, "sendonce: error: %s\n", oneLine(err.Error()))
	if hint := sendonce.HintOf(err); hint != "" {
		fmt.Fprintf(a.stderr, "sendonce: hint: %s\n", oneLine(hint))
	}
}

func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// note writes a message for people, unless --quiet.
func (a *app) note(format string, args ...any) {
	if !a.global.Quiet {
		fmt.Fprintf(a.stderr, "sendonce: "+format+"\n", args...)
	}
}

// printJSON writes one object on one line to stdout.
func (a *app) printJSON(v any) error { return json.NewEncoder(a.stdout).Encode(v) }

// table writes aligned columns to stdout; a row's cells are separated by tabs.
func (a *app) table(rows func(row func(cells ...string))) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	rows(func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) })
	return w.Flush()
}

// reporter shows the progress of a long operation in the form that fits.
func (a *app) reporter(asJSON bool) *progress.Reporter {
	o := progress.Options{Now: a.now}
	switch {
	case a.global.NoProgress || a.global.Quiet:
	case asJSON:
		o.JSON = a.stdout
	case a.isTerminal():
		o.Terminal = a.stderr
	default:
		o.Lines = a.stderr
	}
	return progress.New(o)
}

// isTerminal says whether stderr is a terminal that can move its cursor.
func (a *app) isTerminal() bool {
	f, ok := a.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && a.env.Get("TERM") != "dumb"
}

func usageError(detail, hint string) error {
	return &sendonce.Error{Kind: sendonce.KindUsage, Detail: detail, Hint: hint}
}
