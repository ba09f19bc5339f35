package measure

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// CPU returns the CPU time that a process has used so far, all threads included,
// those that have ended too, but no children. It reads the process's CPU clock
// (clock_getcpuclockid(3)), which counts nanoseconds.
func CPU(pid int) (time.Duration, error) {
	const cpuclockSched = 2
	clock := uintptr(^pid)<<3 | cpuclockSched
	var ts syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(int32(clock)), uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, e)
	}
	return time.Duration(ts.Nano()), nil
}

// ChildrenCPU returns the CPU time of the children that a process has waited
// for, in ticks of 10 ms (proc(5), cutime and cstime).
func ChildrenCPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses, which may hold anything.
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	var ticks int64
	for _, s := range f[13:15] { // fields 16 and 17
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// SelfCPU returns the CPU time of this process.
func SelfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// PeakRSS returns VmHWM of a process in bytes.
func PeakRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmHWM", pid)
}

// ResetPeakRSS makes PeakRSS begin again at what is resident now (proc(5),
// clear_refs).
func ResetPeakRSS(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// Quiet waits until a process has used hardly any CPU for a while, and returns
// its CPU time then. Work that a server leaves for later is thereby counted to
// the run that caused it. It gives up waiting after 10 s.
func Quiet(ctx context.Context, pid int) (time.Duration, error) {
	last, err := CPU(pid)
	for range 40 {
		if err != nil {
			return 0, err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		var now time.Duration
		if now, err = CPU(pid); now-last < 5*time.Millisecond {
			return now, err
		}
		last = now
	}
	return last, err
}

// Datagrams returns the UDP datagrams that were delivered in a process's network
// namespace (/proc/PID/net/snmp). Datagrams sent cannot be counted so: the kernel
// counts a batch sent with segmentation offload once.
func Datagrams(pid int) (received int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", pid))
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := range min(len(f), len(names)) {
			if names[i] == "InDatagrams" {
				return strconv.ParseInt(f[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("/proc/%d/net/snmp has no InDatagrams", pid)
}
