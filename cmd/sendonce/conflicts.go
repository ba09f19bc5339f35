package main

import (
	"context"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/daemon"
)

type conflictsOptions struct{ json bool }

func conflictsCommand(a *app) *cobra.Command {
	var o conflictsOptions
	c := &cobra.Command{
		Use:   "conflicts",
		Short: "List files that another device changed too; nothing was overwritten",
		Long: `List files that another device changed too. Nothing was overwritten: this device's
version is where it was, the other one can be restored into another directory.
Without a daemon this compares everything with the server, and changes nothing.`,
		Args: between(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runConflicts(c.Context(), a, o) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print a JSON array")
	return c
}

func runConflicts(ctx context.Context, a *app, o conflictsOptions) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := findConflicts(ctx, c)
	if err != nil {
		return err
	}
	if o.json {
		return a.printJSON(all)
	}
	if len(all) == 0 {
		a.note("no conflicts")
		return nil
	}
	return a.table(func(row func(...string)) {
		row("FOLDER", "PATH", "REASON")
		for _, c := range all {
			row(printable(c.Folder), printable(c.Path), c.Reason)
		}
	})
}

// findConflicts asks the daemon for what its last passes found. Without one there
// is no last pass, so it makes one that changes nothing.
func findConflicts(ctx context.Context, c client) ([]daemon.Conflict, error) {
	all := []daemon.Conflict{}
	s, err := c.Status(ctx)
	if err != nil {
		return all, err
	}
	if s.Daemon {
		for _, f := range s.Folders {
			all = append(all, f.Conflicts...)
		}
		return all, nil
	}
	sum, err := c.Sync(ctx, nil, daemon.SyncOptions{DryRun: true})
	if err != nil && sendonce.KindOf(err) != sendonce.KindPartial {
		return all, err
	}
	return append(all, sum.Conflicts...), nil
}
