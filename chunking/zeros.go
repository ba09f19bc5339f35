package chunking

import "bytes"

// zeroBlock is what zeros are compared with: the comparison of whole blocks is
// vectorised, and a hundred times faster than a loop over bytes.
var zeroBlock [4096]byte

// leadingZeros returns how many zero bytes b begins with.
func leadingZeros(b []byte) int {
	n := 0
	for _, block := range [...]int{len(zeroBlock), 64} {
		for len(b)-n >= block && bytes.Equal(b[n:n+block], zeroBlock[:block]) {
			n += block
		}
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}

// trailingZeros returns how many zero bytes b ends with.
func trailingZeros(b []byte) int {
	end := len(b)
	for _, block := range [...]int{len(zeroBlock), 64} {
		for end >= block && bytes.Equal(b[end-block:end], zeroBlock[:block]) {
			end -= block
		}
	}
	for end > 0 && b[end-1] == 0 {
		end--
	}
	return len(b) - end
}

// findRun returns where the first run of at least minRun zero bytes begins in b;
// if there is none, len(b) and false.
//
// A run that long covers one byte in every minRun, so only those are looked at.
func findRun(b []byte) (start int, found bool) {
	examined := 0 // no long run begins before it
	for probe := minRun - 1; probe < len(b); {
		if b[probe] != 0 {
			examined = probe + 1
			probe += minRun
			continue
		}
		start := probe - trailingZeros(b[examined:probe])
		end := probe + leadingZeros(b[probe:])
		if end-start >= minRun {
			return start, true
		}
		// b[end] is not zero: the next run begins behind it.
		examined = end
		probe = end + minRun
	}
	return len(b), false
}
