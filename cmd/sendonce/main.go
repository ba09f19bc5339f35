// Command sendonce keeps folders in step with a server of one's own and sends
// every piece of data once. One binary holds every role; each subcommand is one
// file here: its options, its flags, and a run function.
//
// Invariants: stdout is data and stderr is messages ("sendonce: error: ...",
// "sendonce: hint: ..."); every way out is an exit code of the table in
// exitcode.go; this package alone picks storage engines and transports. It does
// not promise a stable library: nothing can import it.
//
// Read main.go and root.go, then sync.go as an example of a subcommand, then
// testdata/script, which reads like a manual.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"sendonce"
)

func main() {
	ctx, stop := signalContext()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
	stop()
	os.Exit(code)
}

// run is the whole program with everything it touches as an argument; it
// returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	a := newApp(stdin, stdout, stderr, environ)
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && sendonce.KindOf(err) != sendonce.KindPartial {
		// Whatever failed, it failed because the user wanted to stop.
		err = &sendonce.Error{Kind: sendonce.KindInterrupted, Err: errors.New("interrupted")}
	}
	a.printError(err)
	return exitCode(err)
}

// signalContext returns a context that ends at the first SIGINT or SIGTERM: the
// command then drains. The second one ends the process where it stands, which is
// safe at any moment, as a power cut is.
func signalContext() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(os.Stderr, "sendonce: error: interrupted twice, stopping at once")
		os.Exit(exitInterrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}
