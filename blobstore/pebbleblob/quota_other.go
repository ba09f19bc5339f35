//go:build !unix

package pebbleblob

import "syscall"

// errQuota is what a write gets when the user's quota is used up. Windows has
// no such error of its own that Go reports; a full disk stands in.
const errQuota = syscall.ENOSPC
