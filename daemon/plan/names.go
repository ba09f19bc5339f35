package plan

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"sendonce"
)

// CheckName returns why a folder with the given rule cannot hold a name, or "".
// The server checks by the same rules; here they only make the refusal known
// before anything is sent.
func CheckName(name string, rule sendonce.NameRule) string {
	if err := sendonce.CheckName(name); err != nil {
		return err.Error()
	}
	if rule == sendonce.NamesExact {
		return ""
	}
	return portable(name)
}

// portable refuses what NTFS, APFS, HFS+ or a case-folding ext4 would refuse or
// change (Microsoft, "Naming Files, Paths, and Namespaces"; Unicode 3.11).
func portable(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "the name is not UTF-8, and the folder takes portable names only"
	case !norm.NFC.IsNormalString(name):
		return "the name is not in Unicode normal form C, and the folder takes portable names only"
	case strings.HasSuffix(name, "."), strings.HasSuffix(name, " "):
		return "the name ends in a dot or a space, which Windows forbids"
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return "the name holds a control character, which Windows forbids"
		}
		if strings.ContainsRune(`\:*?"<>|`, r) {
			return "the name holds " + string(r) + ", which Windows forbids"
		}
	}
	if device(name) {
		return "the name is that of a Windows device"
	}
	return ""
}

// FoldName returns what two names of one directory may not share in a folder
// with the rule: the name itself, or its canonical caseless form (Unicode 3.13,
// D145).
func FoldName(name string, rule sendonce.NameRule) string {
	if rule == sendonce.NamesExact {
		return name
	}
	return norm.NFD.String(cases.Fold().String(norm.NFD.String(name)))
}

// device reports whether the name up to its first dot is a device of Windows;
// its superscript digits count as digits there.
func device(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if n, ok := strings.CutPrefix(stem, port); ok && utf8.RuneCountInString(n) == 1 {
			return strings.Contains("123456789¹²³", n)
		}
	}
	return false
}
