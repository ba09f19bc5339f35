package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sendonce"
	"sendonce/cmd/sendonce/internal/human"
	"sendonce/cmd/sendonce/internal/sample"
	"sendonce/daemon"
)

type demoOptions struct {
	dir  string
	json bool
}

func demoCommand(a *app) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Show on a copy of a directory what is sent and what is saved",
		Long: `Start a proxy in a temporary directory, enrol a device, and send a copy of DIR to
it over QUIC on the loopback interface: all of it, then a few edited files, then
a renamed directory; then restore it elsewhere and compare byte for byte. DIR is
only read. Without DIR the Go source tree is taken, or a generated one. What was
made is removed at the end.`,
		Args: between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.dir = args[0]
			}
			return runDemo(c.Context(), a, o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// demoStep is one line of the demo's table.
type demoStep struct {
	Name string `json:"name"`
	// Plain is what sending the changed files whole would take, without
	// compression: the size of everything that is new under its name.
	Plain   int64          `json:"plain_bytes"`
	Summary daemon.Summary `json:"summary"`
}

// demoResult is what `demo --json` prints.
type demoResult struct {
	Source    string                `json:"source"`
	Tree      sample.Tree           `json:"tree"`
	Steps     []demoStep            `json:"steps"`
	Restore   daemon.RestoreSummary `json:"restore"`
	Identical bool                  `json:"identical"` // the restored tree, byte for byte
}

func runDemo(ctx context.Context, a *app, o demoOptions) (err error) {
	work, err := os.MkdirTemp("", "sendonce-demo-")
	if err != nil {
		return &sendonce.Error{Op: "demo", Kind: sendonce.KindInternal, Err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	d := &demo{app: a, work: work, tree: filepath.Join(work, "tree")}
	if err := d.makeTree(ctx, o.dir); err != nil {
		return err
	}
	if !o.json {
		a.note("demo: a copy of %s in %s: %s, %s", d.result.Source, work, human.Plural(d.result.Tree.Files, "file"), human.Bytes(d.result.Tree.Bytes))
	}
	stop, err := d.startProxy(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := d.play(ctx); err != nil {
		return err
	}
	if o.json {
		return a.printJSON(d.result)
	}
	return d.print()
}

// demo is one run.
type demo struct {
	app    *app
	work   string // everything is below it
	tree   string // the copy that is edited
	server *server
	result demoResult
}

// makeTree copies or generates the tree to play with.
func (d *demo) makeTree(ctx context.Context, dir string) (err error) {
	source := dir
	if source == "" {
		source = goSource(ctx)
	}
	if source == "" {
		d.result.Source = "a generated tree"
		d.result.Tree, err = sample.Generate(d.tree)
	} else {
		d.result.Source = source
		d.result.Tree, err = sample.Copy(d.tree, source)
	}
	if err != nil {
		return &sendonce.Error{Op: "copy tree", Kind: sendonce.KindInternal, Err: err}
	}
	return nil
}

// goSource returns the source tree of the Go toolchain, or "".
func goSource(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	src := filepath.Join(strings.TrimSpace(string(out)), "src")
	if info, err := os.Stat(src); err != nil || !info.IsDir() {
		return ""
	}
	return src
}

// startProxy runs a proxy on a free port of the loopback interface.
func (d *demo) startProxy(ctx context.Context) (stop func() error, err error) {
	d.server, err = openServer(d.app, proxyOptions{data: filepath.Join(d.work, "proxy"), listen: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.server.Run(ctx) }()
	return func() error {
		cancel()
		return errors.Join(<-ended, d.server.Close())
	}, nil
}

// play is the story: push, edit, rename, nothing, restore.
func (d *demo) play(ctx context.Context) (err error) {
	a := *d.app
	a.global.State = filepath.Join(d.work, "device")
	c, err := a.openClient(ctx, clientOptions{create: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	admin, err := a.admin(ctx, d.server.data.path)
	if err != nil {
		return err
	}
	defer admin.Close()
	link, err := makeLink(ctx, admin, inviteOptions{addrs: []string{d.server.listener.Addr()}})
	if err != nil {
		return err
	}
	if err := c.Join(ctx, link, "demo"); err != nil {
		return err
	}
	if _, err := c.Attach(ctx, d.tree, "demo", sendonce.NamesExact); err != nil {
		return err
	}
	if err := d.step(ctx, c, "first push", d.result.Tree.Bytes); err != nil {
		return err
	}
	edited, err := d.edit()
	if err != nil {
		return err
	}
	if err := d.step(ctx, c, "4 files edited", edited); err != nil {
		return err
	}
	moved, name, err := d.rename()
	if err != nil {
		return err
	}
	if name != "" {
		if err := d.step(ctx, c, name+"/ renamed", moved); err != nil {
			return err
		}
	}
	if err := d.step(ctx, c, "nothing changed", 0); err != nil {
		return err
	}
	return d.restore(ctx, c)
}

func (d *demo) step(ctx context.Context, c client, name string, plain int64) error {
	show := d.app.reporter(false)
	defer show.Close()
	sum, err := c.Sync(ctx, nil, daemon.SyncOptions{Progress: show.Update})
	if err != nil {
		return err
	}
	d.result.Steps = append(d.result.Steps, demoStep{name, plain, withLists(sum)})
	return nil
}

// edit changes a line in the middle of up to four files, of the sizes that trees
// are made of, and returns how large they are together.
func (d *demo) edit() (int64, error) {
	files, err := sample.Files(d.tree)
	if err != nil {
		return 0, &sendonce.Error{Op: "edit", Kind: sendonce.KindInternal, Err: err}
	}
	var total int64
	for _, share := range []int{0, 50, 10, 4} { // the largest, then ever more common sizes
		i := 0
		if share > 0 {
			i = len(files) / share
		}
		if i >= len(files) {
			continue
		}
		path := filepath.Join(d.tree, files[i].Path)
		b, err := os.ReadFile(path)
		if err == nil {
			half := len(b) / 2
			b = append(b[:half:half], append([]byte("\na line that sendonce demo put here\n"), b[half:]...)...)
			err = os.WriteFile(path, b, 0o644)
		}
		if err != nil {
			return 0, &sendonce.Error{Op: "edit", Kind: sendonce.KindInternal, Err: err}
		}
		total += int64(len(b))
	}
	return total, nil
}

// rename gives the largest directory another name.
func (d *demo) rename() (int64, string, error) {
	name, bytes, err := sample.BiggestDir(d.tree)
	if err == nil && name != "" {
		err = os.Rename(filepath.Join(d.tree, name), filepath.Join(d.tree, name+"-renamed"))
	}
	if err != nil {
		return 0, "", &sendonce.Error{Op: "rename", Kind: sendonce.KindInternal, Err: err}
	}
	return bytes, name, nil
}

func (d *demo) restore(ctx context.Context, c client) (err error) {
	to := filepath.Join(d.work, "restored")
	if err := os.Mkdir(to, 0o700); err != nil {
		return &sendonce.Error{Op: "restore", Kind: sendonce.KindInternal, Err: err}
	}
	if d.result.Restore, err = c.Restore(ctx, daemon.RestoreOptions{Folder: "demo", To: to}); err != nil {
		return err
	}
	if err := sample.Compare(d.tree, to); err != nil {
		return &sendonce.Error{Op: "compare", Path: to, Kind: sendonce.KindDamaged, Detail: "the restored tree is not the same", Err: err}
	}
	d.result.Identical = true
	return nil
}

func (d *demo) print() error {
	err := d.app.table(func(row func(...string)) {
		row("STEP", "CHANGES", "FILES WHOLE", "NEW CONTENT", "PACKS", "WIRE UP", "WIRE DOWN", "SAVED", "SECONDS")
		for _, s := range d.result.Steps {
			sum := s.Summary
			row(s.Name, human.Count(sum.Changes), human.Bytes(s.Plain), human.Bytes(sum.BytesMissing), human.Count(sum.Packs),
				human.Bytes(sum.WireSent), human.Bytes(sum.WireReceived), saved(sum.WireSent, s.Plain), fmt.Sprintf("%.2f", sum.Seconds))
		}
		r := d.result.Restore
		row("restored elsewhere", "", human.Bytes(r.Bytes), human.Bytes(r.BytesFetched), "", human.Bytes(r.WireSent), human.Bytes(r.WireReceived),
			saved(r.WireReceived, r.Bytes), fmt.Sprintf("%.2f", r.Seconds))
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(d.app.stdout, "the restored tree is identical, byte for byte")
	return err
}

// saved is the share of plain that did not travel.
func saved(wire, plain int64) string {
	if plain == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*(1-float64(wire)/float64(plain)))
}
