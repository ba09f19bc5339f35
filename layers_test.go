package sendonce_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The repository's own rules (DESIGN 9), as tests. The sources are parsed here,
// in the test process: a test that asks the go command would be answered from
// its cache and pass stale.

const module = "sendonce"

// source is one Go file.
type source struct {
	path      string // slash-separated, from the repository's root
	dir       string // of the package; "" for the root
	test      bool   // _test.go
	generated bool
	text      string
	file      *ast.File
	fset      *token.FileSet
}

func parse(name, text string) (source, error) {
	s := source{path: name, text: text, fset: token.NewFileSet(), test: strings.HasSuffix(name, "_test.go")}
	if s.dir = path.Dir(name); s.dir == "." {
		s.dir = ""
	}
	var err error
	if s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments); err == nil {
		s.generated = ast.IsGenerated(s.file)
	}
	return s, err
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

// repository reads every Go file of this module.
func repository(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, other := os.Stat(filepath.Join(p, "go.mod"))
			if name := d.Name(); p != "." && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || other == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(p), string(text))
		out = append(out, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("only %d files were found", len(out))
	}
	return out
}

// within reports whether dir is base or below it.
func within(dir, base string) bool { return dir == base || strings.HasPrefix(dir, base+"/") }

func withinAny(dir string, bases []string) bool {
	return slices.ContainsFunc(bases, func(b string) bool { return within(dir, b) })
}

// layer says which packages of this module a folder may import besides itself
// and what is below it. An entry that ends in "/..." means the whole subtree.
// The longest matching folder counts. "." is the root package.
var layers = map[string][]string{
	"":                     {},
	"chunking":             {"."},
	"content":              {"."},
	"protocol":             {"."},
	"protocol/quiclink":    {".", "protocol"},
	"protocol/prototest":   {".", "protocol"},
	"indexdb":              {"."},
	"indexdb/pebbleidx":    {".", "indexdb", "internal/pebblefs"},
	"indexdb/sqlidx":       {".", "indexdb"},
	"indexdb/indextest":    {".", "indexdb", "indexdb/portable"},
	"indexdb/remoteidx":    {".", "indexdb", "protocol"},
	"blobstore":            {"."},
	"blobstore/pebbleblob": {".", "blobstore", "internal/pebblefs"},
	"blobstore/s3blob":     {".", "blobstore"},
	"blobstore/blobtest":   {".", "blobstore"},
	"blobstore/remoteblob": {".", "blobstore", "protocol"},
	"internal/fsys":        {"."},
	"internal/pebblefs":    {},
	"daemon":               {".", "daemon/...", "protocol", "content", "chunking", "internal/fsys"},
	"daemon/plan":          {"."},
	"daemon/state":         {".", "internal/pebblefs"},
	"daemon/watch":         {".", "internal/fsys"},
	"daemon/scan":          {".", "daemon/state", "internal/fsys"},
	"proxy":                {".", "proxy/...", "protocol", "content", "indexdb", "blobstore"},
	"proxy/metrics":        {},
	"proxy/stream":         {".", "protocol"},
	"proxy/vault":          {".", "content", "indexdb", "blobstore"},
	"proxy/apply":          {".", "protocol", "indexdb", "proxy/stream", "proxy/vault"},
	"proxy/push":           {".", "protocol", "indexdb", "proxy/apply", "proxy/metrics", "proxy/stream", "proxy/vault"},
	"proxy/read":           {".", "protocol", "indexdb", "proxy/metrics", "proxy/stream", "proxy/vault"},
	"proxy/admin":          {".", "protocol", "indexdb", "proxy/metrics", "proxy/stream"},
	"internal/simtest":     {"...", "!cmd/..."},
	"bench":                {"...", "!cmd/..."},
	"cmd":                  {"..."},
}

// allowed reports whether a layer's list lets dir be imported.
func allowed(list []string, dir string) bool {
	ok := false
	for _, e := range list {
		e, not := strings.CutPrefix(e, "!")
		base, sub := strings.CutSuffix(e, "...")
		base = strings.TrimSuffix(base, "/")
		if base == "." {
			base = ""
		}
		if dir == base || sub && (base == "" || within(dir, base)) {
			ok = !not
		}
	}
	return ok
}

// layerOf returns the folder of layers that counts for dir.
func layerOf(dir string) (string, bool) {
	for {
		if _, ok := layers[dir]; ok && (dir != "") {
			return dir, true
		}
		if !strings.Contains(dir, "/") {
			return "", dir == ""
		}
		dir = path.Dir(dir)
	}
}

// owners says which folders may import what is not ours: one owner for each
// outside package. The longest matching import path counts.
var owners = map[string][]string{
	"github.com/restic/chunker":                   {"chunking"},
	"github.com/zeebo/blake3":                     {"content"},
	"github.com/klauspost/compress":               {"content"},
	"google.golang.org/protobuf":                  {"protocol"},
	"github.com/quic-go/quic-go":                  {"protocol/quiclink"},
	"github.com/quic-go/quic-go/testutils/simnet": {"internal/simtest"},
	"github.com/fsnotify/fsnotify":                {"daemon/watch"},
	"github.com/cockroachdb/pebble":               {"indexdb/pebbleidx", "blobstore/pebbleblob", "daemon/state", "internal/pebblefs"},
	"github.com/cockroachdb/pebble/v2/vfs":        {"indexdb/pebbleidx", "blobstore/pebbleblob", "daemon/state", "internal/pebblefs", "daemon", "cmd", "bench", "internal/simtest"}, // the injected file system
	"golang.org/x/text":                           {"daemon/plan", "indexdb/portable"},
	"golang.org/x/sys":                            {"internal/fsys", "cmd"},
	"golang.org/x/term":                           {"cmd"},
	"golang.org/x/sync":                           {"daemon", "proxy", "cmd", "bench", "indexdb", "blobstore", "protocol", "content", "chunking"},
	"github.com/spf13/cobra":                      {"cmd"},
	"github.com/spf13/pflag":                      {"cmd"}, // the flag values of cobra
	"github.com/pelletier/go-toml":                {"cmd"},
	"github.com/vbauerster/mpb":                   {"cmd"},
	"github.com/gofrs/flock":                      {"cmd"},
	"github.com/google/go-cmp":                    testPackages,
	"pgregory.net/rapid":                          testPackages,
	"go.uber.org/goleak":                          testPackages,
	"github.com/rogpeppe/go-internal":             {},
}

// testPackages are helpers of tests that are not in _test.go files.
var testPackages = []string{"internal/simtest", "indexdb/indextest", "blobstore/blobtest", "protocol/prototest"}

// edges are the only places that touch the clock, files, the network and
// randomness themselves; everybody else is given them.
var edges = append([]string{"cmd", "internal/fsys", "protocol/quiclink", "bench"}, testPackages...)

// edgeNames are the names that only edges may use, by import path.
var edgeNames = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep"},
	"os": {"Open", "OpenFile", "OpenRoot", "OpenInRoot", "Create", "CreateTemp", "ReadFile", "WriteFile", "ReadDir", "Mkdir", "MkdirAll", "MkdirTemp",
		"Remove", "RemoveAll", "Rename", "Stat", "Lstat", "Chmod", "Chown", "Lchown", "Chtimes", "Link", "Symlink", "Readlink", "Truncate", "DirFS", "CopyFS",
		"Getenv", "LookupEnv", "Environ", "Getwd", "Hostname", "UserHomeDir", "UserConfigDir", "UserCacheDir"},
	"path/filepath": {"Walk", "WalkDir", "Glob", "EvalSymlinks", "Abs"},
	"net": {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer", "Listen", "ListenPacket", "ListenTCP", "ListenUDP", "ListenIP",
		"ListenUnix", "ListenUnixgram", "ListenMulticastUDP", "ListenConfig", "FileListener", "FileConn", "LookupHost", "LookupIP", "LookupAddr", "LookupPort",
		"ResolveTCPAddr", "ResolveUDPAddr", "ResolveIPAddr", "Interfaces", "InterfaceAddrs", "DefaultResolver"},
	"net/http":     {"Get", "Post", "PostForm", "Head", "DefaultClient", "DefaultTransport", "DefaultServeMux", "Handle", "HandleFunc", "ListenAndServe", "ListenAndServeTLS"},
	"crypto/rand":  {"Reader", "Read", "Int", "Prime", "Text"},
	"math/rand":    {"Int", "Intn", "Int31", "Int31n", "Int63", "Int63n", "Uint32", "Uint64", "Float32", "Float64", "Perm", "Shuffle", "Read", "Seed", "NormFloat64", "ExpFloat64"},
	"math/rand/v2": {"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint", "UintN", "Uint32", "Uint32N", "Uint64", "Uint64N", "Float32", "Float64", "Perm", "Shuffle", "N", "NormFloat64", "ExpFloat64"},
	"io/ioutil":    {"ReadFile", "WriteFile", "ReadDir", "TempDir", "TempFile"},
}

// edgeExceptions are uses outside the edges that are right, with the reason.
var edgeExceptions = map[string]string{}

// forbiddenNames are package names that say nothing about a job.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base"}

// imports returns the import paths of a file and the names they have there.
func (s source) imports() map[*ast.ImportSpec]string {
	out := make(map[*ast.ImportSpec]string)
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			out[i] = p
		}
	}
	return out
}

func importName(i *ast.ImportSpec, p string) string {
	if i.Name != nil {
		return i.Name.Name
	}
	name := path.Base(p)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = path.Base(path.Dir(p))
	}
	return name
}

// checkImports returns what breaks the import rules. Test files may import
// anything: they put worlds together.
func checkImports(s source) (bad []string) {
	if s.test {
		return nil
	}
	layer, ok := layerOf(s.dir)
	if !ok {
		return []string{fmt.Sprintf("%s: no layer is known for package folder %s", s.path, s.dir)}
	}
	for i, p := range s.imports() {
		say := func(why string) { bad = append(bad, fmt.Sprintf("%s: %s imports %s: %s", s.at(i), s.dir, p, why)) }
		if i.Name != nil && i.Name.Name == "." {
			say("a dot import")
		}
		if p == module || strings.HasPrefix(p, module+"/") {
			dir := strings.TrimPrefix(strings.TrimPrefix(p, module), "/")
			if !allowed(layers[layer], dir) && !(layer != "" && within(dir, layer) && ownBelow(layer, dir)) {
				say("the layers forbid it")
			}
			continue
		}
		if first, _, _ := strings.Cut(p, "/"); !strings.Contains(first, ".") {
			continue // the standard library
		}
		if s.dir == "" {
			say("the root imports the standard library only")
			continue
		}
		best, list := "", []string(nil)
		for prefix, l := range owners {
			if within(p, prefix) && len(prefix) > len(best) {
				best, list = prefix, l
			}
		}
		switch {
		case best == "":
			say("it has no owner")
		case !withinAny(s.dir, list):
			say(fmt.Sprintf("only %v may", list))
		}
	}
	return bad
}

// ownBelow lets a role import its own plain subpackages, but never one of its
// implementations or test packages, which have a layer of their own.
func ownBelow(layer, dir string) bool {
	own, _ := layerOf(dir)
	return own == layer
}

// checkInits returns init functions and package-level registries and loggers.
func checkInits(s source) (bad []string) {
	if s.generated || s.test {
		return nil
	}
	global := map[string]bool{"log": true, "log/slog": true, "flag": true, "expvar": true}
	names := make(map[string]string)
	for i, p := range s.imports() {
		names[importName(i, p)] = p
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				bad = append(bad, s.at(d)+": an init function")
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if sel, ok := c.Fun.(*ast.SelectorExpr); ok {
						if x, ok := sel.X.(*ast.Ident); ok && global[names[x.Name]] {
							bad = append(bad, fmt.Sprintf("%s: a package-level %s.%s", s.at(n), x.Name, sel.Sel.Name))
						}
					}
				}
				_, inner := n.(*ast.FuncLit)
				return !inner
			})
		}
	}
	return bad
}

// checkPackageName returns names that mean nothing.
func checkPackageName(s source) []string {
	if slices.Contains(forbiddenNames, strings.TrimSuffix(s.file.Name.Name, "_test")) {
		return []string{fmt.Sprintf("%s: package name %s says nothing", s.path, s.file.Name.Name)}
	}
	return nil
}

// checkEdges returns uses of the clock, files, network and randomness where
// they ought to be injected. used collects the exceptions that were needed.
func checkEdges(s source, used map[string]bool) (bad []string) {
	if s.test || s.generated || withinAny(s.dir, edges) {
		return nil
	}
	names := make(map[string]string)
	for i, p := range s.imports() {
		if edgeNames[p] != nil {
			names[importName(i, p)] = p
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok || x.Obj != nil { // a local variable of that name
			return true
		}
		p, ok := names[x.Name]
		if !ok || !slices.Contains(edgeNames[p], sel.Sel.Name) {
			return true
		}
		what := s.path + " " + p + "." + sel.Sel.Name
		if _, ok := edgeExceptions[what]; ok {
			used[what] = true
			return true
		}
		bad = append(bad, fmt.Sprintf("%s: %s.%s belongs at the edge", s.at(n), p, sel.Sel.Name))
		return true
	})
	return bad
}

func report(t *testing.T, bad []string) {
	t.Helper()
	slices.Sort(bad)
	for _, b := range bad {
		t.Error(b)
	}
}

func TestLayers(t *testing.T) {
	var bad []string
	for _, s := range repository(t) {
		bad = append(bad, checkImports(s)...)
	}
	report(t, bad)
}

func TestNoInitNoGlobals(t *testing.T) {
	var bad []string
	for _, s := range repository(t) {
		bad = append(bad, checkInits(s)...)
	}
	report(t, bad)
}

func TestPackageNames(t *testing.T) {
	var bad []string
	for _, s := range repository(t) {
		bad = append(bad, checkPackageName(s)...)
	}
	report(t, bad)
}

func TestEdges(t *testing.T) {
	var bad []string
	used := make(map[string]bool)
	for _, s := range repository(t) {
		bad = append(bad, checkEdges(s, used)...)
	}
	for _, e := range slices.Sorted(maps.Keys(edgeExceptions)) {
		if !used[e] {
			bad = append(bad, "the exception "+e+" is not needed any more")
		}
	}
	report(t, bad)
}
