package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sendonce/protocol"
)

type logOptions struct {
	place string
	limit int
	json  bool
}

func logCommand(a *app) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "log FOLDER[:PATH]",
		Short: "List a folder's changes (or one file's), newest first",
		Example: `  sendonce log docs
  sendonce log docs:letters/a.txt`,
		Args: between(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			o.place = args[0]
			return runLog(c.Context(), a, o, false)
		},
	}
	addLogFlags(c, &o)
	return c
}

func addLogFlags(c *cobra.Command, o *logOptions) {
	c.Flags().IntVar(&o.limit, "limit", 0, "list at most `N` (0: all)")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
}

// logEntry is one line of `log --json` and `snapshots --json`.
type logEntry struct {
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"` // the server's clock
	Device     string    `json:"device"`
	DeviceName string    `json:"device_name"`
	Changes    uint64    `json:"changes"`
	Snapshot   bool      `json:"snapshot"`
	Chain      string    `json:"chain"`
}

func runLog(ctx context.Context, a *app, o logOptions, snapshots bool) error {
	if o.limit < 0 {
		return usageError("--limit is negative", "use 0 to list everything")
	}
	p, err := parsePlace(o.place, "", a.now())
	if err != nil {
		return err
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	entries, err := c.Log(ctx, p.folder, p.path, o.limit, snapshots)
	if err != nil {
		return err
	}
	if o.json {
		return logJSON(a, entries)
	}
	return a.table(func(row func(...string)) {
		row("SEQ", "TIME", "DEVICE", "CHANGES", "")
		for _, e := range entries {
			mark := ""
			if e.Snapshot && !snapshots {
				mark = "end of a pass"
			}
			row(fmt.Sprint(e.Seq), e.Time.Local().Format("2006-01-02 15:04:05"), deviceLabel(e), fmt.Sprint(e.Changes), mark)
		}
	})
}

func logJSON(a *app, entries []protocol.LogEntry) error {
	out := json.NewEncoder(a.stdout)
	for _, e := range entries {
		if err := out.Encode(logEntry{Seq: e.Seq, Time: e.Time.UTC(), Device: e.Device.String(), DeviceName: e.DeviceName,
			Changes: e.Changes, Snapshot: e.Snapshot, Chain: fmt.Sprintf("%x", e.Chain)}); err != nil {
			return err
		}
	}
	return nil
}

func deviceLabel(e protocol.LogEntry) string {
	if e.DeviceName == "" {
		return e.Device.Short()
	}
	return printable(e.DeviceName)
}
