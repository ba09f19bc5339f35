package main

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sendonce/cmd/sendonce/internal/human"
)

// place is a FOLDER[:PATH] argument and the point in its history.
type place struct {
	folder, path string
	seq          uint64
	at           time.Time
}

// parsePlace reads FOLDER[:PATH] and --at. The path is cleaned: no leading or
// trailing slash, "" for the whole folder; it never leaves the folder.
func parsePlace(arg, at string, now time.Time) (place, error) {
	folder, p, _ := strings.Cut(arg, ":")
	if folder == "" {
		return place{}, usageError(fmt.Sprintf("%q names no folder", arg), "write FOLDER or FOLDER:PATH, such as docs:letters/2026")
	}
	clean := strings.TrimPrefix(path.Clean("/"+p), "/")
	if strings.ContainsRune(p, 0) {
		return place{}, usageError("the path holds a NUL byte", "")
	}
	seq, t, err := human.ParsePoint(at, now)
	return place{folder: folder, path: clean, seq: seq, at: t}, err
}

// printable returns s as it is if a terminal can show it on one line, else
// quoted: a file's name must not move the cursor.
func printable(s string) string {
	if !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
