package measure

import (
	"math"
	"slices"
)

// Series is one figure, measured several times.
type Series []float64

// Median returns the middle value (of an even number, the mean of the middle
// two), NaN for an empty series.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(s))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Min returns the least value, NaN for an empty series.
func (s Series) Min() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return slices.Min(s)
}

// Max returns the greatest value, NaN for an empty series.
func (s Series) Max() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return slices.Max(s)
}

// Over returns, for runs that were made in turn, each value of s divided by its
// partner in t.
func (s Series) Over(t Series) Series {
	out := make(Series, min(len(s), len(t)))
	for i := range out {
		out[i] = s[i] / t[i]
	}
	return out
}
