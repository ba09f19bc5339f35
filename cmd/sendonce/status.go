package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sendonce/cmd/sendonce/internal/human"
	"sendonce/daemon"
)

type statusOptions struct{ json bool }

func statusCommand(a *app) *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "status",
		Short: "Show this device, its server and its folders",
		Args:  between(0, 0),
		RunE:  func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), a, o) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print a JSON object")
	return c
}

func runStatus(ctx context.Context, a *app, o statusOptions) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return a.printJSON(statusLists(s))
	}
	server := "not connected"
	if s.Connected {
		server = "connected"
	}
	running := "not running"
	if s.Daemon {
		running = "running"
	}
	err = a.table(func(row func(...string)) {
		row("device", fmt.Sprintf("%s (%s)", printable(s.DeviceName), s.Device))
		row("server", fmt.Sprintf("%s (%s)", s.Server, s.Fingerprint))
		if s.Daemon {
			row("daemon", running+", "+server)
		} else {
			row("daemon", running)
		}
	})
	if err != nil {
		return err
	}
	if len(s.Folders) == 0 {
		a.note("no folder is attached; attach one with sendonce add DIR")
		return nil
	}
	fmt.Fprintln(a.stdout)
	return a.table(func(row func(...string)) {
		row("FOLDER", "DIRECTORY", "ROLE", "STATE", "SEQ", "LAST SYNC", "BEHIND", "CONFLICTS", "SKIPPED")
		for _, f := range s.Folders {
			state := f.State
			if f.Detail != "" {
				state += " (" + oneLine(f.Detail) + ")"
			}
			// What the last pass found is known only if LastSync is.
			last, conflicts, skipped := "-", "-", "-"
			if !f.LastSync.IsZero() {
				last, conflicts, skipped = human.Ago(f.LastSync, a.now()), fmt.Sprint(len(f.Conflicts)), fmt.Sprint(len(f.Skipped))
			}
			row(printable(f.Name), printable(f.Dir), f.Role, state, fmt.Sprint(f.Seq), last, human.Count(f.Behind), conflicts, skipped)
		}
	})
}

// statusLists gives empty lists instead of none.
func statusLists(s daemon.Status) daemon.Status {
	if s.Folders == nil {
		s.Folders = []daemon.FolderStatus{}
	}
	for i := range s.Folders {
		f := &s.Folders[i]
		if f.Conflicts == nil {
			f.Conflicts = []daemon.Conflict{}
		}
		if f.Skipped == nil {
			f.Skipped = []daemon.Skipped{}
		}
	}
	return s
}
