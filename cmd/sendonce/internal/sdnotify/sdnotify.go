// Package sdnotify tells systemd how a service is doing: one datagram to
// $NOTIFY_SOCKET for each message (sd_notify(3)).
//
// Without a NOTIFY_SOCKET every call does nothing. What it does not promise: that
// systemd read the message; a failed send is reported to nobody, because there is
// nothing a service could do about it.
package sdnotify

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
)

// Notifier sends messages. The zero Notifier sends none.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// New takes the environment that systemd set.
func New(getenv func(string) string) Notifier {
	n := Notifier{socket: getenv("NOTIFY_SOCKET")}
	if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n
}

// Ready tells that the service has started.
func (n Notifier) Ready() { n.send("READY=1") }

// Stopping tells that the service is draining.
func (n Notifier) Stopping() { n.send("STOPPING=1") }

// Status sets the line that systemctl status shows.
func (n Notifier) Status(text string) {
	n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watch says every half of WatchdogSec that the service is alive, for as long as
// alive returns nil, until ctx ends. It returns at once without a watchdog.
func (n Notifier) Watch(ctx context.Context, alive func(context.Context) error) {
	if n.watchdog == 0 || n.socket == "" {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if alive(ctx) == nil {
				n.send("WATCHDOG=1")
			}
		}
	}
}

func (n Notifier) send(message string) {
	if n.socket == "" {
		return
	}
	// A leading '@' means the abstract namespace, which package net knows too.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(message))
}
