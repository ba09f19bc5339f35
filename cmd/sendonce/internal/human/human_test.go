package human

import (
	"testing"
	"time"

	"sendonce"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB",
		1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB", 3 << 40: "3.0 TiB", 1 << 60: "1024.0 PiB", -2048: "-2.0 KiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCounts(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", 1234567: "1 234 567", -12345: "-12 345"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	for want, got := range map[string]string{"1 file": Plural(1, "file"), "0 files": Plural(0, "file"), "2 directories": Plural(2, "directory"), "1 directory": Plural(1, "directory")} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for s, want := range map[float64]string{0.123: "0.12 s", 12.34: "12.3 s", 200: "3m20s"} {
		if got := Seconds(s); got != want {
			t.Errorf("Seconds(%v) = %q, want %q", s, got, want)
		}
	}
}

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "just now", 30 * time.Second: "30 s ago", 5 * time.Minute: "5 min ago",
		3 * time.Hour: "3 h ago", 72 * time.Hour: "3 days ago", 1000 * time.Hour * 24: "2023-08-10"} {
		if got := Ago(noon.Add(-d), noon); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	if got := Ago(time.Time{}, noon); got != "never" {
		t.Errorf("got %q", got)
	}
}

func TestParsePoint(t *testing.T) {
	for s, want := range map[string]time.Time{
		"2026-05-06T10:00:00Z":      noon.Add(-2 * time.Hour),
		"2026-05-06T12:00:00+02:00": noon.Add(-2 * time.Hour),
		"2h ago":                    noon.Add(-2 * time.Hour),
		"90m ago":                   noon.Add(-90 * time.Minute),
		"3d ago":                    noon.Add(-72 * time.Hour),
		"1w ago":                    noon.Add(-7 * 24 * time.Hour),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
		"2026-01-02 15:04":          time.Date(2026, 1, 2, 15, 4, 0, 0, time.Local),
		"2026-01-02 15:04:05":       time.Date(2026, 1, 2, 15, 4, 5, 0, time.Local),
		"2026-01-02T15:04":          time.Date(2026, 1, 2, 15, 4, 0, 0, time.Local),
	} {
		seq, at, err := ParsePoint(s, noon)
		if err != nil || seq != 0 || !at.Equal(want) {
			t.Errorf("%q: got %d, %v, %v", s, seq, at, err)
		}
	}
	if seq, at, err := ParsePoint("42", noon); seq != 42 || !at.IsZero() || err != nil {
		t.Errorf("got %d, %v, %v", seq, at, err)
	}
	if seq, at, err := ParsePoint("", noon); seq != 0 || !at.IsZero() || err != nil {
		t.Errorf("got %d, %v, %v", seq, at, err)
	}
	for _, s := range []string{"0", "-1", "yesterday", "2026-13-01", "d ago", "-2h ago", "99999d ago", "2h"} {
		if _, _, err := ParsePoint(s, noon); sendonce.KindOf(err) != sendonce.KindUsage || sendonce.HintOf(err) == "" {
			t.Errorf("%q: got %v", s, err)
		}
	}
}

func FuzzParsePoint(f *testing.F) {
	for _, s := range []string{"1", "2026-01-02", "2h ago", "3w ago", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		seq, at, err := ParsePoint(s, noon)
		switch {
		case err != nil && sendonce.KindOf(err) != sendonce.KindUsage:
			t.Errorf("kind %v", sendonce.KindOf(err))
		case err == nil && s != "" && (seq == 0) == at.IsZero():
			t.Errorf("%q: not exactly one of %d, %v", s, seq, at)
		}
	})
}
