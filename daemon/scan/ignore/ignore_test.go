package ignore

import (
	"strings"
	"testing"
)

// Hard cases, each as git decides it: what they mean is easier to read here than
// in a random run.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		file, path string
		dir, want  bool
	}{
		{"", "a", false, false},
		{"a", "a", false, true},
		{"a", "x/y/a", false, true},
		{"/a", "x/a", false, false},
		{"x/a", "y/x/a", false, false}, // a slash in the middle anchors
		{"a/", "a", false, false},
		{"a/", "a", true, true},
		{"a/", "x/a", true, true}, // one at the end does not
		{"*", "a", false, true},
		{"*\n!*/", "d", true, false},
		{"*\n!a", "a", false, false},
		{"!a\n*", "a", false, true}, // the last line decides
		{"**", "a/b", false, true},
		{"**/b", "b", false, true},
		{"**/b", "x/y/b", false, true},
		{"a/**", "a", true, false},
		{"a/**", "a/b/c", false, true},
		{"a/**/c", "a/c", false, true},
		{"a/**/c", "a/x/y/c", false, true},
		{"a/*/c", "a/x/y/c", false, false},
		{"a**/c", "ax/y/c", false, true}, // git takes what comes before the asterisks as a prefix
		{"a**c", "abc", false, true},
		{"?", "/", false, false},
		{"a?c", "abc", false, true},
		{"[a-c]x", "bx", false, true},
		{"[!a-c]x", "bx", false, false},
		{"[^a-c]x", "dx", false, true},
		{"[]]", "]", false, true},
		{"[!]]", "]", false, false},
		{"[a-]", "-", false, true},
		{"[-a]", "-", false, true},
		{"[z-a]", "m", false, false},
		{"[[:alpha:]]", "q", false, true},
		{"[[:alpha:]]", "1", false, false},
		{"[[:nonsense:]]", "n", false, false},
		{"[[:alpha:]", "a", false, false},
		{"[", "[", false, false}, // not closed: never
		{`\[`, "[", false, true},
		{`\!a`, "!a", false, true},
		{`\#a`, "#a", false, true},
		{"#a", "#a", false, false},
		{"a ", "a", false, true},
		{`a\ `, "a ", false, true},
		{`a\  `, "a ", false, true},
		{"a\t", "a", false, false}, // a tab is no space
		{"a\r\n", "a", false, true},
		{"a\r", "a", false, true},
		{"a\rb", "a\rb", false, true},
		{"\xef\xbb\xbfa", "a", false, true},
		{"\n\xef\xbb\xbfa", "a", false, false},
		{"a\x00b", "a", false, true},
		{`a\`, "a", false, false},
		{`a\`, `a\`, false, false},
		{`a\\`, `a\`, false, true},
		{"/", "a", true, false},
		{"!", "a", false, false},
		{"!/", "a", true, false},
		{"//a", "a", false, false},
		{"a//", "a", true, false},
		{" a", "a", false, false},
		{" a", " a", false, true},
		{"   ", " ", false, false},
	} {
		if got := New().Push("", []byte(c.file)).Match(c.path, c.dir); got != c.want {
			t.Errorf("%q ignores %q (directory: %v): %v", c.file, c.path, c.dir, got)
		}
	}
}

// The innermost file that has a matching line decides; its patterns are seen
// from its own directory.
func TestNested(t *testing.T) {
	outer := New().Push("", []byte("*.o\n/d/keep\n"))
	inner := outer.Push("d", []byte("!*.o\n/x\n"))
	for _, c := range []struct {
		rules *Rules
		path  string
		want  bool
	}{
		{outer, "a.o", true}, {inner, "d/a.o", false}, {inner, "d/keep", true}, {inner, "d/x", true}, {inner, "d/e/x", false}, {outer, "x", false},
	} {
		if got := c.rules.Match(c.path, false); got != c.want {
			t.Errorf("%s: %v", c.path, got)
		}
	}
	if r := New(); !r.Empty() || !r.Push("a", []byte("\n#\n")).Empty() || outer.Empty() || outer.Push("d", nil).Empty() {
		t.Error("Empty")
	}
	if !outer.Match("d/a.o", false) {
		t.Error("Push changed the rules that it was given")
	}
}

// slow matches by trying everything; for the short texts of the fuzzer.
func slow(p, t string, begin bool) bool {
	if p == "" {
		return t == ""
	}
	if p[0] != '*' {
		next, ok := one(p, 0, t, 0)
		return ok && slow(p[next:], t[1:], p[next-1] == '/')
	}
	rest := strings.TrimLeft(p, "*")
	deep := len(p)-len(rest) > 1 && begin && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, `\/`))
	if deep && (rest == "" || rest[0] == '/' && slow(rest[1:], t, true)) {
		return true
	}
	for k := 0; ; k++ {
		if slow(rest, t[k:], false) {
			return true
		}
		if k == len(t) || t[k] == '/' && !deep {
			return false
		}
	}
}

// FuzzMatch: no input panics or takes long, and going back to two places finds
// what trying everything finds.
func FuzzMatch(f *testing.F) {
	for _, p := range pieces {
		f.Add([]byte(p+"\n!"+p), "a/b/"+p, false)
	}
	f.Add([]byte(strings.Repeat("*a", 100)+"b"), strings.Repeat("a", 200), false)
	f.Add([]byte(strings.Repeat("**/a/", 100)+"b"), strings.Repeat("a/", 200), true)
	f.Fuzz(func(t *testing.T, file []byte, path string, dir bool) {
		r := New().Push("", file)
		r.Match(path, dir)
		r.Push("a", file).Match(path, dir)
		for _, p := range r.patterns {
			if strings.Count(p.glob, "*") < 5 && len(path) < 24 && glob(p.glob, path) != slow(p.glob, path, true) {
				t.Fatalf("%q against %q: %v", p.glob, path, glob(p.glob, path))
			}
		}
	})
}

// A hostile file costs the product of the lengths, not a power of them. (With
// plain backtracking this test would not end.)
func TestHostile(t *testing.T) {
	for _, p := range []string{strings.Repeat("*a", 200) + "b", strings.Repeat("**/*a", 200) + "b", strings.Repeat("**/", 1000) + "b", strings.Repeat("a*/**/", 300) + "b"} {
		for _, text := range []string{strings.Repeat("a", 4096), strings.Repeat("a/", 2048)} {
			if glob(p, text) {
				t.Errorf("%.20q matches", p)
			}
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	r := New().Push("", []byte("*.o\n*.a\n*.pyc\nnode_modules/\n/build/\n**/target/**\n.DS_Store\n*~\n"))
	b.ReportAllocs()
	for b.Loop() {
		if r.Match("src/deep/inside/of/a/tree/file.go", false) {
			b.Fatal("matched")
		}
	}
}
