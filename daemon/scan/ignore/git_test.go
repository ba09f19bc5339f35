package ignore

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fileName is what git calls its ignore files; the syntax is what counts here.
const fileName = ".gitignore"

// repo is a git repository with a fixed tree, whose ignore files change.
type repo struct {
	dir   string
	paths []string // byte order of components: parents before children
	isDir map[string]bool
}

// entries are names that patterns made of the same characters can hit.
var (
	dirNames  = []string{"a", "b", "ab", "a.b", "[a]", "a b", "*", "foo", "-"}
	leafNames = []string{"a", "b", "ab", "abc", "ba", "aab", "a.b", "[a]", "]", "-", "!", "!a", "#a", "\\", "\\a", "a ", " a", "a b", "*", "**", "?", "^", "a\r", "a\t", "Ab",
		"foo", "foob", "\xc3\xa9", "\xff", "a\n", "\xef\xbb\xbfa", "[", "a-", "[:alpha:]", "." + "a", "a]", "9", "\x0b", "\x7f", "~"}
)

func newRepo(t *testing.T) *repo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is needed: this package promises to do what it does: ", err)
	}
	r := &repo{dir: t.TempDir(), isDir: make(map[string]bool)}
	if out, err := r.git(nil, "init", "-q", "--template=").CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	for _, d := range []string{"", "a", "a/b", "a/b/a", "foo", "foo/ab", "foo/ab/[a]", "foo/ab/[a]/*", "*", "-"} {
		names := append([]string{}, leafNames...)
		if d != "" && d != "a/b" && d != "foo/ab" { // enough in few
			names = names[:12]
		}
		for _, n := range dirNames {
			r.add(t, d, n, true)
		}
		for _, n := range names {
			r.add(t, d, n, false)
		}
	}
	sort.Slice(r.paths, func(i, j int) bool {
		return strings.ReplaceAll(r.paths[i], "/", "\x00") < strings.ReplaceAll(r.paths[j], "/", "\x00")
	})
	return r
}

func (r *repo) add(t *testing.T, dir, name string, isDir bool) {
	path := name
	if dir != "" {
		path = dir + "/" + name
	}
	full := filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(full); err == nil {
		return
	}
	var err error
	if isDir {
		err = os.Mkdir(full, 0o755)
	} else {
		err = os.WriteFile(full, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for p := path; p != "." && !contains(r, p); p = filepath.Dir(p) {
		r.isDir[p] = isDir || p != path
		r.paths = append(r.paths, p)
	}
}

func contains(r *repo, p string) bool { _, ok := r.isDir[p]; return ok }

func (r *repo) git(in []byte, args ...string) *exec.Cmd {
	c := exec.Command("git", args...)
	c.Dir = r.dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME="+r.dir, "XDG_CONFIG_HOME="+r.dir, "GIT_DIR=.git", "GIT_WORK_TREE=.")
	c.Stdin = bytes.NewReader(in)
	return c
}

// theirs asks git about every path; the text is what it gives as the reason.
func (r *repo) theirs(t fataler, paths []string) map[string]string {
	var in bytes.Buffer
	for _, p := range paths {
		in.WriteString("./" + p + "\x00") // a name that begins with a colon would be more than a name
	}
	var stderr bytes.Buffer
	c := r.git(in.Bytes(), "check-ignore", "--no-index", "--stdin", "-z", "-v", "-n")
	c.Stderr = &stderr
	out, err := c.Output()
	if e, ok := err.(*exec.ExitError); err != nil && !(ok && e.ExitCode() == 1) { // 1: nothing is ignored
		t.Fatalf("git check-ignore: %v: %s", err, stderr.Bytes())
	}
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(fields) != 4*len(paths) {
		t.Fatalf("git answered %d fields for %d paths", len(fields), len(paths))
	}
	ignored := make(map[string]string)
	for i := 0; i < len(fields); i += 4 {
		if fields[i] != "" && !strings.HasPrefix(fields[i+2], "!") {
			ignored[paths[i/4]] = fmt.Sprintf("%s:%s:%q", fields[i], fields[i+1], fields[i+2])
		}
	}
	return ignored
}

type fataler interface{ Fatalf(string, ...any) }

// ours walks the tree as a scan does: an ignored directory's file is not read,
// and nothing below it is asked about.
func (r *repo) ours(files map[string]string, paths []string) map[string]bool {
	ignored := make(map[string]bool)
	rules := map[string]*Rules{".": push(New(), "", files, "")}
	for _, p := range paths {
		dir := filepath.Dir(p)
		if ignored[dir] || rules[dir].Match(p, r.isDir[p]) {
			ignored[p] = true
			continue
		}
		if r.isDir[p] {
			rules[p] = push(rules[dir], p, files, p)
		}
	}
	return ignored
}

func push(r *Rules, dir string, files map[string]string, key string) *Rules {
	if data, ok := files[key]; ok {
		return r.Push(dir, []byte(data))
	}
	return r
}

// compare fails at the first path about which git and this package disagree.
func (r *repo) compare(t fataler, files map[string]string) {
	for d, data := range files {
		if err := os.WriteFile(filepath.Join(r.dir, d, fileName), []byte(data), 0o644); err != nil {
			t.Fatalf("%v", err)
		}
	}
	defer func() {
		for d := range files {
			_ = os.Remove(filepath.Join(r.dir, d, fileName))
		}
	}()
	theirs, ours := r.theirs(t, r.paths), r.ours(files, r.paths)
	for _, p := range r.paths {
		if why, git := theirs[p]; git != ours[p] {
			t.Fatalf("files %q\npath %q (directory: %v): git ignores it: %v (%s), we: %v", files, p, r.isDir[p], git, why, ours[p])
		}
	}
}

// piece is a part of a pattern that means, or looks as if it meant, something.
var pieces = []string{"a", "b", "ab", "foo", "a", "b", "*", "**", "***", "?", "/", "/", "**/", "/**", "/**/", `\`, `\*`, `\?`, `\[`, `\/`, `\ `, `\#`, `\!`, `\\`, " ", "  ", "!", "#",
	"[ab]", "[!a]", "[^a]", "[]]", "[]a]", "[!]]", "[a-]", "[-a]", "[a-c]", "[c-a]", "[[:alpha:]]", "[[:digit:]b]", "[[:space:]]", "[[:bogus:]]", "[[:alpha:", "[[:]", "[[:alpha]", "[[::]]", "[", "]", "[a", "[!", "[]", "[a-",
	`[\]]`, `[\a-\c]`, `[a\`, "[a/b]", "[[]", "[[a]", "[!-~]", "[--a]", "[a-b-c]", "[[:alpha:]-z]", "[!!a]", "[[:cntrl:]]", "[[:graph:]]", "[[:punct:]]", ".", "-", "\r", "\t", "\xff", "\xc3\xa9", "\x00", "\xef\xbb\xbf", ":"}

func anyLine(t *rapid.T) string {
	line := ""
	for range rapid.IntRange(0, 6).Draw(t, "pieces") {
		line += rapid.SampledFrom(pieces).Draw(t, "piece")
	}
	switch rapid.IntRange(0, 7).Draw(t, "form") {
	case 0:
		line = "!" + line
	case 1:
		line = "/" + line
	case 2:
		line += "/"
	case 3:
		line = rapid.StringMatching(`[\[\]ab!^\\:*?/-]{1,9}`).Draw(t, "noise")
	}
	return line
}

func anyFile(t *rapid.T) string {
	file := ""
	if rapid.IntRange(0, 9).Draw(t, "mark") == 0 {
		file = "\xef\xbb\xbf"
	}
	for range rapid.IntRange(0, 4).Draw(t, "lines") {
		file += anyLine(t) + rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\n\n", " \n"}).Draw(t, "end")
	}
	if rapid.Bool().Draw(t, "open") {
		file += anyLine(t)
	}
	return file
}

func TestAgainstGit(t *testing.T) {
	r := newRepo(t)
	rapid.Check(t, func(t *rapid.T) {
		files := make(map[string]string)
		for _, d := range []string{"", "a", "a/b", "foo", "foo/ab", "foo/ab/[a]", "*"} {
			if d == "" || rapid.IntRange(0, 3).Draw(t, "nested") == 0 {
				files[d] = anyFile(t)
			}
		}
		r.compare(t, files)
	})
}

// TestOneLineAgainstGit runs every piece, alone and in the places where its
// meaning could differ.
func TestOneLineAgainstGit(t *testing.T) {
	r := newRepo(t)
	step := 1
	if testing.Short() {
		step = 7
	}
	var lines []string
	for _, p := range pieces {
		lines = append(lines, p, "*\n!"+p, "/"+p, p+"/", "a"+p+"b", "foo/"+p, p+"/a", "**/"+p, p+"/**")
	}
	for i := 0; i < len(lines); i += step {
		r.compare(t, map[string]string{"": lines[i]})
	}
}

// TestClassesAgainstGit asks about every byte that a name can have.
func TestClassesAgainstGit(t *testing.T) {
	r := newRepo(t)
	dir := filepath.Join(r.dir, "bytes")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.paths = []string{"bytes"}
	r.isDir = map[string]bool{"bytes": true}
	for b := 1; b < 256; b++ {
		if b == '/' {
			continue
		}
		name := "x" + string([]byte{byte(b)})
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		r.paths = append(r.paths, "bytes/"+name)
	}
	for _, set := range []string{"[:alnum:]", "[:alpha:]", "[:blank:]", "[:cntrl:]", "[:digit:]", "[:graph:]", "[:lower:]", "[:print:]", "[:punct:]", "[:space:]", "[:upper:]", "[:xdigit:]",
		"[:Alpha:]", "[:alphas:]", "\x01-\xff", "\x80-\x90", "z-a", "!a-z", "^\\]-a", "]-a", "+--", "\\--\\]", "a-\\", "[:digit:]-a", "a-[:digit:]", "a-c-e"} {
		r.compare(t, map[string]string{"bytes": "x[" + set + "]"})
		r.compare(t, map[string]string{"": "bytes/*[" + set + "]"})
	}
}
