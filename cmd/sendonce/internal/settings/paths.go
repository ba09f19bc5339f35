package settings

import (
	"path/filepath"
)

// Paths are the places that are used where nothing else is said.
type Paths struct {
	Config string // the config file
	State  string // the client's state directory
	Socket string // the daemon's socket
	// OtherSocket is where a daemon of the same state directory listens when it
	// was started without XDG_RUNTIME_DIR (a system unit, cron); or "".
	OtherSocket string
}

// SocketName is the daemon's socket inside a state directory.
const SocketName = "daemon.sock"

// DefaultPaths returns the places for a user (the XDG base directories), or for
// the system when root asks.
func DefaultPaths(env Env, root bool) Paths {
	if root {
		return Paths{Config: "/etc/sendonce/config.toml", State: "/var/lib/sendonce",
			Socket: "/run/sendonce/sendonce.sock", OtherSocket: "/var/lib/sendonce/" + SocketName}
	}
	home := env.Get("HOME")
	p := Paths{
		Config: filepath.Join(xdg(env, "XDG_CONFIG_HOME", filepath.Join(home, ".config")), "sendonce", "config.toml"),
		State:  filepath.Join(xdg(env, "XDG_STATE_HOME", filepath.Join(home, ".local", "state")), "sendonce"),
	}
	p.Socket = filepath.Join(p.State, SocketName)
	if dir := xdg(env, "XDG_RUNTIME_DIR", ""); dir != "" {
		p.Socket, p.OtherSocket = filepath.Join(dir, "sendonce.sock"), p.Socket
	}
	return p
}

// xdg returns a base directory; the specification says to ignore relative ones.
func xdg(env Env, name, otherwise string) string {
	if dir := env.Get(name); filepath.IsAbs(dir) {
		return dir
	}
	return otherwise
}

// Sockets returns where the daemon of a state directory listens (the first) and
// where one may be found (all). An explicit socket is the only one. A state
// directory other than the default has its socket inside, so that two devices on
// one machine do not meet.
func (p Paths) Sockets(state, explicit string) []string {
	switch {
	case explicit != "":
		return []string{explicit}
	case filepath.Clean(state) != filepath.Clean(p.State):
		return []string{filepath.Join(state, SocketName)}
	case p.OtherSocket != "":
		return []string{p.Socket, p.OtherSocket}
	}
	return []string{p.Socket}
}
