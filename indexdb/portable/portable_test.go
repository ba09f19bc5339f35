package portable

import (
	"testing"
	"unicode/utf8"
)

func TestCheck(t *testing.T) {
	for _, name := range []string{"a", "Makefile", "ä.txt", "com", "COM10", "console", ".profile", "a b", "nulls.c", "日本"} {
		if why := Check(name); why != "" {
			t.Errorf("%q refused: %s", name, why)
		}
	}
	for _, name := range []string{"aux.h", "AUX", "nul", "Com1.txt", "lpt9", "COM²", "con .txt", "a.", "a ", "a:b", `a\b`, "a\x01", "a\x7f", "\xff", "a\u0308"} {
		if Check(name) == "" {
			t.Errorf("%q accepted", name)
		}
	}
}

func TestFold(t *testing.T) {
	for _, p := range [][2]string{{"a", "A"}, {"\u00e4", "A\u0308"}, {"straße", "STRASSE"}, {"Σ", "ς"}} {
		if Fold(p[0]) != Fold(p[1]) {
			t.Errorf("%q and %q do not clash", p[0], p[1])
		}
	}
	for _, p := range [][2]string{{"a", "b"}, {"a", "ä"}, {"i", "ı"}} {
		if Fold(p[0]) == Fold(p[1]) {
			t.Errorf("%q and %q clash", p[0], p[1])
		}
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "a", "ÄÖ", "İ", "ẞ", "\xff\xfe", "a\u0345"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 255 {
			return // no name is longer
		}
		Check(s)
		if utf8.ValidString(s) && Fold(Fold(s)) != Fold(s) {
			t.Errorf("folding %q twice differs", s)
		}
	})
}
