package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/proxy"
)

type devicesOptions struct {
	data string
	json bool
}

func devicesCommand(a *app) *cobra.Command {
	var o devicesOptions
	c := &cobra.Command{
		Use:   "devices",
		Short: "List the enrolled devices, or revoke one",
		Long: `List the devices that may talk to the proxy, with their roles. On the server give
the proxy's --data; without it, an enrolled device with the role admin asks its
server.`,
		Args: knownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return runDevices(c.Context(), a, o) },
	}
	c.Flags().StringVar(&o.data, "data", "", "data `DIR` of the running proxy")
	c.Flags().BoolVar(&o.json, "json", false, "print a JSON array")
	c.AddCommand(revokeCommand(a))
	return c
}

func runDevices(ctx context.Context, a *app, o devicesOptions) error {
	admin, err := a.admin(ctx, o.data)
	if err != nil {
		return err
	}
	defer admin.Close()
	var answer proxy.DevicesReply
	if err := admin.Admin(ctx, "devices", nil, &answer); err != nil {
		return err
	}
	if o.json {
		return a.printJSON(answer.Devices)
	}
	return a.table(func(row func(...string)) {
		row("NAME", "DEVICE", "ROLE", "ADDED", "")
		for _, d := range answer.Devices {
			state := ""
			if d.Revoked {
				state = "revoked"
			}
			row(printable(d.Name), short(d.ID), roles(d), d.Added.Local().Format("2006-01-02 15:04"), state)
		}
	})
}

func revokeCommand(a *app) *cobra.Command {
	var o devicesOptions
	c := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Shut a device out, at once and for good; NAME may be the beginning of its identity",
		Args:  between(1, 1),
		RunE:  func(c *cobra.Command, args []string) error { return runRevoke(c.Context(), a, o, args[0]) },
	}
	c.Flags().StringVar(&o.data, "data", "", "data `DIR` of the running proxy")
	return c
}

func runRevoke(ctx context.Context, a *app, o devicesOptions, name string) error {
	admin, err := a.admin(ctx, o.data)
	if err != nil {
		return err
	}
	defer admin.Close()
	var answer proxy.RevokeReply
	if err := admin.Admin(ctx, "revoke", proxy.RevokeRequest{Device: name}, &answer); err != nil {
		return err
	}
	a.note("%s (%s) is revoked", printable(answer.Name), short(answer.ID))
	return nil
}

// short is the beginning of an identity, enough to tell devices apart.
func short(id string) string { return id[:min(8, len(id))] }

// roles writes the role in all folders and those in single ones.
func roles(d proxy.DeviceInfo) string {
	var words []string
	if d.Role != sendonce.RoleNone.String() {
		words = append(words, d.Role)
	}
	for _, folder := range slices.Sorted(maps.Keys(d.Grants)) {
		words = append(words, d.Grants[folder]+" in "+folder)
	}
	if len(words) == 0 {
		return sendonce.RoleNone.String()
	}
	return strings.Join(words, ", ")
}
