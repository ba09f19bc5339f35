package scan

import (
	"io"
	"strings"

	"sendonce"
	"sendonce/daemon/scan/ignore"
	"sendonce/internal/fsys"
)

// IgnoreFile is the name of the files that say what to leave out, in gitignore
// syntax. They are synced like any other file.
const IgnoreFile = ".sendonceignore"

// maxIgnoreFile bounds an ignore file, in bytes.
const maxIgnoreFile = 1 << 20

// rulesOf adds a directory's own ignore file to the rules it inherited. One that
// is there and cannot be read is an error: without it, what should stay at home
// would be sent.
func rulesOf(tree fsys.Tree, dir string, outer *ignore.Rules) (*ignore.Rules, error) {
	fail := func(detail string, err error) error {
		return &sendonce.Error{Op: "scan", Path: join(dir, IgnoreFile), Detail: detail, Kind: sendonce.KindOf(err), Err: err,
			Hint: "until it can be read its directory is left as it is"}
	}
	f, err := tree.Open(join(dir, IgnoreFile))
	switch sendonce.KindOf(err) {
	case 0:
	case sendonce.KindNotFound, sendonce.KindInvalid: // none, or no regular file
		return outer, nil
	default:
		return nil, fail("the ignore file cannot be read: "+reason(err), err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err != nil {
		return nil, fail("the ignore file cannot be read: "+reason(err), err)
	}
	if len(data) > maxIgnoreFile {
		return nil, fail("the ignore file is larger than 1 MiB", &sendonce.Error{Kind: sendonce.KindLimit})
	}
	return outer.Push(dir, data), nil
}

// Ignored reports whether a scan leaves out a directory, or one that holds it.
func Ignored(tree fsys.Tree, dir string) (bool, error) {
	rules := ignore.New()
	for at, rest := "", dir; rest != ""; {
		var name string
		var err error
		name, rest, _ = strings.Cut(rest, "/")
		if rules, err = rulesOf(tree, at, rules); err != nil {
			return false, err
		}
		at = join(at, name)
		if rules.Match(at, true) {
			return true, nil
		}
	}
	return false, nil
}
