package main

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"sendonce"
)

type addOptions struct {
	dir      string
	folder   string
	portable bool
}

func addCommand(a *app) *cobra.Command {
	var o addOptions
	c := &cobra.Command{
		Use:   "add DIR",
		Short: "Attach another directory to a folder on the server",
		Long: `Attach a directory, so that sync and daemon keep it in step with a folder on the
server. The folder is made if it is new; its name is the directory's unless
--folder says otherwise. A directory inside an attached one, or around one, is
refused.`,
		Example: "  sendonce add ~/Pictures --folder photos",
		Args:    between(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			o.dir = args[0]
			return runAdd(c.Context(), a, o)
		},
	}
	c.Flags().StringVar(&o.folder, "folder", "", "`NAME` of the folder on the server (default: the directory's name)")
	c.Flags().BoolVar(&o.portable, "portable", false, "a new folder holds only names that every platform can store")
	return c
}

func runAdd(ctx context.Context, a *app, o addOptions) error {
	dir, err := absolute(o.dir)
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return attach(ctx, a, c, dir, o.folder, o.portable)
}

// attach is the part that add and join share.
func attach(ctx context.Context, a *app, c client, dir, folder string, portable bool) error {
	names := sendonce.NamesExact
	if portable {
		names = sendonce.NamesPortable
	}
	if folder == "" {
		var err error
		if folder, err = defaultFolder(ctx, c, dir); err != nil {
			return err
		}
	}
	f, err := c.Attach(ctx, dir, folder, names)
	if err != nil {
		return err
	}
	a.note("%s is attached to folder %q (%s)", printable(f.Dir), f.Name, f.Role)
	return nil
}

// defaultFolder names the folder for a directory when the user did not. The first
// directory of a device may take the only folder that its invite names (""); a
// later one has the name of the directory.
func defaultFolder(ctx context.Context, c client, dir string) (string, error) {
	s, err := c.Status(ctx)
	if err != nil || len(s.Folders) == 0 {
		return "", err
	}
	for _, f := range s.Folders {
		if f.Dir == dir { // again: Attach knows which
			return "", nil
		}
	}
	return filepath.Base(dir), nil
}

// absolute makes a directory of the command line mean the same to a daemon with
// another working directory.
func absolute(dir string) (string, error) {
	if dir == "" {
		return "", usageError("the directory's name is empty", "name a directory")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", &sendonce.Error{Op: "find directory", Path: dir, Kind: sendonce.KindUsage, Err: err}
	}
	return abs, nil
}

func absoluteAll(dirs []string) ([]string, error) {
	var out []string
	for _, d := range dirs {
		abs, err := absolute(d)
		if err != nil {
			return nil, err
		}
		out = append(out, abs)
	}
	return out, nil
}
