package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"sendonce/protocol"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = ""

// versionInfo is what `version --json` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Protocol int    `json:"protocol"`
}

func thisVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Protocol: protocol.Version}
	info, ok := debug.ReadBuildInfo()
	if ok && v.Version == "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "devel"
	}
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}

type versionOptions struct{ json bool }

func versionCommand(a *app) *cobra.Command {
	var o versionOptions
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := thisVersion()
			if o.json {
				return a.printJSON(v)
			}
			_, err := fmt.Fprintf(a.stdout, "sendonce %s (protocol %d, %s, %s)\n", v.Version, v.Protocol, v.Go, v.Platform)
			return err
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print a JSON object")
	return c
}
