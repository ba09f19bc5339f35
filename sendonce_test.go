package sendonce

import (
	"math"
	"testing"
)

func TestNodeIDStep(t *testing.T) {
	max := NodeID{}.Step(-1)
	for i, b := range max {
		if b != 0xff {
			t.Fatalf("0 - 1: byte %d is %#x", i, b)
		}
	}
	start := NodeID{0: 7, 8: 0xff, 15: 0xfe}
	for _, n := range []int64{0, 1, -1, 255, 1 << 40, math.MaxInt64, math.MinInt64 + 1} {
		if got := start.Step(n).Step(-n); got != start {
			t.Errorf("step %d and back: %v, want %v", n, got, start)
		}
	}
	if got, want := (NodeID{15: 0xff}).Step(1), (NodeID{14: 1}); got != want {
		t.Errorf("carry: %v, want %v", got, want)
	}
	if got, want := (NodeID{7: 1}).Step(-1), (NodeID{8: 255, 9: 255, 10: 255, 11: 255, 12: 255, 13: 255, 14: 255, 15: 255}); got != want {
		t.Errorf("borrow: %v, want %v", got, want)
	}
}
