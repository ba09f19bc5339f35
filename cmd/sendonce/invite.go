package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/protocol"
	"sendonce/proxy"
)

type inviteOptions struct {
	data    string
	addrs   []string
	role    string
	folder  string
	minutes int
}

func inviteCommand(a *app) *cobra.Command {
	var o inviteOptions
	c := &cobra.Command{
		Use:   "invite --data DIR",
		Short: "Print a link with which one device can join",
		Long: `Ask the proxy that runs on DIR for a join link, and print it alone on stdout. The
link works once, for 15 minutes unless --minutes says otherwise, and is as secret
as a password until it is used. Without --data, an enrolled device with the role
admin asks its server.

A push-only device adds and revises files of its own and reads nothing. A role
without --folder holds in every folder.`,
		Example: `  sendonce invite --data /srv/sendonce
  sendonce invite --data /srv/sendonce --role push-only --folder builds`,
		Args: between(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runInvite(c.Context(), a, o) },
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "", "data `DIR` of the running proxy")
	f.StringSliceVar(&o.addrs, "addr", nil, "`HOST:PORT` by which the device reaches the proxy; more than one are tried in order")
	f.StringVar(&o.role, "role", sendonce.RoleReadWrite.String(), "`ROLE` of the device: read-write, read-only, push-only, admin")
	f.StringVar(&o.folder, "folder", "", "`NAME` of the only folder that the role holds in; made when the link is used")
	f.IntVar(&o.minutes, "minutes", 15, "how long the link works")
	must(c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"read-write", "read-only", "push-only", "admin"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func runInvite(ctx context.Context, a *app, o inviteOptions) error {
	if _, err := sendonce.ParseRole(o.role); err != nil {
		return err
	}
	if o.minutes < 1 || o.minutes > 30*24*60 {
		return usageError(fmt.Sprintf("--minutes %d is out of range", o.minutes), "a link works for 1 minute to 30 days (43200)")
	}
	for _, addr := range o.addrs {
		if err := checkHostPort("addr", addr); err != nil {
			return err
		}
	}
	admin, err := a.admin(ctx, o.data)
	if err != nil {
		return err
	}
	defer admin.Close()
	if len(o.addrs) == 0 {
		if o.addrs, err = admin.addrs(ctx); err != nil {
			return err
		}
	}
	link, err := makeLink(ctx, admin, o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, link)
	return err
}

// makeLink asks for a token and makes the link of it.
func makeLink(ctx context.Context, admin administrator, o inviteOptions) (protocol.Link, error) {
	var answer proxy.InviteReply
	if err := admin.Admin(ctx, "invite", proxy.InviteRequest{Role: o.role, Folder: o.folder, Minutes: o.minutes}, &answer); err != nil {
		return protocol.Link{}, err
	}
	server, err := sendonce.ParseDeviceID(answer.Fingerprint)
	return protocol.Link{Addrs: o.addrs, Server: server, Token: answer.Token}, err
}
