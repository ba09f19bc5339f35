package twonet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Counters are an interface's own: Ethernet frames, without preamble and
// checksum.
type Counters struct {
	TxBytes, TxPackets int64
	RxBytes, RxPackets int64
}

// Sub returns what was counted since before.
func (c Counters) Sub(before Counters) Counters {
	return Counters{c.TxBytes - before.TxBytes, c.TxPackets - before.TxPackets, c.RxBytes - before.RxBytes, c.RxPackets - before.RxPackets}
}

// PID returns a process that lives in the namespace as long as the Pair.
func (e *End) PID() int { return e.holder.PID() }

// Counters reads the interface's counters.
func (e *End) Counters() (Counters, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", e.holder.PID()))
	if err != nil {
		return Counters{}, err
	}
	return parse(string(b), e.dev)
}

// parse reads the row of an interface in /proc/net/dev: after the name, eight
// figures received (bytes first, packets second), then eight sent.
func parse(table, dev string) (c Counters, err error) {
	for line := range strings.Lines(table) {
		name, figures, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) != dev {
			continue
		}
		f := strings.Fields(figures)
		if len(f) < 10 {
			break
		}
		for i, v := range map[int]*int64{0: &c.RxBytes, 1: &c.RxPackets, 8: &c.TxBytes, 9: &c.TxPackets} {
			if *v, err = strconv.ParseInt(f[i], 10, 64); err != nil {
				return Counters{}, err
			}
		}
		return c, nil
	}
	return Counters{}, fmt.Errorf("no counters of interface %s", dev)
}

// Point is what had been sent at a time.
type Point struct {
	At time.Time
	Tx int64 // bytes
}

// Sample reads the counter of sent bytes at an interval until stop is called,
// which returns the points.
func (e *End) Sample(every time.Duration) (stop func() []Point) {
	end, done := make(chan struct{}), make(chan struct{})
	var points []Point
	go func() {
		defer close(done)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			if c, err := e.Counters(); err == nil {
				points = append(points, Point{time.Now(), c.TxBytes})
			}
			select {
			case <-t.C:
			case <-end:
				return
			}
		}
	}()
	return func() []Point {
		close(end)
		<-done
		return points
	}
}

// Burst is the stretch between the first and the last full sample of a transfer.
type Burst struct {
	Bytes    int64
	Span     time.Duration
	Slow     int // intervals under half the link's rate
	Samples  int
	Longest  time.Duration // the longest run of slow intervals
	Fraction float64       // of the span that the link was sending
}

// Find looks for the data of a transfer over a link of rate bytes a second: from
// the first interval to the last one that carries at least a tenth of the rate.
// Intervals never count for more than the whole of their time.
func Find(points []Point, rate float64) Burst {
	first, last := -1, -1
	part := func(i int) float64 { // of interval i that the link was busy
		dt := points[i].At.Sub(points[i-1].At).Seconds()
		return float64(points[i].Tx-points[i-1].Tx) / (rate * dt)
	}
	for i := 1; i < len(points); i++ {
		if part(i) >= 0.1 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return Burst{}
	}
	b := Burst{Bytes: points[last].Tx - points[first-1].Tx}
	busy, slow := 0.0, time.Duration(0)
	// The outermost intervals are cut somewhere by the data's begin and end.
	for i := first + 1; i < last; i++ {
		dt := points[i].At.Sub(points[i-1].At)
		b.Span += dt
		b.Samples++
		busy += min(1, part(i)) * dt.Seconds()
		if part(i) >= 0.5 {
			slow = 0
			continue
		}
		b.Slow++
		slow += dt
		b.Longest = max(b.Longest, slow)
	}
	if b.Span > 0 {
		b.Fraction = busy / b.Span.Seconds()
	}
	return b
}
