package ignore

import "strings"

// glob reports whether the pattern matches all of the text. '*', '?' and
// brackets never match '/'; "**" does where it stands alone between slashes.
//
// A '*' need only be retried until a later one in the same name is reached, and a
// "**/" until a later "**/" is: what comes first then matches as little as it can,
// which leaves the most to what follows. So two places to go back to are enough,
// and a hostile pattern costs at most the product of the lengths and no memory.
func glob(p, t string) bool {
	i, j := 0, 0
	star, names := retry{at: -1}, retry{at: -1}
	for {
		if i < len(p) && p[i] == '*' {
			end := i + 1
			for end < len(p) && p[end] == '*' {
				end++
			}
			rest := p[end:]
			if end-i > 1 && (i == 0 || p[i-1] == '/') && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, `\/`)) {
				if rest == "" {
					return true
				}
				star.at, names = -1, retry{at: end, from: j}
				if rest[0] == '/' { // "**/" may match nothing at all
					i = end + 1
				} else {
					i, names.from = end, j+1
				}
				continue
			}
			if rest == "" {
				if !strings.Contains(t[j:], "/") {
					return true
				}
				i = end // fails below, and is retried
			} else {
				star = retry{at: end, from: j}
				i = end
			}
		}
		if i == len(p) && j == len(t) {
			return true
		}
		if next, ok := one(p, i, t, j); ok {
			i, j = next, j+1
			continue
		}
		switch {
		case star.at >= 0 && star.from < len(t) && t[star.from] != '/':
			star.from++
			i, j = star.at, star.from
		case names.at >= 0 && names.from <= len(t):
			star.at = -1
			i, j = names.at, names.from
			names.from++
		default:
			return false
		}
	}
}

// retry is a place in the pattern, after asterisks, and where in the text what
// follows them may begin next; at is -1 if there is none.
type retry struct{ at, from int }

// one matches what stands at p[i], no asterisk, against t[j], and returns where
// the pattern goes on.
func one(p string, i int, t string, j int) (next int, ok bool) {
	if i == len(p) || j == len(t) {
		return 0, false
	}
	c := t[j]
	switch p[i] {
	case '?':
		return i + 1, c != '/'
	case '[':
		return bracket(p, i, c)
	case '\\':
		i++
		return i + 1, i < len(p) && c == p[i]
	}
	return i + 1, c == p[i]
}

// bracket matches the set at p[i] against c and returns where the pattern goes
// on. A set that is not closed, or names an unknown class, never matches.
func bracket(p string, i int, c byte) (next int, ok bool) {
	i++
	negate := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negate {
		i++
	}
	hit := false
	var low byte // of a range that may begin with the last character; 0: none
	for first := true; ; first = false {
		if i >= len(p) {
			return 0, false
		}
		ch := p[i]
		switch {
		case ch == ']' && !first:
			if hit == negate || c == '/' {
				return 0, false
			}
			return i + 1, true
		case ch == '-' && low != 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return 0, false
			}
			hit = hit || low <= c && c <= p[i]
			low = 0
			i++
			continue
		case ch == '[' && i+1 < len(p) && p[i+1] == ':':
			end := strings.IndexByte(p[i+2:], ']')
			if end < 0 {
				return 0, false
			}
			name := p[i+2 : i+2+end]
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
			if i >= len(p) {
				return 0, false
			}
			ch = p[i]
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
		return c == ' ' || c == '\t' || c == '\n' || c == '\r', true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F', true
	}
	return false, false
}
