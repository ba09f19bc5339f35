package report

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBars(t *testing.T) {
	var r Report
	r.AtMost("row", "median on the bar", "x", 2, 9, 2, 1)
	r.AtMost("row", "above", "x", 2, 2.0001)
	r.AtLeast("row", "median on the bar", "%", 95, 95)
	r.AtLeast("row", "below", "%", 95, 94.99)
	r.AtMost("row", "nothing was measured", "s", 1)
	r.Holds("row", "a fact", "equal", true, "equal")
	r.Holds("row", "no fact", "equal", false, "a | b")
	r.Info("row", "no bar", "B", 12345)
	r.Skipped("other", "needs root")
	want := []string{Pass, Fail, Pass, Fail, Fail, Pass, Fail, NoBar, Left}
	for i, f := range r.Figures {
		if f.Verdict != want[i] {
			t.Errorf("%s: %q, want %q", f.What, f.Verdict, want[i])
		}
	}
	if r.Missed() != 4 {
		t.Errorf("%d bars were missed", r.Missed())
	}
	if f := r.Figures[0]; *f.Value != 2 || f.Result != "2.000 (1.000 to 9.000, n=3)" || f.Bar != "<= 2.000" {
		t.Errorf("%+v", f)
	}
}

func TestWrite(t *testing.T) {
	r := Report{Machine: "a machine", Runs: 3, Programs: map[string]string{"z": "1", "a": "2"}}
	r.Holds("row", "a | b", "equal", false, "two\nlines")
	r.Info("row", "time", "s", 1, 2, 3)
	dir := t.TempDir()
	j, m := filepath.Join(dir, "j"), filepath.Join(dir, "m")
	if err := r.Write(j, m); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(j)
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || len(back.Figures) != 2 || back.Figures[1].Runs.Median() != 2 {
		t.Errorf("%v: %s", err, b)
	}
	b, _ = os.ReadFile(m)
	if s := string(b); !strings.Contains(s, `| row | a \| b | two lines | equal | FAIL |`) || strings.Index(s, "- a: 2") > strings.Index(s, "- z: 1") {
		t.Errorf("%s", s)
	}
	if err := r.Write(filepath.Join(dir, "none", "j"), ""); err == nil {
		t.Error("a file was written into no directory")
	}
	if err := r.Write("", ""); err != nil {
		t.Error(err)
	}
}

func TestNothingMeasuredIsNotAFigure(t *testing.T) {
	var r Report
	r.Info("row", "nothing", "s")
	if f := r.Figures[0]; f.Value != nil || f.Result != "not measured" {
		t.Errorf("%+v", f)
	}
	if _, err := json.Marshal(&r); err != nil {
		t.Error(err) // JSON knows no NaN
	}
}

func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"9999 B": Bytes(9999), "10.0 kB": Bytes(10000), "9999.9 kB": Bytes(9999.9e3), "12.3 MB": Bytes(12.345e6), "12.3 GB": Bytes(12.345e9),
		"1.23 s": text(1.2345, "s"), "1.235": text(1.2346, "x"), "95.0 %": text(95, "%"), "12": text(12, ""), "10500 files": text(10500, "files"), "NaN": text(math.NaN(), "x"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
