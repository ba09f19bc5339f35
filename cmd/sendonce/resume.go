package main

import "github.com/spf13/cobra"

type resumeOptions struct{ acceptDeletes bool }

func resumeCommand(a *app) *cobra.Command {
	var o resumeOptions
	c := &cobra.Command{
		Use:   "resume [DIR...]",
		Short: "Send changes of a paused directory (or of all) again",
		Long: `Send changes of a paused directory again. A folder that paused itself because
more than a quarter of its files (and more than 500) were gone stays paused until
--accept-deletes says that they are meant to be gone.`,
		RunE: func(c *cobra.Command, args []string) error {
			return setPaused(c.Context(), a, args, false, o.acceptDeletes)
		},
	}
	c.Flags().BoolVar(&o.acceptDeletes, "accept-deletes", false, "the missing files are meant to be gone: delete them on the server too")
	return c
}
