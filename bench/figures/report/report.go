// Package report collects figures, holds them against their bars, and writes them
// for people (a line as soon as it is known, a Markdown table) and programs (JSON).
// A figure keeps all its runs; what counts is the median. It never rounds before
// it compares, and it does not decide what a bar should be.
package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"

	"sendonce/bench/figures/measure"
)

// The verdicts on a figure.
const (
	Pass  = "pass"
	Fail  = "FAIL"
	NoBar = ""
	Left  = "skipped"
)

// Figure is one line of the report.
type Figure struct {
	Row     string         `json:"row"`
	What    string         `json:"what"`
	Result  string         `json:"result"` // for people
	Bar     string         `json:"bar,omitempty"`
	Verdict string         `json:"verdict,omitempty"`
	Value   *float64       `json:"value,omitempty"` // the median, in Unit
	Unit    string         `json:"unit,omitempty"`
	Runs    measure.Series `json:"runs,omitempty"`
}

// Report is what a run found.
type Report struct {
	Date     string            `json:"date"`
	Machine  string            `json:"machine"`
	Programs map[string]string `json:"programs"`
	Runs     int               `json:"runs"`
	Figures  []Figure          `json:"figures"`
}

// Add takes a figure and prints it.
func (r *Report) Add(f Figure) {
	r.Figures = append(r.Figures, f)
	bar := ""
	if f.Bar != "" {
		bar = "  [" + f.Bar + "]"
	}
	fmt.Printf("%-14s %-62s %s%s %s\n", f.Row, f.What, f.Result, bar, f.Verdict)
}

// Skipped says why a row was left out.
func (r *Report) Skipped(row, why string) {
	r.Add(Figure{Row: row, What: "all", Result: why, Verdict: Left})
}

// Info reports a figure without a bar.
func (r *Report) Info(row, what, unit string, s ...float64) {
	r.Add(of(row, what, unit, s))
}

// AtMost reports a figure whose median must not be above bar.
func (r *Report) AtMost(row, what, unit string, bar float64, s ...float64) {
	f := of(row, what, unit, s)
	f.Bar, f.Verdict = "<= "+text(bar, unit), verdict(f.Value != nil && *f.Value <= bar)
	r.Add(f)
}

// AtLeast reports a figure whose median must not be below bar.
func (r *Report) AtLeast(row, what, unit string, bar float64, s ...float64) {
	f := of(row, what, unit, s)
	f.Bar, f.Verdict = ">= "+text(bar, unit), verdict(f.Value != nil && *f.Value >= bar)
	r.Add(f)
}

// Holds reports a fact that must be so.
func (r *Report) Holds(row, what, bar string, ok bool, result string) {
	r.Add(Figure{Row: row, What: what, Result: result, Bar: bar, Verdict: verdict(ok)})
}

func verdict(ok bool) string {
	if ok {
		return Pass
	}
	return Fail
}

func of(row, what, unit string, s measure.Series) Figure {
	if len(s) == 0 {
		return Figure{Row: row, What: what, Unit: unit, Result: "not measured"}
	}
	m := s.Median()
	f := Figure{Row: row, What: what, Unit: unit, Result: text(m, unit), Value: &m}
	if len(s) > 1 {
		f.Runs = s
		f.Result += fmt.Sprintf(" (%s to %s, n=%d)", text(s.Min(), unit), text(s.Max(), unit), len(s))
	}
	return f
}

// text writes a figure for people. Units: "s", "B", "x" (a ratio), "%", "" (a
// count), anything else as it is.
func text(v float64, unit string) string {
	switch unit {
	case "s":
		return fmt.Sprintf("%.3g s", v)
	case "B":
		return Bytes(v)
	case "x":
		return fmt.Sprintf("%.3f", v)
	case "%":
		return fmt.Sprintf("%.1f %%", v)
	case "":
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%s %s", strconv.FormatFloat(v, 'f', places(v), 64), unit)
}

// Bytes writes a number of bytes for people.
func Bytes(v float64) string {
	switch {
	case math.Abs(v) < 10_000:
		return fmt.Sprintf("%.0f B", v)
	case math.Abs(v) < 10e6:
		return fmt.Sprintf("%.1f kB", v/1e3)
	case math.Abs(v) < 10e9:
		return fmt.Sprintf("%.1f MB", v/1e6)
	}
	return fmt.Sprintf("%.1f GB", v/1e9)
}

// Missed returns how many bars were missed.
func (r *Report) Missed() (n int) {
	for _, f := range r.Figures {
		if f.Verdict == Fail {
			n++
		}
	}
	return n
}

// Write writes the files that were asked for.
func (r *Report) Write(jsonFile, mdFile string) error {
	if jsonFile != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(jsonFile, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if mdFile != "" {
		return os.WriteFile(mdFile, []byte(r.Markdown()), 0o644)
	}
	return nil
}

// Markdown returns the report as a table.
func (r *Report) Markdown() string {
	var w strings.Builder
	fmt.Fprintf(&w, "Measured %s on %s. Times are medians of %d runs (least to greatest).\n\n", r.Date, r.Machine, r.Runs)
	var names []string
	for n := range r.Programs {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Fprintf(&w, "- %s: %s\n", n, r.Programs[n])
	}
	w.WriteString("\n| row | figure | result | bar | |\n|---|---|---|---|---|\n")
	cell := func(s string) string { return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s) }
	for _, f := range r.Figures {
		fmt.Fprintf(&w, "| %s | %s | %s | %s | %s |\n", cell(f.Row), cell(f.What), cell(f.Result), cell(f.Bar), f.Verdict)
	}
	return w.String()
}

// places is how many digits after the point make four in all.
func places(v float64) int {
	n := 3
	for v = math.Abs(v); v >= 10 && n > 0; v /= 10 {
		n--
	}
	if v == math.Trunc(v) {
		return 0
	}
	return n
}
