package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"

	"sendonce/bench/figures/measure"
)

// The verdicts on a figure.
const (
	verdictPass    = "pass"
	verdictFail    = "FAIL"
	verdictInfo    = "" // it has no bar
	verdictSkipped = "skipped"
)

// figure is one line of the report.
type figure struct {
	Row     string         `json:"row"`
	What    string         `json:"what"`
	Result  string         `json:"result"` // for people
	Bar     string         `json:"bar,omitempty"`
	Verdict string         `json:"verdict,omitempty"`
	Value   *float64       `json:"value,omitempty"` // the median, in Unit
	Unit    string         `json:"unit,omitempty"`
	Runs    measure.Series `json:"runs,omitempty"`
}

// report is what a run found.
type report struct {
	Date     string            `json:"date"`
	Machine  string            `json:"machine"`
	Programs map[string]string `json:"programs"`
	Runs     int               `json:"runs"`
	Figures  []figure          `json:"figures"`
}

func (r *report) add(f figure) {
	r.Figures = append(r.Figures, f)
	bar := ""
	if f.Bar != "" {
		bar = "  [" + f.Bar + "]"
	}
	fmt.Printf("%-14s %-62s %s%s %s\n", f.Row, f.What, f.Result, bar, f.Verdict)
}

func (r *report) skipped(row, why string) {
	r.add(figure{Row: row, What: "all", Result: why, Verdict: verdictSkipped})
}

// info reports a figure without a bar.
func (r *report) info(row, what, unit string, s ...float64) {
	r.add(of(row, what, unit, s))
}

// atMost reports a figure whose median must not be above bar.
func (r *report) atMost(row, what, unit string, bar float64, s ...float64) {
	f := of(row, what, unit, s)
	f.Bar, f.Verdict = "<= "+text(bar, unit), verdict(*f.Value <= bar)
	r.add(f)
}

// atLeast reports a figure whose median must not be below bar.
func (r *report) atLeast(row, what, unit string, bar float64, s ...float64) {
	f := of(row, what, unit, s)
	f.Bar, f.Verdict = ">= "+text(bar, unit), verdict(*f.Value >= bar)
	r.add(f)
}

// holds reports a fact that must be so.
func (r *report) holds(row, what, bar string, ok bool, result string) {
	r.add(figure{Row: row, What: what, Result: result, Bar: bar, Verdict: verdict(ok)})
}

func verdict(ok bool) string {
	if ok {
		return verdictPass
	}
	return verdictFail
}

func of(row, what, unit string, s measure.Series) figure {
	m := s.Median()
	f := figure{Row: row, What: what, Unit: unit, Result: text(m, unit), Value: &m}
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
		return bytesText(v)
	case "x":
		return fmt.Sprintf("%.3f", v)
	case "%":
		return fmt.Sprintf("%.1f %%", v)
	case "":
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}

func bytesText(v float64) string {
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

func (r *report) missed() (n int) {
	for _, f := range r.Figures {
		if f.Verdict == verdictFail {
			n++
		}
	}
	return n
}

// write writes the files that were asked for.
func (r *report) write(jsonFile, mdFile string) error {
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
		return os.WriteFile(mdFile, []byte(r.markdown()), 0o644)
	}
	return nil
}

func (r *report) markdown() string {
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
