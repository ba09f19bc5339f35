package twonet

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	table := `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:      10       1    0    0    0     0          0         0       10       1    0    0    0     0       0          0
  so-c: 7000000    5000    0    0    0     0          0         0     9000      80    0    0    0     0       0          0
`
	c, err := parse(table, "so-c")
	if want := (Counters{TxBytes: 9000, TxPackets: 80, RxBytes: 7000000, RxPackets: 5000}); err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	if d := c.Sub(Counters{TxBytes: 1, TxPackets: 2, RxBytes: 3, RxPackets: 4}); d != (Counters{8999, 78, 6999997, 4996}) {
		t.Errorf("difference %+v", d)
	}
	for _, bad := range []string{"", "so-c: 1 2 3", "so-c: x 0 0 0 0 0 0 0 0 0"} {
		if _, err := parse(bad, "so-c"); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func points(perInterval ...int64) []Point {
	at, tx := time.Unix(0, 0), int64(0)
	out := []Point{{at, tx}}
	for _, n := range perInterval {
		at, tx = at.Add(50*time.Millisecond), tx+n
		out = append(out, Point{at, tx})
	}
	return out
}

func TestFind(t *testing.T) {
	const rate = 1000.0 / 0.05 // 1,000 bytes an interval
	b := Find(points(0, 20, 700, 1000, 1000, 0, 100, 1000, 400, 10, 0), rate)
	if b.Bytes != 4200 || b.Samples != 5 || b.Slow != 2 || b.Longest != 100*time.Millisecond || b.Span != 250*time.Millisecond {
		t.Errorf("%+v", b)
	}
	if want := 3.1 / 5; b.Fraction < want-1e-9 || b.Fraction > want+1e-9 {
		t.Errorf("busy %v, want %v", b.Fraction, want)
	}
	if b := Find(points(1000, 1200, 1000), rate); b.Fraction != 1 {
		t.Errorf("a burst counted for %v", b.Fraction)
	}
	if b := Find(points(0, 0), rate); b != (Burst{}) {
		t.Errorf("nothing was sent: %+v", b)
	}
	if b := Find(nil, rate); b != (Burst{}) {
		t.Errorf("no points: %+v", b)
	}
}
