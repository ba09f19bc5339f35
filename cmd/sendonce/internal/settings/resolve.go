package settings

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"sendonce"
)

// Prefix begins the name of every environment variable that is read.
const Prefix = "SENDONCE_"

// EnvName returns the environment variable of a flag: "log-level" is
// SENDONCE_LOG_LEVEL.
func EnvName(flag string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Env finds environment variables. The zero Env has none.
type Env map[string]string

// NewEnv takes a list of "NAME=value", of which the last one of a name wins.
func NewEnv(environ []string) Env {
	e := Env{}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			e[name] = value
		}
	}
	return e
}

// Get returns the value of a variable, "" where it is not set.
func (e Env) Get(name string) string { return e[name] }

// Setting is one flag's value and where it came from.
type Setting struct {
	Key    string `json:"key"` // as in the config file
	Value  string `json:"value"`
	Origin string `json:"origin"` // "flag --x", "environment SENDONCE_X", "file PATH", "default"
}

// Source is where values come from besides the command line.
type Source struct {
	Env  Env
	Path string            // of the config file, for origins
	File map[string]string // from Load
}

// Resolve gives every flag that was not on the command line its value from the
// environment or the file, and returns all of them in order of their names.
// table is the prefix of the keys ("" or "proxy."). Flags without a key in the
// file's vocabulary take part too, with the environment only.
func (s Source) Resolve(flags *pflag.FlagSet, table string) ([]Setting, error) {
	var settings []Setting
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || failed != nil {
			return
		}
		set := Setting{Key: table + f.Name, Origin: "default"}
		if f.Changed {
			set.Origin = "flag --" + f.Name
		} else if v, origin := s.lookup(f.Name, table); origin != "" {
			set.Origin = origin
			if err := flags.Set(f.Name, v); err != nil {
				failed = &sendonce.Error{Op: "read settings", Path: origin, Kind: sendonce.KindUsage,
					Detail: fmt.Sprintf("%q is not a value for --%s (%s)", v, f.Name, f.Value.Type())}
				return
			}
		}
		set.Value = f.Value.String()
		settings = append(settings, set)
	})
	return settings, failed
}

// lookup finds a value below the command line. An empty variable is one that
// was not set: that is how a unit file or a shell clears one.
func (s Source) lookup(flag, table string) (value, origin string) {
	if v := s.Env.Get(EnvName(flag)); v != "" {
		return v, "environment " + EnvName(flag)
	}
	if v, ok := s.File[table+flag]; ok {
		return v, "file " + s.Path
	}
	return "", ""
}
