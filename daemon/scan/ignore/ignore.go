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
// it inherited. The zero of New ignores nothing.
type Rules struct {
	outer    *Rules
	base     string // directory of the file, "" for the root
	patterns []pattern
}

// pattern is one line of an ignore file.
type pattern struct {
	glob    string // without '!', leading and trailing '/'
	literal int    // bytes of glob before the first special character
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
	for line := range bytes.Lines(file) {
		if p, ok := parse(string(line)); ok {
			n.patterns = append(n.patterns, p)
		}
	}
	return n
}

func parse(line string) (p pattern, ok bool) {
	if s, cut := strings.CutSuffix(line, "\n"); cut {
		line = strings.TrimSuffix(s, "\r")
	}
	if i := strings.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	if line == "" || line[0] == '#' {
		return p, false
	}
	line = trimSpaces(line)
	line, p.negate = cutPrefix(line, "!")
	line, p.dirOnly = cutSuffix(line, "/")
	p.rooted = strings.Contains(line, "/")
	if p.rooted {
		line = strings.TrimPrefix(line, "/")
	}
	p.glob = line
	if p.literal = strings.IndexAny(line, `*?[\`); p.literal < 0 {
		p.literal = len(line)
	}
	return p, true
}

func cutPrefix(s, prefix string) (string, bool) { return strings.CutPrefix(s, prefix) }

func cutSuffix(s, suffix string) (string, bool) { return strings.CutSuffix(s, suffix) }

// trimSpaces removes trailing spaces that no backslash protects.
func trimSpaces(s string) string {
	end := len(s) // of what stays
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
	if strings.Trim(s, " ") == "" {
		return ""
	}
	return s[:end]
}

// Match reports whether the rules ignore an entry. path is from the root; none of
// its directories may be ignored itself. The last matching line of the innermost
// file that has one decides.
func (r *Rules) Match(path string, dir bool) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for ; r != nil; r = r.outer {
		below := path
		if r.base != "" {
			var ok bool
			if below, ok = strings.CutPrefix(path, r.base+"/"); !ok {
				continue
			}
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

// match compares the literal beginning first; a "**" right after it counts as
// if it stood at the beginning, as it does for git.
func (p *pattern) match(text string) bool {
	if len(text) < p.literal || text[:p.literal] != p.glob[:p.literal] {
		return false
	}
	return glob(p.glob[p.literal:], text[p.literal:])
}
