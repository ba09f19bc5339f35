package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/daemon"
)

type lsOptions struct {
	place     string
	at        string
	recursive bool
	json      bool
}

func lsCommand(a *app) *cobra.Command {
	var o lsOptions
	c := &cobra.Command{
		Use:   "ls FOLDER[:PATH]",
		Short: "List what a folder on the server holds, or held",
		Example: `  sendonce ls docs
  sendonce ls docs:letters --at 2026-01-02`,
		Args: between(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			o.place = args[0]
			return runLs(c.Context(), a, o)
		},
	}
	addAtFlag(c, &o.at)
	c.Flags().BoolVarP(&o.recursive, "recursive", "r", false, "list the whole tree below")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	return c
}

func addAtFlag(c *cobra.Command, at *string) {
	c.Flags().StringVar(at, "at", "", "`POINT` in the folder's history: a sequence number, 2026-01-02, an RFC 3339 time, \"2h ago\" (default: now)")
}

// lsEntry is one line of `ls --json`.
type lsEntry struct {
	Path      string    `json:"path"`                 // inside the folder
	PathBytes []byte    `json:"path_bytes,omitempty"` // base64, where Path is not UTF-8
	Kind      string    `json:"kind"`
	Size      int64     `json:"size"`
	Mode      string    `json:"mode"` // octal
	MTime     time.Time `json:"mtime"`
	Rev       uint64    `json:"rev"`
	Target    string    `json:"target,omitempty"`
}

func runLs(ctx context.Context, a *app, o lsOptions) error {
	p, err := parsePlace(o.place, o.at, a.now())
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	entries, err := c.List(ctx, p.folder, p.path, p.seq, p.at, o.recursive)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(a.stdout)
	out := json.NewEncoder(w)
	for _, e := range entries {
		if o.json {
			err = out.Encode(jsonEntry(e))
		} else {
			_, err = fmt.Fprintln(w, lsLine(e))
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

func jsonEntry(e daemon.ListEntry) lsEntry {
	l := lsEntry{Path: e.Path, Kind: e.Node.Kind.String(), Size: e.Node.Size, Mode: fmt.Sprintf("%04o", e.Node.Mode),
		MTime: time.Unix(0, e.Node.MTimeNS).UTC(), Rev: e.Node.Rev, Target: e.Node.Target}
	if !utf8.ValidString(e.Path) {
		l.PathBytes = []byte(e.Path)
	}
	return l
}

func lsLine(e daemon.ListEntry) string {
	n := e.Node
	mode, path := fs.FileMode(n.Mode&0o777), printable(e.Path)
	switch n.Kind {
	case sendonce.KindDir:
		mode |= fs.ModeDir
		path += "/"
	case sendonce.KindSymlink:
		mode |= fs.ModeSymlink
		path += " -> " + printable(n.Target)
	}
	return fmt.Sprintf("%s %12d  %s  %s", mode, n.Size, time.Unix(0, n.MTimeNS).Local().Format("2006-01-02 15:04:05"), path)
}
