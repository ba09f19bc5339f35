package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"sendonce"
	"sendonce/protocol"
)

// Call asks a Handler for one admin method: the client side of the socket. c
// must dial the socket whatever the address is. request is encoded as JSON (nil:
// none), reply is filled in. The error has the kind and the hint that the proxy
// gave; KindUnavailable if it cannot be reached.
func Call(ctx context.Context, c *http.Client, method string, request, reply any) error {
	op := "ask the proxy: " + method
	body := []byte("{}")
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return &sendonce.Error{Op: op, Kind: sendonce.KindInternal, Err: err}
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://proxy"+adminPath+method, bytes.NewReader(body))
	if err != nil {
		return &sendonce.Error{Op: op, Kind: sendonce.KindInvalid, Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Err: err, Hint: "is the proxy running?"}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 2*protocol.MaxAdminBody))
	if err != nil {
		return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Err: err}
	}
	if resp.StatusCode != http.StatusOK {
		var f adminFailure
		if json.Unmarshal(b, &f) != nil || f.Kind == 0 {
			f = adminFailure{Error: resp.Status, Kind: sendonce.KindInternal}
		}
		return &sendonce.Error{Op: op, Kind: f.Kind, Detail: f.Error, Hint: f.Hint}
	}
	if err := json.Unmarshal(b, reply); err != nil {
		return &sendonce.Error{Op: op, Kind: sendonce.KindInternal, Detail: "the answer is not what was expected", Err: err}
	}
	return nil
}
