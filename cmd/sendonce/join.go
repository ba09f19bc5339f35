package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/protocol"
)

type joinOptions struct {
	link     string
	dir      string
	folder   string
	name     string
	portable bool
}

func joinCommand(a *app) *cobra.Command {
	var o joinOptions
	c := &cobra.Command{
		Use:   "join LINK [DIR]",
		Short: "Enrol this device with a link from invite, and attach a directory",
		Long: `Enrol this device at the server that made the link. The server's key is checked
against the link before anything is said. With DIR, that directory is attached
too, as add does. LINK may be "-": it is then read from standard input, where no
other user of this machine can see it.`,
		Example: `  sendonce join 'sendonce://server:7411/#...' ~/Documents
  ssh server sendonce invite --data /srv/sendonce | sendonce join - ~/Documents`,
		Args: between(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			o.link = args[0]
			if len(args) == 2 {
				o.dir = args[1]
			}
			return runJoin(c.Context(), a, o, len(args) == 2)
		},
	}
	f := c.Flags()
	f.StringVar(&o.folder, "folder", "", "`NAME` of the folder on the server (default: the directory's name)")
	f.StringVar(&o.name, "name", "", "`DEVICE` name shown to people (default: the host's name)")
	f.BoolVar(&o.portable, "portable", false, "a new folder holds only names that every platform can store")
	return c
}

func runJoin(ctx context.Context, a *app, o joinOptions, withDir bool) (err error) {
	text := o.link
	if text == "-" {
		if text, err = readLine(a.stdin); err != nil {
			return err
		}
	}
	link, err := protocol.ParseLink(text)
	if err != nil {
		return err
	}
	dir := ""
	if withDir {
		if dir, err = absolute(o.dir); err != nil {
			return err
		}
		// Before the link is used up.
		if info, err := os.Stat(dir); err != nil {
			return &sendonce.Error{Op: "join", Kind: sendonce.KindNotFound, Err: err, Hint: "make the directory first"}
		} else if !info.IsDir() {
			return &sendonce.Error{Op: "join", Path: dir, Kind: sendonce.KindUsage, Detail: "it is not a directory"}
		}
	}
	if o.name == "" {
		o.name, _ = os.Hostname() // empty: Join has a name for that
	}
	c, err := a.openClient(ctx, clientOptions{create: true})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Join(ctx, link, o.name); err != nil {
		return err
	}
	a.note("this device has joined as %q", o.name)
	if dir == "" {
		return nil
	}
	if err := attach(ctx, a, c, dir, o.folder, o.portable); err != nil {
		return &sendonce.Error{Kind: sendonce.KindOf(err), Hint: sendonce.HintOf(err), Err: fmt.Errorf("joined, but the directory is not attached: %w", err)}
	}
	return nil
}

// readLine reads the first line of standard input, at most 64 KiB of it.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", &sendonce.Error{Op: "read link", Kind: sendonce.KindInternal, Err: err}
	}
	return line, nil
}
