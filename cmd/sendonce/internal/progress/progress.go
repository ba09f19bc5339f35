// Package progress shows how far a long operation is: a bar on a terminal, a
// line every 30 seconds elsewhere, JSON lines for programs.
//
// Invariant: nothing is written after Close has returned, so that the result that
// follows is never mixed with a bar. It does not promise to show every update.
//
// Read progress.go (what is shown when), then bar.go (the terminal).
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"sendonce/cmd/sendonce/internal/human"
	"sendonce/daemon"
)

// Options of a Reporter. A nil writer means that form is not wanted.
type Options struct {
	Terminal io.Writer // a bar that is drawn again and again
	Lines    io.Writer // a plain line every LineEvery
	JSON     io.Writer // {"progress":{...}}, one object a line, every JSONEvery
	Now      func() time.Time
}

// How often the two forms without a terminal say something. Both wait that long
// before they begin: what is done sooner needs no progress.
const (
	LineEvery = 30 * time.Second
	JSONEvery = time.Second
)

// Reporter shows updates. Its methods may be called concurrently.
type Reporter struct {
	o Options

	mu       sync.Mutex
	bar      *bar
	rate     rate
	nextLine time.Time
	nextJSON time.Time
	closed   bool
}

// New starts a reporter.
func New(o Options) *Reporter {
	now := o.Now()
	return &Reporter{o: o, nextLine: now.Add(LineEvery), nextJSON: now.Add(JSONEvery)}
}

// Update takes the latest figures.
func (r *Reporter) Update(p daemon.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	now := r.o.Now()
	r.rate.add(now, p)
	if r.o.Terminal != nil {
		if r.bar == nil {
			r.bar = newBar(r.o.Terminal)
		}
		r.bar.show(p, Line(p, r.rate.perSecond()))
	}
	if r.o.Lines != nil && !now.Before(r.nextLine) {
		r.nextLine = now.Add(LineEvery)
		fmt.Fprintln(r.o.Lines, Line(p, r.rate.perSecond()))
	}
	if r.o.JSON != nil && !now.Before(r.nextJSON) {
		r.nextJSON = now.Add(JSONEvery)
		// A broken pipe shows when the result is written.
		_ = json.NewEncoder(r.o.JSON).Encode(map[string]daemon.Progress{"progress": p})
	}
}

// Close takes the bar away.
func (r *Reporter) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.bar != nil {
		r.bar.close()
		r.bar = nil
	}
}

// Line writes one update for people: what, how much, how fast, how long still.
// rate is in bytes a second; 0 means it is not known.
func Line(p daemon.Progress, rate float64) string {
	parts := []string{strings.TrimPrefix(p.Folder+": ", ": ") + p.Phase}
	switch {
	case p.BytesTotal > 0:
		parts = append(parts, human.Bytes(p.Bytes)+" of "+human.Bytes(p.BytesTotal))
	case p.Bytes > 0:
		parts = append(parts, human.Bytes(p.Bytes))
	}
	if p.FilesTotal > 0 {
		parts = append(parts, human.Count(p.Files)+" of "+human.Plural(p.FilesTotal, "file"))
	} else {
		parts = append(parts, human.Plural(p.Files, "file"))
	}
	if p.WireSent > 0 {
		parts = append(parts, "sent "+human.Bytes(p.WireSent))
	}
	if rate > 0 {
		parts = append(parts, human.Bytes(int64(rate))+"/s")
		if left := p.BytesTotal - p.Bytes; left > 0 && p.BytesTotal > 0 {
			parts = append(parts, time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second).String()+" left")
		}
	}
	return strings.Join(parts, ", ")
}

// rateWindow is how far back the rate looks: long enough to be steady, short
// enough to follow a link that changes.
const rateWindow = 10 * time.Second

// rate measures bytes a second since the older of two marks; a new phase starts
// over.
type rate struct {
	phase              string
	older, newer, last mark
}

type mark struct {
	at    time.Time
	bytes int64
}

func (r *rate) add(now time.Time, p daemon.Progress) {
	m := mark{now, p.Bytes}
	phase := p.Folder + "\x00" + p.Phase
	if phase != r.phase || m.bytes < r.last.bytes {
		*r = rate{phase: phase, older: m, newer: m}
	}
	if m.at.Sub(r.newer.at) >= rateWindow {
		r.older, r.newer = r.newer, m
	}
	r.last = m
}

func (r *rate) perSecond() float64 {
	d := r.last.at.Sub(r.older.at).Seconds()
	if d < 0.5 {
		return 0
	}
	return float64(r.last.bytes-r.older.bytes) / d
}
