package fsys

import (
	"io/fs"
	"syscall"
)

func fill(i *Info, fi fs.FileInfo) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	i.Dev, i.Ino, i.Links, i.Blocks = uint64(uint32(st.Dev)), st.Ino, uint64(st.Nlink), st.Blocks
	i.CTimeNS, i.BirthNS = st.Ctimespec.Nano(), st.Birthtimespec.Nano()
}
