package proxy

import (
	"context"
	"net/http"

	"sendonce/proxy/admin"
)

// What the admin methods take and answer, for those who ask a proxy and need
// nothing else of it.
type (
	StatusReply         = admin.StatusReply
	DeviceInfo          = admin.DeviceInfo
	DevicesReply        = admin.DevicesReply
	RevokeRequest       = admin.RevokeRequest
	RevokeReply         = admin.RevokeReply
	InviteRequest       = admin.InviteRequest
	InviteReply         = admin.InviteReply
	FolderStatus        = admin.FolderStatus
	FoldersReply        = admin.FoldersReply
	CreateFolderRequest = admin.CreateFolderRequest
	SetQuotaRequest     = admin.SetQuotaRequest
)

// Call asks a Server.Handler for one admin method: see admin.Call.
func Call(ctx context.Context, c *http.Client, method string, request, reply any) error {
	return admin.Call(ctx, c, method, request, reply)
}
