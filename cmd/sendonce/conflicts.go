package main

import (
	"context"

	"github.com/spf13/cobra"

	"sendonce/daemon"
)

type conflictsOptions struct{ json bool }

func conflictsCommand(a *app) *cobra.Command {
	var o conflictsOptions
	c := &cobra.Command{
		Use:   "conflicts",
		Short: "List files that another device changed too; nothing was overwritten",
		Long: `List files that another device changed too. Nothing was overwritten: this device's
version is where it was, the other one can be restored into another directory. To
take the other one, copy it over; to keep this one, rename it.`,
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
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	all := []daemon.Conflict{}
	for _, f := range s.Folders {
		all = append(all, f.Conflicts...)
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
