package main

import "github.com/spf13/cobra"

func snapshotsCommand(a *app) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "snapshots FOLDER",
		Short: "List the points at which a device had sent everything, newest first",
		Long: `List the ends of passes, newest first: the points at which a device had just sent
all it had. Give a SEQ of the list to ls --at or restore --at.`,
		Args: between(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			o.place = args[0]
			return runLog(c.Context(), a, o, true)
		},
	}
	addLogFlags(c, &o)
	return c
}
