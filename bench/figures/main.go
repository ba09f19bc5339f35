// Command figures measures what sendonce promises: bytes on the wire, time, CPU
// and memory, with the real program in processes of its own, beside rsync and
// Restic where those do the same job. docs/benchmarks.md explains every row.
//
// Figures that are compared are taken in turn within one run, so that a machine
// that is busy or slow disturbs both alike. Everything it makes (files below -dir,
// network namespaces, processes) is gone when it ends, also after ^C.
//
// Read main.go, then session.go (a proxy and its devices), then a rows_*.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/report"
	"sendonce/bench/figures/twonet"
	"sendonce/bench/figures/world"
)

// row is one experiment; it may report several figures.
type row struct {
	name    string
	what    string
	root    bool // needs network namespaces
	long    bool // only with -long
	needs   []string
	space   int64 // bytes of disk
	measure func(ctx context.Context, b *bench) error
}

func rows() []row {
	const gb = 1e9
	return []row{
		{name: "src-push", what: "first push of the Go sources: bytes, time and CPU beside restic and rsync", needs: []string{"rsync", "restic", "zstd", "tar"}, space: 3 * gb, measure: srcPush},
		{name: "src-100mbit", what: "the same over 100 Mbit/s, beside rsync", root: true, needs: []string{"rsync"}, space: 1 * gb, measure: srcSlow},
		{name: "nochange", what: "a pass over a tree in which nothing changed, beside rsync", needs: []string{"rsync"}, space: 1 * gb, measure: noChange},
		{name: "small-edits", what: "a line changed, a big file appended to and copied, a directory renamed", space: 5 * gb, measure: smallEdits},
		{name: "second-device", what: "data that another device has sent already", space: 1 * gb, measure: secondDevice},
		{name: "big-2g", what: "2 GiB that do not compress: speed beside the bare QUIC link, CPU by stage, memory", space: 8 * gb, measure: func(ctx context.Context, b *bench) error { return big(ctx, b, "big-2g", 2<<30) }},
		{name: "big-10g", what: "the same with 10 GiB", long: true, space: 24 * gb, measure: func(ctx context.Context, b *bench) error { return big(ctx, b, "big-10g", 10<<30) }},
		{name: "many-200k", what: "200,000 small files", space: 3 * gb, measure: many},
		{name: "kills", what: "1 GiB over 100 Mbit/s while client and proxy are killed in turn, 20 times", root: true, needs: []string{"diff"}, space: 7 * gb, measure: kills},
		{name: "link", what: "how much of 100 Mbit/s a push uses", root: true, space: 2 * gb, measure: link},
		{name: "restore", what: "the Go sources brought back, into nothing and over a copy", needs: []string{"diff"}, space: 2 * gb, measure: restore},
	}
}

// bench is one run of this program.
type bench struct {
	report.Report
	world.World
	net *twonet.Pair // nil: not root, or not needed
	src string       // a copy of the Go sources, once made
}

type options struct {
	only    string
	skip    string
	json    string
	md      string
	dir     string
	bin     string
	runs    int
	long    bool
	install bool
	list    bool
	verbose bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "part" {
		if err := part(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "figures:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.only, "only", "", "measure only these `ROWS`, separated by commas")
	flag.StringVar(&o.skip, "skip", "", "leave out these `ROWS`")
	flag.StringVar(&o.json, "json", "", "write the figures to `FILE` as JSON")
	flag.StringVar(&o.md, "md", "", "write the figures to `FILE` as a Markdown table")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "`DIR` for all data; its disk is measured too")
	flag.StringVar(&o.bin, "bin", "", "the sendonce `PROGRAM` (default: built from this module)")
	flag.IntVar(&o.runs, "n", 5, "repeat what is timed this often")
	flag.BoolVar(&o.long, "long", false, "measure the long rows too")
	flag.BoolVar(&o.install, "install", false, "install missing programs with apt-get")
	flag.BoolVar(&o.list, "list", false, "list the rows and end")
	flag.BoolVar(&o.verbose, "v", false, "say what is done")
	flag.Parse()
	if o.list {
		for _, r := range rows() {
			fmt.Printf("%-14s %s\n", r.name, r.what)
		}
		return
	}
	// The first signal ends the run in order; there is no second chance, because
	// namespaces would stay behind.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	missed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "figures: %d bars were missed\n", missed)
		os.Exit(3)
	}
}

func run(ctx context.Context, o options) (missed int, err error) {
	list, err := choose(o)
	if err != nil {
		return 0, err
	}
	if flag.NArg() > 0 || o.runs < 1 {
		return 0, errors.New("unknown arguments; see -help")
	}
	if err := havePrograms(ctx, list, o.install); err != nil {
		return 0, err
	}
	b := &bench{Report: report.Report{Runs: o.runs}, World: world.World{Bin: o.bin, Verbose: o.verbose}}
	if b.Self, err = os.Executable(); err != nil {
		return 0, err
	}
	if b.Tmp, err = os.MkdirTemp(o.dir, "sendonce-figures-"); err != nil {
		return 0, err
	}
	defer func() {
		b.Procs.Close()
		if b.net != nil {
			err = errors.Join(err, b.net.Close())
		}
		err = errors.Join(err, os.RemoveAll(b.Tmp))
	}()
	if b.Bin == "" {
		b.Bin = filepath.Join(b.Tmp, "sendonce")
		if err := build(ctx, b.Bin); err != nil {
			return 0, err
		}
	}
	b.describe(ctx)
	for _, r := range list {
		if err := b.one(ctx, r); err != nil {
			return 0, err
		}
	}
	if err := b.Write(o.json, o.md); err != nil {
		return 0, err
	}
	return b.Missed(), nil
}

// one measures one row in a directory that is removed afterwards. A row that
// fails is reported as missed, and the next one has its turn.
func (b *bench) one(ctx context.Context, r row) error {
	if r.root && os.Geteuid() != 0 {
		b.Skipped(r.name, "needs root: two network namespaces and tc")
		return nil
	}
	if free, err := freeSpace(b.Tmp); err != nil {
		return err
	} else if free < r.space {
		b.Skipped(r.name, fmt.Sprintf("needs %s of disk, %s has %s", report.Bytes(float64(r.space)), b.Tmp, report.Bytes(float64(free))))
		return nil
	}
	begun := time.Now()
	fmt.Fprintf(os.Stderr, "figures: %s: %s\n", r.name, r.what)
	if r.root {
		if err := b.network(ctx); err != nil {
			return err
		}
	}
	err := r.measure(ctx, b)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		b.Add(report.Figure{Row: r.name, What: "the row could not be measured", Result: err.Error(), Bar: "it can", Verdict: report.Fail})
	}
	b.KeepOnly("src", "sendonce")
	fmt.Fprintf(os.Stderr, "figures: %s took %.0f s\n", r.name, time.Since(begun).Seconds())
	return nil
}

// network makes the shaped link, once; without root there is none.
func (b *bench) network(ctx context.Context) (err error) {
	if b.net != nil || os.Geteuid() != 0 {
		return nil
	}
	if _, err := exec.LookPath("tc"); err != nil {
		return nil
	}
	if b.net, err = twonet.New(ctx, &b.Procs); err != nil {
		return err
	}
	return b.net.Shape(ctx, linkMbit)
}

// linkMbit is the rate of the shaped link.
const linkMbit = 100

func choose(o options) (list []row, err error) {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	only, skip := split(o.only), split(o.skip)
	all := rows()
	for _, n := range slices.Concat(only, skip) {
		if !slices.ContainsFunc(all, func(r row) bool { return r.name == n }) {
			return nil, fmt.Errorf("there is no row %q; -list shows all", n)
		}
	}
	for _, r := range all {
		switch {
		case slices.Contains(skip, r.name):
		case len(only) > 0 && slices.Contains(only, r.name), len(only) == 0 && (o.long || !r.long):
			list = append(list, r)
		}
	}
	return list, nil
}

// packageOf returns the Debian package of a program.
func packageOf(program string) string {
	switch program {
	case "ip", "tc":
		return "iproute2"
	case "diff":
		return "diffutils"
	}
	return program
}

func havePrograms(ctx context.Context, list []row, install bool) error {
	var missing []string
	for _, r := range list {
		needs := r.needs
		if r.root && os.Geteuid() == 0 {
			needs = append(slices.Clone(needs), "ip", "tc")
		}
		for _, n := range needs {
			if _, err := exec.LookPath(n); err != nil && !slices.Contains(missing, packageOf(n)) {
				missing = append(missing, packageOf(n))
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if !install {
		return fmt.Errorf("not installed: %s; -install installs them with apt-get", strings.Join(missing, " "))
	}
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func build(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", to, "sendonce/cmd/sendonce")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// goSources returns a copy of the Go toolchain's sources, old enough that no
// tool distrusts its times.
func (b *bench) goSources(ctx context.Context) (string, error) {
	if b.src != "" {
		return b.src, nil
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	dir := filepath.Join(b.Tmp, "src")
	if err := corpus.CopyTree(dir, filepath.Join(strings.TrimSpace(string(root)), "src")); err != nil {
		return "", err
	}
	b.src = dir
	return dir, world.Pause(ctx, corpus.Age)
}

// describe records what was measured where.
func (b *bench) describe(ctx context.Context) {
	b.Machine = fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if model := cpuModel(); model != "" {
		b.Machine += ", " + model
	}
	b.Date = time.Now().UTC().Format(time.RFC3339)
	b.Programs = map[string]string{"go": runtime.Version()}
	for name, args := range map[string][]string{"sendonce": {b.Bin, "version"}, "rsync": {"rsync", "--version"}, "restic": {"restic", "version"}, "zstd": {"zstd", "--version"}} {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		if first, _, _ := strings.Cut(string(out), "\n"); err == nil {
			b.Programs[name] = strings.TrimSpace(strings.Trim(first, "* "))
		}
	}
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func freeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
