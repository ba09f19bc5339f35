package plan

import (
	"strings"
	"testing"
	"unicode/utf8"

	"sendonce"
)

func TestCheckName(t *testing.T) {
	both := map[string]bool{ // name -> a portable folder takes it
		"a": true, "Makefile": true, "ä.txt": true, "com": true, "COM10": true, "console.log": true, ".profile": true, "日本": true,
		"aux.h": false, "AUX": false, "nul": false, "Com1.txt": false, "lpt9": false, "COM²": false, "con .txt": false, "conin$": false,
		"a.": false, "a ": false, "a:b": false, `a\b`: false, "a*": false, "a?": false, `a"`: false, "a<": false, "a>": false, "a|": false,
		"a\x01": false, "a\x7f": false, "\xff": false, "a\u0308": false,
	}
	for name, portable := range both {
		if why := CheckName(name, sendonce.NamesExact); why != "" {
			t.Errorf("an exact folder refuses %q: %s", name, why)
		}
		if why := CheckName(name, sendonce.NamesPortable); (why == "") != portable {
			t.Errorf("a portable folder says of %q: %q", name, why)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", strings.Repeat("x", 256)} {
		if CheckName(name, sendonce.NamesExact) == "" {
			t.Errorf("an exact folder takes %q", name)
		}
	}
}

func TestFoldName(t *testing.T) {
	for _, p := range [][2]string{{"a", "A"}, {"\u00e4", "A\u0308"}, {"straße", "STRASSE"}, {"Σ", "ς"}} {
		if FoldName(p[0], sendonce.NamesPortable) != FoldName(p[1], sendonce.NamesPortable) {
			t.Errorf("%q and %q do not clash", p[0], p[1])
		}
		if FoldName(p[0], sendonce.NamesExact) == FoldName(p[1], sendonce.NamesExact) {
			t.Errorf("%q and %q clash in an exact folder", p[0], p[1])
		}
	}
	if FoldName("i", sendonce.NamesPortable) == FoldName("ı", sendonce.NamesPortable) {
		t.Error("dotless i clashes with i")
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "AUX.h", "ÄÖ", "İ", "ẞ", "\xff\xfe", "a\u0345", "com¹"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckName(s, sendonce.NamesPortable) == "" {
			if CheckName(s, sendonce.NamesExact) != "" || !utf8.ValidString(s) {
				t.Errorf("%q is portable but not a name", s)
			}
			folded := FoldName(s, sendonce.NamesPortable)
			if FoldName(folded, sendonce.NamesPortable) != folded {
				t.Errorf("folding %q twice differs", s)
			}
		}
	})
}
