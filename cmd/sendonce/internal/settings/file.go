package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sendonce"
)

// File is everything that a config file may hold. A key is the flag's name; keys
// of one command stand in a table of the command's name. A nil field was not
// given. Secrets are never values here: a key is a path of a file.
type File struct {
	State      *string `toml:"state"`
	Socket     *string `toml:"socket"`
	Quiet      *bool   `toml:"quiet"`
	Verbose    *bool   `toml:"verbose"`
	LogLevel   *string `toml:"log-level"`
	LogFormat  *string `toml:"log-format"`
	NoProgress *bool   `toml:"no-progress"`
	Level      *string `toml:"level"`

	Proxy struct {
		Data      *string `toml:"data"`
		Listen    *string `toml:"listen"`
		Advertise *string `toml:"advertise"`
		Index     *string `toml:"index"`
		Store     *string `toml:"store"`
		HTTP      *string `toml:"http"`
		Key       *string `toml:"key"`
	} `toml:"proxy"`

	Daemon struct {
		Connections *int    `toml:"connections"`
		Workers     *int    `toml:"workers"`
		Settle      *string `toml:"settle"`
		Rescan      *string `toml:"rescan"`
	} `toml:"daemon"`
}

// Keys lists every key that a config file may hold, sorted: "state",
// "proxy.listen".
func Keys() []string {
	var keys []string
	walk(reflect.ValueOf(File{}), "", func(key string, _ reflect.Value) { keys = append(keys, key) })
	sort.Strings(keys)
	return keys
}

// walk calls fn for every field that is a value; tables are descended into.
func walk(v reflect.Value, prefix string, fn func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		key := prefix + v.Type().Field(i).Tag.Get("toml")
		if v.Field(i).Kind() == reflect.Struct {
			walk(v.Field(i), key+".", fn)
			continue
		}
		fn(key, v.Field(i))
	}
}

// Load reads a config file into a map from key to value. A file that is not
// there gives an empty map, unless it must exist.
func Load(path string, must bool) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, &sendonce.Error{Op: "read config", Kind: sendonce.KindUsage, Err: err,
			Hint: "name another file with --config, or leave it out"}
	}
	return Parse(path, b)
}

// Parse decodes a config file's bytes; path is for its errors.
func Parse(path string, b []byte) (map[string]string, error) {
	var f File
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, parseError(path, err)
	}
	values := map[string]string{}
	walk(reflect.ValueOf(f), "", func(key string, v reflect.Value) {
		if !v.IsNil() {
			values[key] = fmt.Sprint(v.Elem().Interface())
		}
	})
	return values, nil
}

func parseError(path string, err error) error {
	e := &sendonce.Error{Op: "read config", Path: path, Kind: sendonce.KindUsage, Err: err}
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		row, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		e.Path, e.Err = fmt.Sprintf("%s:%d", path, row), nil
		e.Detail = fmt.Sprintf("unknown key %q", key)
		if near := nearest(key, Keys()); near != "" {
			e.Hint = fmt.Sprintf("did you mean %q", near)
		} else {
			e.Hint = "the keys are listed by sendonce config show"
		}
		return e
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, _ := syntax.Position()
		e.Path = fmt.Sprintf("%s:%d", path, row)
	}
	return e
}

// nearest returns the word of the list at the least edit distance, or "" where
// even that one has little in common with s.
func nearest(s string, words []string) string {
	best, least := "", len(s)/2+2
	for _, w := range words {
		// A key in the wrong table is as likely a slip as a misspelt one.
		d := min(distance(s, w), 1+distance(base(s), base(w)))
		if d < least {
			best, least = w, d
		}
	}
	return best
}

func base(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance counts the single-byte insertions, deletions and replacements that
// turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
