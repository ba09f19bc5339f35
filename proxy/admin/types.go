package admin

import (
	"time"
)

// StatusReply answers "status".
type StatusReply struct {
	Version     string           `json:"version"`
	Fingerprint string           `json:"fingerprint"`
	Started     time.Time        `json:"started"`
	Folders     int              `json:"folders"`
	Devices     int              `json:"devices"`
	Connected   int              `json:"devices_connected"`
	Pushes      int              `json:"pushes_open"`
	Counters    map[string]int64 `json:"counters"` // as in /metrics, without the prefix
}

// DeviceInfo is one device in the answer to "devices".
type DeviceInfo struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Role        string            `json:"role"`   // in all folders; "none"
	Grants      map[string]string `json:"grants"` // folder name: role
	Added       time.Time         `json:"added"`
	Revoked     bool              `json:"revoked"`
	Connections int               `json:"connections"` // to this proxy
}

// DevicesReply answers "devices".
type DevicesReply struct {
	Devices []DeviceInfo `json:"devices"`
}

// RevokeRequest names a device by its name or the beginning of its ID.
type RevokeRequest struct {
	Device string `json:"device"`
}

// RevokeReply tells what was done.
type RevokeReply struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Closed int    `json:"closed"` // live connections on this proxy
}

// InviteRequest asks for a join token.
type InviteRequest struct {
	Role    string `json:"role"`    // "": read-write
	Folder  string `json:"folder"`  // a folder's name; "": the role counts in all folders
	Minutes int    `json:"minutes"` // 0: 15
}

// InviteReply is what a join link is made of. The token is not kept anywhere.
type InviteReply struct {
	Token       []byte    `json:"token"` // 16 bytes, base64 in JSON
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
}

// FolderStatus is one folder in the answers to "folders" and "create-folder".
type FolderStatus struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Names   string    `json:"names"` // "exact" or "portable"
	Role    string    `json:"role"`  // of the device that asks; "admin" on the socket
	Seq     uint64    `json:"seq"`
	Files   int64     `json:"files"` // live nodes without the root
	Bytes   int64     `json:"bytes"` // logical
	Quota   int64     `json:"quota"` // logical bytes; 0: none
	Created time.Time `json:"created"`
}

// FoldersReply answers "folders".
type FoldersReply struct {
	Folders []FolderStatus `json:"folders"`
}

// CreateFolderRequest asks for a folder; one that has the name already is
// returned as it is.
type CreateFolderRequest struct {
	Name  string `json:"name"`
	Names string `json:"names"` // "": exact
	Quota int64  `json:"quota"` // logical bytes; 0: none; admins only
}

// SetQuotaRequest sets the logical bytes that a folder may hold; 0: no limit.
type SetQuotaRequest struct {
	Folder string `json:"folder"` // name
	Bytes  int64  `json:"bytes"`
}
