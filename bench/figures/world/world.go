package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sendonce/bench/figures/measure"
)

// World is where one run of the figures happens. Fill it before use.
type World struct {
	Bin     string // the sendonce program
	Self    string // the program that measures, for its parts
	Tmp     string // directory of everything
	Verbose bool
	Procs   measure.Group

	seq int // makes names
}

// Dir makes a fresh directory.
func (b *World) Dir(name string) (string, error) {
	b.seq++
	d := filepath.Join(b.Tmp, fmt.Sprintf("%s-%d", name, b.seq))
	return d, os.MkdirAll(d, 0o755)
}

// Say is for -v.
func (b *World) Say(format string, args ...any) {
	if b.Verbose {
		fmt.Fprintf(os.Stderr, "figures: "+format+"\n", args...)
	}
}

// Pause waits, or returns why not.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// KeepOnly empties the temporary directory but for some names.
func (b *World) KeepOnly(names ...string) {
	list, err := os.ReadDir(b.Tmp)
	if err != nil {
		return
	}
	for _, e := range list {
		if !slices.Contains(names, e.Name()) {
			_ = os.RemoveAll(filepath.Join(b.Tmp, e.Name())) // tried again at the end, with its error
		}
	}
}
