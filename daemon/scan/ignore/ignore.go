// Package ignore decides what a scan leaves out, by files in gitignore syntax
// (git's documentation, "gitignore", PATTERN FORMAT). A wrong answer here uploads
// what the user wanted kept at home, or leaves out what they wanted kept safe,
// so the package is tested against git itself.
//
// Invariants: Rules never change once made, so a parallel walk may share them. An
// ignored directory is not to be descended: like git, nothing below it can be
// included again. What it does not promise: git's other sources (.git/info/exclude,
// core.excludesFile), and case folding.
//
// Read ignore.go (rules), then glob.go (one pattern against one name).
package ignore

import (
	"bytes"
	"strings"
)

// Rules are the patterns that apply in one directory: its own file's and those
// it inherited. Those of New ignore nothing.
type Rules struct {
	outer    *Rules
	base     string // directory of the file with a slash behind it, "" for the root
	patterns []pattern
}

// pattern is one line of an ignore file.
type pattern struct {
	glob    string // without '!', leading and trailing '/'
	literal int    // bytes of glob before the first special character
	suffix  bool   // glob is an asterisk and then nothing special: "*.o"
	negate  bool
	dirOnly bool
	rooted  bool // matched against the whole path below base, not the name alone
}

// New returns rules that ignore nothing.
func New() *Rules { return &Rules{} }

// Push returns the rules of a directory that has an ignore file: the file's
// lines, which win, and r's. dir is the directory's path from the root, "" for the
// root itself.
func (r *Rules) Push(dir string, file []byte) *Rules {
	file = bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))
	n := &Rules{outer: r, base: dir}
	if r.Empty() {
		n.outer = nil
	}
	if dir != "" {
		n.base += "/"
	}
	for line := range bytes.Lines(file) {
		if p, ok := parse(string(line)); ok {
			n.patterns = append(n.patterns, p)
		}
	}
	return n
}

const special = `*?[\`

func parse(line string) (p pattern, ok bool) {
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if i := strings.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	if line == "" || line[0] == '#' {
		return p, false
	}
	line = trimSpaces(line)
	line, p.negate = strings.CutPrefix(line, "!")
	line, p.dirOnly = strings.CutSuffix(line, "/")
	p.rooted = strings.Contains(line, "/")
	if p.rooted {
		line = strings.TrimPrefix(line, "/")
	}
	p.glob = line
	if p.literal = strings.IndexAny(line, special); p.literal < 0 {
		p.literal = len(line)
	}
	p.suffix = p.literal == 0 && line != "" && line[0] == '*' && !p.rooted && !strings.ContainsAny(line[1:], special)
	return p, true
}

// trimSpaces removes trailing spaces that no backslash protects.
func trimSpaces(s string) string {
	end := 0 // of what stays
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			continue
		case '\\':
			if i++; i == len(s) {
				return s
			}
		}
		end = i + 1
	}
	return s[:end]
}

// Empty reports whether the rules ignore nothing at all.
func (r *Rules) Empty() bool { return r.outer == nil && len(r.patterns) == 0 }

// Match reports whether the rules ignore an entry. path is from the root; none of
// its directories may be ignored itself. The last matching line of the innermost
// file that has one decides.
func (r *Rules) Match(path string, dir bool) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for ; r != nil; r = r.outer {
		below, ok := strings.CutPrefix(path, r.base)
		if !ok {
			continue
		}
		for i := len(r.patterns) - 1; i >= 0; i-- {
			p := &r.patterns[i]
			if p.dirOnly && !dir {
				continue
			}
			text := name
			if p.rooted {
				text = below
			}
			if p.match(text) {
				return !p.negate
			}
		}
	}
	return false
}

// match compares with a name, or with a path where the pattern is rooted. The
// commonest forms need no glob. A "**" right after a literal beginning counts as if
// it stood at the beginning, as it does for git.
func (p *pattern) match(text string) bool {
	if p.suffix {
		return strings.HasSuffix(text, p.glob[1:])
	}
	if len(text) < p.literal || text[:p.literal] != p.glob[:p.literal] {
		return false
	}
	if p.literal == len(p.glob) {
		return len(text) == p.literal
	}
	return glob(p.glob[p.literal:], text[p.literal:])
}
