package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"sendonce"
)

func flagSet() *pflag.FlagSet {
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.String("listen", ":7411", "")
	f.String("log-level", "", "")
	f.Int("workers", 0, "")
	f.Bool("dry-run", false, "")
	return f
}

func TestResolvePrecedence(t *testing.T) {
	source := Source{
		Env:  NewEnv([]string{"SENDONCE_LOG_LEVEL=debug", "SENDONCE_LISTEN=env:1", "SENDONCE_DRY_RUN=", "SENDONCE_WORKERS=3"}),
		Path: "/etc/c.toml",
		File: map[string]string{"proxy.listen": "file:1", "proxy.workers": "2", "proxy.dry-run": "true"},
	}
	f := flagSet()
	if err := f.Parse([]string{"--listen", "flag:1"}); err != nil {
		t.Fatal(err)
	}
	all, err := source.Resolve(f, "proxy.")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Setting{
		"proxy.listen":    {"proxy.listen", "flag:1", "flag --listen"},
		"proxy.log-level": {"proxy.log-level", "debug", "environment SENDONCE_LOG_LEVEL"},
		"proxy.workers":   {"proxy.workers", "3", "environment SENDONCE_WORKERS"},
		"proxy.dry-run":   {"proxy.dry-run", "true", "file /etc/c.toml"}, // an empty variable is none
	}
	if len(all) != len(want) {
		t.Fatalf("got %d settings, want %d", len(all), len(want))
	}
	for _, s := range all {
		if s != want[s.Key] {
			t.Errorf("%s: got %+v, want %+v", s.Key, s, want[s.Key])
		}
	}
	if v, _ := f.GetInt("workers"); v != 3 {
		t.Errorf("the flag was not set: %d", v)
	}
}

func TestResolveNamesTheOriginOfABadValue(t *testing.T) {
	for origin, source := range map[string]Source{
		"environment SENDONCE_WORKERS": {Env: NewEnv([]string{"SENDONCE_WORKERS=many"})},
		"file /x.toml":                 {Path: "/x.toml", File: map[string]string{"workers": "many"}},
	} {
		_, err := source.Resolve(flagSet(), "")
		if sendonce.KindOf(err) != sendonce.KindUsage || !strings.Contains(err.Error(), origin) {
			t.Errorf("%s: got %v", origin, err)
		}
	}
}

func TestParseReadsEveryKey(t *testing.T) {
	doc := `state = "/s"
socket = "/sock"
quiet = true
verbose = false
log-level = "debug"
log-format = "json"
no-progress = true
level = "better"
[proxy]
data = "/d"
listen = ":1"
advertise = "h:1"
index = "pebble:/i"
store = "pebble:/s"
http = ":2"
key = "/k"
[daemon]
connections = 2
workers = 3
settle = "1s"
rescan = "1h"
`
	values, err := Parse("c", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		if _, ok := values[k]; !ok {
			t.Errorf("%s was not read", k)
		}
	}
	if len(values) != len(Keys()) {
		t.Errorf("%d values for %d keys", len(values), len(Keys()))
	}
	if values["verbose"] != "false" || values["daemon.connections"] != "2" {
		t.Errorf("got %v", values)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ doc, want, hint string }{
		{"lisen = 1", `c.toml:1: unknown key "lisen"`, `did you mean "proxy.listen"`},
		{"[proxy]\n\nlistem = \":1\"", `c.toml:3: unknown key "proxy.listem"`, `did you mean "proxy.listen"`},
		{"log_level = \"info\"", `unknown key "log_level"`, `did you mean "log-level"`},
		{"[nothing-like-it-at-all]\nx = 1", "unknown key", "the keys are listed by sendonce config show"},
		{"state = 1", "c.toml:1", ""},
		{"state = ", "c.toml:1", ""},
	} {
		_, err := Parse("c.toml", []byte(c.doc))
		if sendonce.KindOf(err) != sendonce.KindUsage {
			t.Errorf("%q: got %v", c.doc, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || sendonce.HintOf(err) != c.hint {
			t.Errorf("%q: got %q, hint %q", c.doc, err, sendonce.HintOf(err))
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if v, err := Load(path, false); err != nil || len(v) != 0 {
		t.Errorf("a missing default file: %v, %v", v, err)
	}
	if _, err := Load(path, true); sendonce.KindOf(err) != sendonce.KindUsage {
		t.Errorf("a missing named file: %v", err)
	}
	if err := os.WriteFile(path, []byte("level = \"better\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := Load(path, true); err != nil || v["level"] != "better" {
		t.Errorf("got %v, %v", v, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("state = \"x\"\n[proxy]\nlisten=\":1\""))
	f.Add([]byte("[daemon]\nsettle = 1"))
	f.Add([]byte("[[proxy]]\na.b.c = {x=1}"))
	known := map[string]bool{}
	for _, k := range Keys() {
		known[k] = true
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := Parse("c", b)
		if err != nil && sendonce.KindOf(err) != sendonce.KindUsage {
			t.Errorf("kind %v: %v", sendonce.KindOf(err), err)
		}
		for k := range values {
			if !known[k] {
				t.Errorf("%q is no key", k)
			}
		}
	})
}

func TestDefaultPaths(t *testing.T) {
	env := NewEnv([]string{"HOME=/home/u", "XDG_STATE_HOME=relative/is/ignored"})
	p := DefaultPaths(env, false)
	if p.Config != "/home/u/.config/sendonce/config.toml" || p.State != "/home/u/.local/state/sendonce" || p.Socket != p.State+"/daemon.sock" {
		t.Errorf("got %+v", p)
	}
	env = NewEnv([]string{"HOME=/home/u", "XDG_CONFIG_HOME=/c", "XDG_STATE_HOME=/s", "XDG_RUNTIME_DIR=/run/user/1"})
	p = DefaultPaths(env, false)
	if p.Config != "/c/sendonce/config.toml" || p.State != "/s/sendonce" || p.Socket != "/run/user/1/sendonce.sock" {
		t.Errorf("got %+v", p)
	}
	if p := DefaultPaths(env, true); p.Config != "/etc/sendonce/config.toml" || p.State != "/var/lib/sendonce" || p.Socket != "/run/sendonce/sendonce.sock" {
		t.Errorf("root: got %+v", p)
	}
}

func TestSockets(t *testing.T) {
	p := Paths{State: "/s", Socket: "/run/x.sock", OtherSocket: "/s/daemon.sock"}
	for _, c := range []struct{ state, explicit, want string }{
		{"/s", "", "/run/x.sock /s/daemon.sock"},
		{"/s/", "", "/run/x.sock /s/daemon.sock"},
		{"/other", "", "/other/daemon.sock"},
		{"/s", "/e.sock", "/e.sock"},
	} {
		if got := strings.Join(p.Sockets(c.state, c.explicit), " "); got != c.want {
			t.Errorf("%q, %q: got %s", c.state, c.explicit, got)
		}
	}
}
