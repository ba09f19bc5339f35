package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/cmd/sendonce/internal/human"
	"sendonce/daemon"
)

type syncOptions struct {
	dirs   []string
	json   bool
	dryRun bool
}

func syncCommand(a *app) *cobra.Command {
	var o syncOptions
	c := &cobra.Command{
		Use:   "sync [DIR...]",
		Short: "Send what changed, once, and exit",
		Long: `Compare the attached directories (or only the ones named) with what the server
has, send what is missing, and exit. A running daemon does the work if there is
one.

Exit code 3 means that some files were skipped or clash with another device's
change; everything else has been sent. --json prints progress as lines of JSON
and the summary as the last one.`,
		Example: `  sendonce sync
  sendonce sync ~/Documents --json`,
		RunE: func(c *cobra.Command, args []string) error {
			o.dirs = args
			return runSync(c.Context(), a, o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print the summary as JSON, after progress as JSON lines")
	c.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "send nothing; say how much may have changed")
	return c
}

func runSync(ctx context.Context, a *app, o syncOptions) error {
	dirs, err := absoluteAll(o.dirs)
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()

	show := a.reporter(o.json)
	defer show.Close()
	sum, err := c.Sync(ctx, dirs, daemon.SyncOptions{DryRun: o.dryRun, Progress: show.Update})
	show.Close()
	if err != nil && sendonce.KindOf(err) != sendonce.KindPartial {
		return err
	}
	if o.json {
		if werr := a.printJSON(withLists(sum)); werr != nil {
			return werr
		}
		return err
	}
	a.listTrouble(sum.Skipped, sum.Conflicts)
	if werr := printSummary(a, sum, o.dryRun); werr != nil {
		return werr
	}
	return err
}

// withLists gives empty lists instead of none, so that JSON has [] and not null.
func withLists(s daemon.Summary) daemon.Summary {
	if s.Conflicts == nil {
		s.Conflicts = []daemon.Conflict{}
	}
	if s.Skipped == nil {
		s.Skipped = []daemon.Skipped{}
	}
	return s
}

func printSummary(a *app, s daemon.Summary, dryRun bool) error {
	seen := fmt.Sprintf("%s in %s, %s", human.Plural(s.Files, "file"), human.Plural(s.Dirs, "directory"), human.Bytes(s.BytesScanned))
	took := human.Seconds(s.Seconds)
	if s.Changes == 0 && len(s.Skipped) == 0 && len(s.Conflicts) == 0 {
		_, err := fmt.Fprintf(a.stdout, "nothing to do: %s (%s)\n", seen, took)
		return err
	}
	return a.table(func(row func(...string)) {
		row("seen", seen)
		if dryRun {
			// Files are not read in a dry run: one with a new date may turn out equal.
			row("would send", "up to "+human.Plural(s.Changes, "change"))
			row("took", took)
			return
		}
		row("committed", fmt.Sprintf("%s in %s", human.Plural(s.Changes, "change"), human.Plural(s.Commits, "commit")))
		row("new content", fmt.Sprintf("%s in %s of %s offered", human.Bytes(s.BytesMissing),
			human.Count(s.ChunksMissing), human.Plural(s.Chunks, "chunk")))
		row("travelled", fmt.Sprintf("%s up, %s down", human.Bytes(s.WireSent), human.Bytes(s.WireReceived)))
		row("took", took)
	})
}

// troubleShown is how many skipped files and conflicts are listed by name.
const troubleShown = 20

// listTrouble writes what was left out to stderr.
func (a *app) listTrouble(skipped []daemon.Skipped, conflicts []daemon.Conflict) {
	list := func(word string, n int, at func(i int) (folder, path, reason string)) {
		for i := range min(n, troubleShown) {
			folder, path, reason := at(i)
			a.note("%s: %s: %s", word, printable(folder+":"+path), reason)
		}
		if n > troubleShown {
			a.note("%s: and %s more", word, human.Count(int64(n-troubleShown)))
		}
	}
	list("skipped", len(skipped), func(i int) (string, string, string) {
		return skipped[i].Folder, skipped[i].Path, skipped[i].Reason
	})
	list("conflict", len(conflicts), func(i int) (string, string, string) {
		return conflicts[i].Folder, conflicts[i].Path, conflicts[i].Reason
	})
}
