// Package settings finds the value of every flag: given on the command line,
// else in the environment (SENDONCE_ and the flag's name in upper case), else in
// the config file, else the default; and remembers where each came from.
//
// Invariants: a value that does not parse is an error that names its origin; an
// unknown key in the config file is an error that names the nearest known one.
// It does not promise that a value makes sense: the command that uses it checks.
//
// Read file.go (what a config file may hold), then resolve.go.
package settings
