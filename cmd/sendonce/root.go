package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot builds the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sendonce",
		Short: "Keep folders in step with your own server; send every piece of data once",
		Long: `sendonce keeps folders in step with a server of your own, and sends every piece
of data over the wire once.

On the server:    sendonce proxy --data /srv/sendonce
                  sendonce invite --data /srv/sendonce
On each device:   sendonce join LINK ~/Documents
                  sendonce daemon

Every flag can be set as SENDONCE_ and its name in upper case, most in the config
file too: the command line wins, then the environment, then the file.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return a.prepare(c)
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError(err.Error(), "see "+c.CommandPath()+" --help")
	})
	a.addGlobalFlags(root)

	root.AddGroup(
		&cobra.Group{ID: "server", Title: "On the server:"},
		&cobra.Group{ID: "setup", Title: "Setting up a device:"},
		&cobra.Group{ID: "sync", Title: "Keeping in step:"},
		&cobra.Group{ID: "read", Title: "Looking and bringing back:"},
		&cobra.Group{ID: "other", Title: "Other:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("server", proxyCommand(a), inviteCommand(a), devicesCommand(a))
	add("setup", joinCommand(a), addCommand(a), removeCommand(a))
	add("sync", daemonCommand(a), syncCommand(a), statusCommand(a), pauseCommand(a), resumeCommand(a), conflictsCommand(a))
	add("read", lsCommand(a), logCommand(a), snapshotsCommand(a), restoreCommand(a))
	add("other", demoCommand(a), doctorCommand(a), configCommand(a), completionCommand(a), versionCommand(a))
	root.AddCommand(exitCodesTopic())
	root.SetHelpCommandGroupID("other")
	return root
}

func (a *app) addGlobalFlags(root *cobra.Command) {
	f, g := root.PersistentFlags(), &a.global
	f.StringVar(&g.State, "state", a.paths.State, "`DIR` with this device's keys and database")
	f.StringVar(&g.Config, "config", a.paths.Config, "config `FILE`")
	f.StringVar(&g.Socket, "socket", "", "`PATH` of the daemon's socket (default: chosen by --state)")
	f.StringVar(&g.LogLevel, "log-level", "", "least `LEVEL` to log: debug, info, warn, error (default: info for services, warn otherwise)")
	f.StringVar(&g.LogFormat, "log-format", "text", "`FORMAT` of the log on stderr: text, json")
	f.BoolVarP(&g.Quiet, "quiet", "q", false, "say only what goes wrong")
	f.BoolVarP(&g.Verbose, "verbose", "v", false, "log details")
	f.BoolVar(&g.NoProgress, "no-progress", false, "show no progress")
	f.StringVar(&g.Level, "level", "default", "compression `LEVEL`: fastest, default, better")
	for flag, words := range map[string]string{"log-level": "debug info warn error", "log-format": "text json", "level": "fastest default better"} {
		must(root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(strings.Fields(words), cobra.ShellCompDirectiveNoFileComp)))
	}
}

// must panics on an error that only a mistake in this package can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// knownCommand refuses what cobra would hand to the parent as its arguments.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see " + c.CommandPath() + " --help"
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ")
	}
	return usageError(fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath()), hint)
}

// between checks how many arguments there are; most < 0 means any number.
func between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		hint := "usage: " + c.UseLine()
		if len(args) < least {
			return usageError(fmt.Sprintf("%s takes at least %d argument(s), not %d", c.CommandPath(), least, len(args)), hint)
		}
		if most >= 0 && len(args) > most {
			return usageError(fmt.Sprintf("%s takes at most %d argument(s): %q is one too many", c.CommandPath(), most, args[most]), hint)
		}
		return nil
	}
}
