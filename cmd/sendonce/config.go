package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sendonce/cmd/sendonce/internal/settings"
)

func configCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the settings and where they come from",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(configShowCommand(a), configPathCommand(a))
	return c
}

type configShowOptions struct{ json bool }

func configShowCommand(a *app) *cobra.Command {
	var o configShowOptions
	c := &cobra.Command{
		Use:   "show",
		Short: "Print each setting of the config file, its value, and where the value comes from",
		Args:  between(0, 0),
		RunE:  func(c *cobra.Command, _ []string) error { return runConfigShow(a, c.Root(), o) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print a JSON array")
	return c
}

func runConfigShow(a *app, root *cobra.Command, o configShowOptions) error {
	known := map[string]bool{"config": true} // not a key of the file, yet worth knowing
	for _, k := range settings.Keys() {
		known[k] = true
	}
	var shown []settings.Setting
	keep := func(all []settings.Setting, err error) error {
		for _, s := range all {
			if known[s.Key] {
				shown = append(shown, s)
			}
		}
		return err
	}
	must(keep(a.settings, nil))
	for _, c := range root.Commands() {
		if c.Name() == "proxy" || c.Name() == "daemon" {
			if err := keep(a.source.Resolve(c.LocalNonPersistentFlags(), c.Name()+".")); err != nil {
				return err
			}
		}
	}
	for i := range shown {
		if shown[i].Key == "socket" && shown[i].Value == "" {
			shown[i].Value = a.sockets()[0]
		}
	}
	if o.json {
		return a.printJSON(shown)
	}
	return a.table(func(row func(...string)) {
		row("KEY", "VALUE", "ORIGIN")
		for _, s := range shown {
			row(s.Key, s.Value, s.Origin)
		}
	})
}

func configPathCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "path",
		Short: "Print the path of the config file",
		Args:  between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, a.global.Config)
			return err
		},
	}
}
