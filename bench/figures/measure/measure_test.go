package measure

import (
	"context"
	"errors"
	"math"
	"os"
	"testing"
	"time"
)

func TestSeries(t *testing.T) {
	s := Series{5, 1, 9}
	if s.Median() != 5 || s.Min() != 1 || s.Max() != 9 {
		t.Errorf("median %v, min %v, max %v", s.Median(), s.Min(), s.Max())
	}
	if m := (Series{4, 1, 2, 9}).Median(); m != 3 {
		t.Errorf("median of an even number: %v", m)
	}
	if s[0] != 5 {
		t.Error("the series was sorted in place")
	}
	if !math.IsNaN(Series(nil).Median()) || !math.IsNaN(Series(nil).Min()) || !math.IsNaN(Series(nil).Max()) {
		t.Error("an empty series has figures")
	}
	if r := (Series{6, 8}).Over(Series{3, 2, 1}); len(r) != 2 || r[0] != 2 || r[1] != 4 {
		t.Errorf("ratios %v", r)
	}
}

func TestRun(t *testing.T) {
	var g Group
	defer g.Close()
	u, err := g.Run(t.Context(), Command{Args: []string{"sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"}})
	if err != nil || u.CPU <= 0 || u.Wall <= 0 || u.RSS <= 0 {
		t.Errorf("%+v, %v", u, err)
	}
	_, err = g.Run(t.Context(), Command{Args: []string{"sh", "-c", "echo it is so >&2; exit 7"}})
	if ExitCode(err) != 7 || err.Error() != "sh -c echo it is so >&2; exit 7: exit status 7: it is so" {
		t.Errorf("exit code %d of %v", ExitCode(err), err)
	}
	if _, err := g.Run(t.Context(), Command{Args: []string{"/nonexistent"}}); ExitCode(err) != -1 {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestEnds(t *testing.T) {
	var g Group
	sleep := Command{Args: []string{"sleep", "60"}}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := g.Run(ctx, sleep); err != why {
		t.Errorf("the error is %v", err)
	}
	p, err := g.Start(sleep)
	if err != nil {
		t.Fatal(err)
	}
	p.Stop(time.Minute)
	if p, err = g.Start(sleep); err != nil {
		t.Fatal(err)
	}
	g.Close()
	select {
	case <-p.Done():
	default:
		t.Error("Close left a process running")
	}
}

func TestLive(t *testing.T) {
	pid := os.Getpid()
	before, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	for x, self := 0, SelfCPU(); SelfCPU()-self < 20*time.Millisecond; x++ {
	}
	after, err := CPU(pid)
	if err != nil || after-before < 10*time.Millisecond {
		t.Errorf("%v of CPU were counted: %v", after-before, err)
	}
	if n, err := PeakRSS(pid); err != nil || n < 1<<20 {
		t.Errorf("peak memory %d, %v", n, err)
	}
	if _, err := Datagrams(pid); err != nil {
		t.Error(err)
	}
	if _, err := ChildrenCPU(pid); err != nil {
		t.Error(err)
	}
	const none = 1<<22 + 1 // above every process ID that Linux gives
	if _, err := CPU(none); err == nil {
		t.Error("a process that is not there has CPU time")
	}
	if _, err := PeakRSS(none); err == nil {
		t.Error("a process that is not there has memory")
	}
	if _, err := ChildrenCPU(none); err == nil {
		t.Error("a process that is not there has children")
	}
	if _, err := Quiet(t.Context(), none); err == nil {
		t.Error("a process that is not there becomes quiet")
	}
}
