//go:build unix

package pebbleblob

import "syscall"

// errQuota is what a write gets when the user's quota is used up.
const errQuota = syscall.EDQUOT
