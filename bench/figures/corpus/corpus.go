// Package corpus makes the data that figures are measured on: random files, trees
// of many small files, copies of trees. The same arguments give the same bytes on
// every machine, so that figures can be compared.
//
// It does not promise realism: random bytes do not compress at all, and the small
// files are text of a few hundred words that compress about as sources do.
package corpus

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Random makes a file of size bytes that do not compress.
func Random(path string, size int64, seed uint64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return write(f, size, seed)
}

// AppendRandom adds size random bytes to a file.
func AppendRandom(path string, size int64, seed uint64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return write(f, size, seed)
}

func write(f *os.File, size int64, seed uint64) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(Source(seed), size), make([]byte, 1<<20))
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// Source returns endless random bytes.
func Source(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// Small makes n files of text of about total bytes in all, perDir in a directory.
// Sizes vary from a few bytes to several times the mean, as in trees of sources.
func Small(dir string, n, perDir int, total int64, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	words := vocabulary(rng)
	mean := float64(total) / float64(n)
	var text []byte
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("d%04d", i/perDir))
		if i%perDir == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		size := int(rng.ExpFloat64()*mean) + 1
		text = text[:0]
		for len(text) < size {
			// A few words are frequent, most are rare.
			text = append(text, words[int(float64(len(words))*rng.Float64()*rng.Float64())]...)
			if rng.IntN(9) == 0 {
				text = append(text, '\n')
			} else {
				text = append(text, ' ')
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%06d.txt", i)), text[:size], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func vocabulary(rng *rand.Rand) []string {
	words := make([]string, 4096)
	for i := range words {
		b := make([]byte, 2+rng.IntN(9))
		for j := range b {
			b[j] = byte('a' + rng.IntN(26))
		}
		words[i] = string(b)
	}
	return words
}

// CopyTree copies directories, regular files and symlinks, with their modes.
func CopyTree(dst, src string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case d.Type().IsRegular():
			return copyFile(to, path)
		}
		return nil
	})
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// InsertLine puts a line into the middle of a text file.
func InsertLine(path, line string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	at := len(b) / 2
	for at < len(b) && (at == 0 || b[at-1] != '\n') {
		at++
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	w.Write(b[:at])
	w.WriteString(line + "\n")
	w.Write(b[at:])
	err = w.Flush() // the first error of all writes
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// Age is how old a file must be before its first scan, so that nobody has to
// look at it again: sendonce distrusts times within 2 s, git and rsync likewise.
const Age = 3 * time.Second
