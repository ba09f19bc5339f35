package main

import (
	"context"

	"github.com/spf13/cobra"
)

func removeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove DIR",
		Short: "Detach a directory; its files stay, here and on the server",
		Args:  between(1, 1),
		RunE:  func(c *cobra.Command, args []string) error { return runRemove(c.Context(), a, args[0]) },
	}
}

func runRemove(ctx context.Context, a *app, dir string) error {
	dir, err := absolute(dir)
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Detach(ctx, dir); err != nil {
		return err
	}
	a.note("%s is detached; its files stay, here and on the server", printable(dir))
	return nil
}
