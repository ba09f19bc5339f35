package ignore

import "strings"

// matcher matches one pattern against one text, remembering which pairs of
// positions cannot match so that hostile patterns cost no more than the product
// of the lengths.
type matcher struct {
	p, t string
	dead map[[2]int]bool
}

// glob reports whether the pattern matches all of the text. '*', '?' and
// brackets never match '/'; "**" does where it stands alone between slashes.
func glob(p, t string) bool {
	m := &matcher{p: p, t: t}
	return m.from(0, 0, 0)
}

// from matches p[i:] against t[j:]. begin is where the pattern counts as begun:
// "**" must follow it or a slash.
func (m *matcher) from(i, j, begin int) bool {
	for i < len(m.p) {
		switch c := m.p[i]; c {
		case '*':
			return m.star(i, j, begin)
		case '?':
			if j == len(m.t) || m.t[j] == '/' {
				return false
			}
			i++
		case '[':
			next, ok := m.bracket(i, j)
			if !ok {
				return false
			}
			i = next
		case '\\':
			i++
			if i == len(m.p) || j == len(m.t) || m.t[j] != m.p[i] {
				return false
			}
			i++
		default:
			if j == len(m.t) || m.t[j] != c {
				return false
			}
			i++
		}
		j++
	}
	return j == len(m.t)
}

// star matches the asterisks at p[i].
func (m *matcher) star(i, j, begin int) bool {
	key := [2]int{i, j}
	if m.dead[key] {
		return false
	}
	if m.tryStar(i, j, begin) {
		return true
	}
	if m.dead == nil {
		m.dead = make(map[[2]int]bool)
	}
	m.dead[key] = true
	return false
}

func (m *matcher) tryStar(i, j, begin int) bool {
	end := i
	for end < len(m.p) && m.p[end] == '*' {
		end++
	}
	rest := m.p[end:]
	slashes := end-i > 1 && (i == begin || m.p[i-1] == '/') && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, `\/`))
	if rest == "" {
		return slashes || !strings.Contains(m.t[j:], "/")
	}
	if slashes && rest[0] == '/' && m.from(end+1, j, end+1) { // "**/" matches nothing at all
		return true
	}
	for k := j; ; k++ {
		if m.from(end, k, end) {
			return true
		}
		if k == len(m.t) || m.t[k] == '/' && !slashes {
			return false
		}
	}
}

// bracket matches the set at p[i] against t[j] and returns where the pattern
// goes on. A set that is not closed, or names an unknown class, never matches.
func (m *matcher) bracket(i, j int) (next int, ok bool) {
	if j == len(m.t) {
		return 0, false
	}
	c := m.t[j]
	i++
	negate := i < len(m.p) && (m.p[i] == '!' || m.p[i] == '^')
	if negate {
		i++
	}
	hit := false
	var low byte // of a range that may begin with the last character; 0: none
	for first := true; ; first = false {
		if i >= len(m.p) {
			return 0, false
		}
		ch := m.p[i]
		switch {
		case ch == ']' && !first:
			if hit == negate || c == '/' {
				return 0, false
			}
			return i + 1, true
		case ch == '-' && low != 0 && i+1 < len(m.p) && m.p[i+1] != ']':
			i++
			if m.p[i] == '\\' {
				i++
			}
			if i >= len(m.p) {
				return 0, false
			}
			hit = hit || low <= c && c <= m.p[i]
			low = 0
			i++
			continue
		case ch == '[' && i+1 < len(m.p) && m.p[i+1] == ':':
			end := strings.IndexByte(m.p[i+2:], ']')
			if end < 0 {
				return 0, false
			}
			name := m.p[i+2 : i+2+end]
			if cut, found := strings.CutSuffix(name, ":"); found {
				in, known := class(cut, c)
				if !known {
					return 0, false
				}
				hit = hit || in
				low = 0
				i += 2 + end + 1
				continue
			}
		case ch == '\\':
			i++
			if i >= len(m.p) {
				return 0, false
			}
			ch = m.p[i]
		}
		hit = hit || ch == c
		low = ch
		i++
	}
}

// class reports whether c is in a POSIX class (ASCII only, as for git).
func class(name string, c byte) (in, known bool) {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	graph := 0x21 <= c && c <= 0x7e
	switch name {
	case "alnum":
		return lower || upper || digit, true
	case "alpha":
		return lower || upper, true
	case "blank":
		return c == ' ' || c == '\t', true
	case "cntrl":
		return c < 0x20 || c == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return graph, true
	case "lower":
		return lower, true
	case "print":
		return graph || c == ' ', true
	case "punct":
		return graph && !lower && !upper && !digit, true
	case "space":
		return c == ' ' || 0x09 <= c && c <= 0x0d, true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F', true
	}
	return false, false
}
