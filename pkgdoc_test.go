package sendonce_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines    = 600
	maxPackageLines = 1500
	minDocWords     = 25
)

// packages groups files by folder; test files and generated ones are left out.
func packages(files []source) map[string][]source {
	out := make(map[string][]source)
	for _, s := range files {
		if !s.test && !s.generated {
			out[s.dir] = append(out[s.dir], s)
		}
	}
	return out
}

func lines(s source) int { return strings.Count(s.text, "\n") }

// checkPackageDocs returns packages whose comment does not say their job.
func checkPackageDocs(files []source) (bad []string) {
	for dir, pkg := range packages(files) {
		name := pkg[0].file.Name.Name
		var texts []string
		for _, s := range pkg {
			if s.file.Doc != nil {
				texts = append(texts, s.file.Doc.Text())
			}
		}
		say := func(why string) { bad = append(bad, fmt.Sprintf("package %s (%s): %s", name, dir, why)) }
		start := "Package " + name + " "
		if name == "main" {
			start = "Command " + pathBase(dir) + " "
		}
		switch {
		case len(texts) == 0:
			say("no package comment")
		case len(texts) > 1:
			say("more than one package comment")
		case !strings.HasPrefix(texts[0], start):
			say(fmt.Sprintf("the comment does not begin with %q", start))
		case len(strings.Fields(texts[0])) < minDocWords:
			say(fmt.Sprintf("a comment of fewer than %d words tells neither job nor invariants", minDocWords))
		case len(strings.Fields(new(doc.Package).Synopsis(texts[0]))) < 5:
			say("the first sentence does not say the job")
		}
	}
	return bad
}

func pathBase(dir string) string { return dir[strings.LastIndex(dir, "/")+1:] }

// large are the packages that were looked at and hold one idea all the same, and
// the size that they may not pass without being looked at again.
var large = map[string]struct {
	lines int
	why   string
}{
	"cmd/sendonce":      {3600, "a file for each subcommand; nothing imports it"},
	"indexdb":           {3900, "the rules of the index, written once: they share the rows and one transaction"},
	"indexdb/indextest": {2700, "one conformance suite, a file for each part of the contract"},
	"protocol":          {2900, "the messages and their one codec, whose methods belong to the messages' package"},
}

// checkSizes returns files and packages that have grown too large to read.
func checkSizes(files []source) (bad []string) {
	for dir, pkg := range packages(files) {
		total := 0
		for _, s := range pkg {
			total += lines(s)
			if n := lines(s); n >= maxFileLines {
				bad = append(bad, fmt.Sprintf("%s has %d lines, the limit is %d: split it", s.path, n, maxFileLines))
			}
		}
		limit := maxPackageLines
		if l, ok := large[dir]; ok {
			limit = l.lines
			if total < maxPackageLines && len(files) > 1 {
				bad = append(bad, fmt.Sprintf("package folder %q has only %d lines: take it off the list of large ones", dir, total))
			}
		}
		if total >= limit {
			bad = append(bad, fmt.Sprintf("package folder %q has %d lines, the limit is %d: split it", dir, total, limit))
		}
	}
	return bad
}

// checkExported returns exported names without a comment. A group's comment
// serves its members, and a comment at the end of a line serves that line.
func checkExported(s source) (bad []string) {
	if s.test || s.generated {
		return nil
	}
	say := func(n ast.Node, name string) { bad = append(bad, fmt.Sprintf("%s: %s has no comment", s.at(n), name)) }
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name, exported := d.Name.Name, d.Name.IsExported()
			if d.Recv != nil && len(d.Recv.List) > 0 {
				recv := receiver(d.Recv.List[0].Type)
				name, exported = recv+"."+name, exported && token.IsExported(recv)
			}
			if exported && d.Doc == nil {
				say(d, name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
						say(spec, spec.Name.Name)
					}
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						if n.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
							say(spec, n.Name)
						}
					}
				}
			}
		}
	}
	return bad
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// Written in pieces, so that this file does not find itself.
var (
	unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	machine    = regexp.MustCompile(`(^|[\s"'(=` + "`" + `])/(wo` + `rk|ro` + `ot|U` + `sers)/`)
)

// checkComments returns notes of unfinished work in comments, and the paths of
// somebody's machine anywhere.
func checkComments(s source) (bad []string) {
	for _, g := range s.file.Comments {
		for _, c := range g.List {
			if w := unfinished.FindString(c.Text); w != "" {
				bad = append(bad, fmt.Sprintf("%s: a comment says %s", s.at(c), w))
			}
		}
	}
	for i, line := range strings.Split(s.text, "\n") {
		if w := machine.FindString(line); w != "" {
			bad = append(bad, fmt.Sprintf("%s:%d: a path of one machine: %s", s.path, i+1, strings.TrimSpace(w)))
		}
	}
	return bad
}

func TestPackageDocs(t *testing.T) { report(t, checkPackageDocs(repository(t))) }

func TestSizes(t *testing.T) { report(t, checkSizes(repository(t))) }

func TestExportedNamesAreDocumented(t *testing.T) {
	var bad []string
	for _, s := range repository(t) {
		bad = append(bad, checkExported(s)...)
	}
	report(t, bad)
}

func TestComments(t *testing.T) {
	var bad []string
	for _, s := range repository(t) {
		bad = append(bad, checkComments(s)...)
	}
	report(t, bad)
}

// TestRulesBite feeds each rule a source that breaks it, and one that does not.
func TestRulesBite(t *testing.T) {
	all := func(s source) []string {
		return slices.Concat(checkImports(s), checkInits(s), checkPackageName(s), checkEdges(s, map[string]bool{}),
			checkPackageDocs([]source{s}), checkSizes([]source{s}), checkExported(s), checkComments(s))
	}
	const why = " does one thing in these examples, and does it so plainly that nobody needs to ask.\n// Invariants: it never changes. It promises nothing else at all.\n"
	head := func(name string) string { return "// Package " + name + why + "package " + name + "\n" }
	imp := func(name, p string) string { return head(name) + "import _ \"" + p + "\"\n" }
	use := func(name, p, expr string) string {
		return head(name) + "import x \"" + p + "\"\nvar y = func() any { return " + expr + " }\n"
	}
	big := func(n int) string { return head("plan") + strings.Repeat("\n", n) }
	breaks := map[string]struct{ path, text, want string }{
		"chunking sees content":        {"chunking/a.go", imp("chunking", module+"/content"), "layers forbid"},
		"content sees protocol":        {"content/a.go", imp("content", module+"/protocol"), "layers forbid"},
		"protocol sees quiclink":       {"protocol/a.go", imp("protocol", module+"/protocol/quiclink"), "layers forbid"},
		"indexdb sees blobstore":       {"indexdb/a.go", imp("indexdb", module+"/blobstore"), "layers forbid"},
		"indexdb sees an engine":       {"indexdb/a.go", imp("indexdb", module+"/indexdb/pebbleidx"), "layers forbid"},
		"an engine sees protocol":      {"indexdb/pebbleidx/a.go", imp("pebbleidx", module+"/protocol"), "layers forbid"},
		"daemon sees proxy":            {"daemon/a.go", imp("daemon", module+"/proxy"), "layers forbid"},
		"daemon sees indexdb":          {"daemon/push/a.go", imp("push", module+"/indexdb"), "layers forbid"},
		"daemon sees blobstore":        {"daemon/a.go", imp("daemon", module+"/blobstore"), "layers forbid"},
		"daemon sees quiclink":         {"daemon/a.go", imp("daemon", module+"/protocol/quiclink"), "layers forbid"},
		"plan sees state":              {"daemon/plan/a.go", imp("plan", module+"/daemon/state"), "layers forbid"},
		"proxy sees daemon":            {"proxy/a.go", imp("proxy", module+"/daemon"), "layers forbid"},
		"proxy sees chunking":          {"proxy/a.go", imp("proxy", module+"/chunking"), "layers forbid"},
		"a room sees the proxy":        {"proxy/push/a.go", imp("push", module+"/proxy"), "layers forbid"},
		"a room sees another":          {"proxy/read/a.go", imp("read", module+"/proxy/push"), "layers forbid"},
		"proxy sees an engine":         {"proxy/vault/a.go", imp("vault", module+"/blobstore/pebbleblob"), "layers forbid"},
		"anyone sees cmd":              {"bench/a.go", imp("bench", module+"/cmd/sendonce/internal/human"), "layers forbid"},
		"the root sees a package":      {"a.go", imp("sendonce", module+"/content"), "layers forbid"},
		"the root leaves the library":  {"a.go", imp("sendonce", "golang.org/x/sync/errgroup"), "standard library only"},
		"an unknown folder":            {"stuff/a.go", head("stuff"), "no layer is known"},
		"a dot import":                 {"proxy/a.go", head("proxy") + "import . \"fmt\"\n", "dot import"},
		"pebble in the proxy":          {"proxy/a.go", imp("proxy", "github.com/cockroachdb/pebble/v2"), "may"},
		"pebble in the daemon":         {"daemon/a.go", imp("daemon", "github.com/cockroachdb/pebble/v2"), "may"},
		"quic in the proxy":            {"proxy/a.go", imp("proxy", "github.com/quic-go/quic-go"), "may"},
		"zstd in the daemon":           {"daemon/a.go", imp("daemon", "github.com/klauspost/compress/zstd"), "may"},
		"rapid in the product":         {"content/a.go", imp("content", "pgregory.net/rapid"), "may"},
		"a stranger":                   {"proxy/a.go", imp("proxy", "example.org/left/pad"), "no owner"},
		"an init function":             {"proxy/a.go", head("proxy") + "func init() {}\n", "init function"},
		"a package-level logger":       {"proxy/a.go", head("proxy") + "import \"log/slog\"\nvar l = slog.Default()\n", "package-level"},
		"a package-level flag":         {"proxy/a.go", head("proxy") + "import \"flag\"\nvar f = flag.Bool(\"f\", false, \"\")\n", "package-level"},
		"package util":                 {"proxy/util/a.go", head("util"), "says nothing"},
		"package helpers, in tests":    {"proxy/helpers/a_test.go", "package helpers_test\n", "says nothing"},
		"the clock":                    {"proxy/a.go", use("proxy", "time", "x.Now"), "time.Now belongs"},
		"the clock, called":            {"daemon/a.go", use("daemon", "time", "x.Since(z)"), "time.Since belongs"},
		"a file":                       {"daemon/a.go", use("daemon", "os", "x.ReadFile"), "os.ReadFile belongs"},
		"a walk":                       {"daemon/a.go", use("daemon", "path/filepath", "x.WalkDir"), "WalkDir belongs"},
		"the network":                  {"daemon/a.go", use("daemon", "net", "x.Dial"), "net.Dial belongs"},
		"a listener":                   {"proxy/a.go", use("proxy", "net", "x.ListenConfig{}"), "net.ListenConfig belongs"},
		"randomness":                   {"daemon/a.go", use("daemon", "crypto/rand", "x.Reader"), "crypto/rand.Reader belongs"},
		"global randomness":            {"daemon/a.go", use("daemon", "math/rand/v2", "x.IntN(3)"), "math/rand/v2.IntN belongs"},
		"no package comment":           {"proxy/a.go", "package proxy\n", "no package comment"},
		"a short package comment":      {"proxy/a.go", "// Package proxy serves.\npackage proxy\n", "fewer than"},
		"a comment of another package": {"proxy/a.go", "// Package prox" + why + "package proxy\n", "does not begin"},
		"a command's comment":          {"cmd/sendonce/a.go", "// Package main" + why + "package main\n", "does not begin"},
		"a long file":                  {"daemon/plan/a.go", big(600), "split it"},
		"a large package":              {"daemon/plan/a.go", big(1500), "package folder"},
		"a function without a comment": {"proxy/a.go", head("proxy") + "\nfunc F() {}\n", "F has no comment"},
		"a method without a comment":   {"proxy/a.go", head("proxy") + "\n// T is one.\ntype T[K any] int\n\nfunc (t *T[K]) F() {}\n", "T.F has no comment"},
		"a type without a comment":     {"proxy/a.go", head("proxy") + "\ntype T int\n", "T has no comment"},
		"a constant without a comment": {"proxy/a.go", head("proxy") + "\nconst C = 1\n", "C has no comment"},
		"unfinished work":              {"proxy/a.go", head("proxy") + "// TO" + "DO: the rest\n", "a comment says"},
		"unfinished work, in a test":   {"proxy/a_test.go", "package proxy\n\n// FIX" + "ME\n", "a comment says"},
		"a machine's path":             {"proxy/a.go", head("proxy") + "var p = \"/wo" + "rk/main\"\n", "path of one machine"},
	}
	for what, b := range breaks {
		s, err := parse(b.path, b.text)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if bad := all(s); !slices.ContainsFunc(bad, func(v string) bool { return strings.Contains(v, b.want) }) {
			t.Errorf("%s: the rules found %q, want %q", what, bad, b.want)
		}
	}

	keeps := map[string]struct{ path, text string }{
		"a role sees its own":        {"indexdb/a.go", imp("indexdb", module+"/indexdb/internal/bin")},
		"an engine sees its role":    {"indexdb/pebbleidx/a.go", imp("pebbleidx", module+"/indexdb")},
		"pebble has its owners":      {"daemon/state/a.go", imp("state", "github.com/cockroachdb/pebble/v2/bloom")},
		"a remote end sees protocol": {"blobstore/remoteblob/a.go", imp("remoteblob", module+"/protocol")},
		"daemon sees its parts":      {"daemon/a.go", imp("daemon", module+"/daemon/state")},
		"the command sees all":       {"cmd/sendonce/a.go", "// Command sendonce" + why + "package main\nimport _ \"" + module + "/proxy\"\n"},
		"timers":                     {"daemon/a.go", use("daemon", "time", "x.NewTimer(1)")},
		"a seeded source":            {"daemon/a.go", use("daemon", "math/rand/v2", "x.New(nil)")},
		"a local of that name":       {"daemon/a.go", head("daemon") + "import \"time\"\nvar _ time.Time\nfunc f(time interface{ Now() int }) { time.Now() }\n"},
		"the edge":                   {"internal/fsys/a.go", use("fsys", "os", "x.Open")},
		"a test":                     {"daemon/a_test.go", "package daemon\nimport (\"time\"; _ \"" + module + "/proxy\")\nvar t0 = time.Now()\nfunc init() {}\n"},
		"a generated file":           {"protocol/internal/pb/a.go", "// Code generated by hand. DO NOT EDIT.\n\npackage pb\n\nfunc init() {}\n\nfunc F() {}\n"},
		"comments where they may be": {"proxy/a.go", head("proxy") + "\n// The numbers.\nconst (\n\tA = 1\n\tB = 2\n)\n\nvar (\n\tC = 1 // the third\n)\n\ntype t int\n\nfunc (t) F() {}\n"},
		"room below the limits":      {"daemon/plan/a.go", big(590)},
	}
	for what, k := range keeps {
		s, err := parse(k.path, k.text)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if bad := all(s); len(bad) > 0 {
			t.Errorf("%s: the rules found %q", what, bad)
		}
	}
	if n := len(slices.Collect(maps.Keys(breaks))); n < 40 {
		t.Errorf("only %d violations are tried", n)
	}
}
