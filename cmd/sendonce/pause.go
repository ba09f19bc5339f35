package main

import (
	"context"

	"github.com/spf13/cobra"
)

func pauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pause [DIR...]",
		Short: "Stop sending changes of a directory (or of all) until resume",
		RunE: func(c *cobra.Command, args []string) error {
			return setPaused(c.Context(), a, args, true, false)
		},
	}
}

// setPaused is what pause and resume share. No directory means all.
func setPaused(ctx context.Context, a *app, dirs []string, paused, acceptDeletes bool) error {
	dirs, err := absoluteAll(dirs)
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if len(dirs) == 0 {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		for _, f := range s.Folders {
			dirs = append(dirs, f.Dir)
		}
	}
	word := "resumed"
	if paused {
		word = "paused"
	}
	for _, dir := range dirs {
		if err := c.SetPaused(ctx, dir, paused, acceptDeletes); err != nil {
			return err
		}
		a.note("%s is %s", printable(dir), word)
	}
	return nil
}
