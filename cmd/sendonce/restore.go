package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/cmd/sendonce/internal/human"
	"sendonce/daemon"
)

type restoreOptions struct {
	place  string
	at     string
	to     string
	dryRun bool
	json   bool
}

func restoreCommand(a *app) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore FOLDER[:PATH] --to DIR",
		Short: "Bring a folder, or a part of it, back into another directory",
		Long: `Bring a folder back into a directory, as it is now or as it was (--at). What the
directory already holds is used instead of being fetched, and files that are not
part of the result are left alone. A directory that is attached and holds files
is refused.`,
		Example: `  sendonce restore docs --to ~/docs-again
  sendonce restore docs:letters/a.txt --at "2h ago" --to /tmp/out`,
		Args: between(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			o.place = args[0]
			return runRestore(c.Context(), a, o)
		},
	}
	addAtFlag(c, &o.at)
	c.Flags().StringVar(&o.to, "to", "", "`DIR` that will hold the result")
	c.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "write nothing; say what would be restored")
	c.Flags().BoolVar(&o.json, "json", false, "print the summary as JSON, after progress as JSON lines")
	return c
}

func runRestore(ctx context.Context, a *app, o restoreOptions) error {
	p, err := parsePlace(o.place, o.at, a.now())
	if err != nil {
		return err
	}
	if o.to == "" {
		return usageError("restore needs to know where to", "add --to DIR")
	}
	to, err := absolute(o.to)
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := refuseAttached(ctx, c, to); err != nil {
		return err
	}

	show := a.reporter(o.json)
	defer show.Close()
	sum, err := c.Restore(ctx, daemon.RestoreOptions{Folder: p.folder, Path: p.path, At: p.seq, AtTime: p.at, To: to,
		DryRun: o.dryRun, Progress: show.Update})
	show.Close()
	if err != nil && sendonce.KindOf(err) != sendonce.KindPartial {
		return err
	}
	if werr := printRestored(a, sum, o, to); werr != nil {
		return werr
	}
	return err
}

func printRestored(a *app, sum daemon.RestoreSummary, o restoreOptions, to string) error {
	if o.json {
		if sum.Skipped == nil {
			sum.Skipped = []daemon.Skipped{}
		}
		return a.printJSON(sum)
	}
	a.listTrouble(sum.Skipped, nil)
	what := fmt.Sprintf("%s, %s, %s, %s", human.Plural(sum.Files, "file"), human.Plural(sum.Dirs, "directory"),
		human.Plural(sum.Symlinks, "symlink"), human.Bytes(sum.Bytes))
	return a.table(func(row func(...string)) {
		if o.dryRun {
			row("would restore", what)
			row("as of", fmt.Sprintf("seq %d", sum.Seq))
			return
		}
		row("restored", what)
		row("to", printable(to))
		row("as of", fmt.Sprintf("seq %d", sum.Seq))
		row("there already", fmt.Sprintf("%s, and %s of other files", human.Plural(sum.Unchanged, "file"), human.Bytes(sum.BytesReused)))
		row("fetched", fmt.Sprintf("%s (%s up, %s down)", human.Bytes(sum.BytesFetched), human.Bytes(sum.WireSent), human.Bytes(sum.WireReceived)))
		row("took", human.Seconds(sum.Seconds))
	})
}

// refuseAttached refuses to write into an attached directory that holds files:
// the next pass would send an old state as if the user had made it.
func refuseAttached(ctx context.Context, c client, to string) error {
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) == 0 { // not there yet, or Restore will say what is wrong
		return nil
	}
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	for _, f := range s.Folders {
		if inside(to, f.Dir) {
			return &sendonce.Error{Op: "restore", Path: to, Kind: sendonce.KindRefused,
				Detail: fmt.Sprintf("the directory belongs to the attached folder %q and holds files", f.Name),
				Hint:   "restore into an empty directory and move what you want"}
		}
	}
	return nil
}

// inside says whether path is dir or below it, symlinks resolved where possible.
func inside(path, dir string) bool {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		path = p
	}
	if d, err := filepath.EvalSymlinks(dir); err == nil {
		dir = d
	}
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
