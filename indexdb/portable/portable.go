// Package portable is the name rule of portable folders: which names every
// platform can hold, and which two names some platform would take for one.
//
// Invariants: Check and Fold are pure functions of the name. It does not
// promise to follow any one filesystem exactly: it refuses what any of the
// common ones (NTFS, APFS, HFS+, ext4 with casefold) would refuse or merge.
package portable

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Check returns why a name is refused, or "". The name has passed
// sendonce.CheckName.
func Check(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case !norm.NFC.IsNormalString(name):
		return "it is not in Unicode normal form C"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return "it ends in a dot or a space"
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`<>:"\|?*`, r) {
			return "it holds a character that Windows forbids"
		}
	}
	if reserved(name) {
		return "it is the name of a Windows device"
	}
	return ""
}

// Fold returns the slot of a name: two names with equal folds may not be in one
// directory. It is the canonical caseless form (Unicode 3.13, D145).
func Fold(name string) string {
	return norm.NFD.String(cases.Fold().String(norm.NFD.String(name)))
}

// reserved reports whether the name, up to its first dot, is a DOS device.
func reserved(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(stem, "COM")
	if !ok {
		port, ok = strings.CutPrefix(stem, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.Contains("123456789¹²³", port)
}
