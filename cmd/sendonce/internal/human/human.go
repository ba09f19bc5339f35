// Package human writes sizes, counts, durations and points in time the way a
// person reads them, and reads back the points in time that a person types.
package human

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sendonce"
)

// Bytes writes a size in binary units with three digits at least: "12.3 MiB".
func Bytes(n int64) string {
	if n < 1024 && n > -1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		f /= 1024
		// 1023.95 would be printed as 1024.0 of the smaller unit.
		if f < 1023.95 && f > -1023.95 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f PiB", f/1024)
}

// Count writes a number with a space between thousands: "12 345".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return sign + s
}

// Plural writes a count and its noun: "1 file", "2 files", "2 directories".
func Plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return Count(n) + " " + stem + "ies"
	}
	return Count(n) + " " + noun + "s"
}

// Seconds writes a duration for a summary: "0.84 s", "12.3 s", "3m20s".
func Seconds(s float64) string {
	switch {
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	case s < 60:
		return fmt.Sprintf("%.1f s", s)
	}
	return (time.Duration(s) * time.Second).String()
}

// Ago writes how long before now t was: "just now", "5 min ago", "3 days ago";
// a time more than two months away as a date.
func Ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < -time.Minute || d > 60*24*time.Hour:
		return t.Local().Format("2006-01-02")
	case d < 10*time.Second:
		return "just now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// ParsePoint reads a point in a folder's history: a sequence number, or a time
// as RFC 3339, "2006-01-02" (the day's first moment, local time),
// "2006-01-02 15:04", or an age such as "90m ago", "2h ago", "3d ago", "1w ago".
// Exactly one of the results is not zero; "" gives zeros (now).
func ParsePoint(s string, now time.Time) (seq uint64, at time.Time, err error) {
	if s == "" {
		return 0, time.Time{}, nil
	}
	if seq, err := strconv.ParseUint(s, 10, 64); err == nil && seq > 0 {
		return seq, time.Time{}, nil
	}
	if age, ok := strings.CutSuffix(s, " ago"); ok {
		if d, ok := parseAge(strings.TrimSpace(age)); ok {
			return 0, now.Add(-d), nil
		}
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return 0, t, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return 0, t, nil
		}
	}
	return 0, time.Time{}, &sendonce.Error{Op: "read --at", Kind: sendonce.KindUsage,
		Detail: fmt.Sprintf("%q is neither a sequence number nor a time", s),
		Hint:   `write 42, 2026-01-02, "2026-01-02 15:04", 2026-01-02T15:04:05Z or "2h ago"`}
}

// parseAge reads what time.ParseDuration reads, and whole days and weeks.
func parseAge(s string) (time.Duration, bool) {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			v, err := strconv.ParseUint(n, 10, 16)
			return time.Duration(v) * unit, err == nil
		}
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}
