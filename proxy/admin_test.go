package proxy

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sendonce"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
)

func TestAdminSocket(t *testing.T) {
	w := newWorld(t)
	c := over(w.srv.Handler())
	ctx := context.Background()
	var folder FolderStatus
	w.must(Call(ctx, c, "create-folder", CreateFolderRequest{Name: "docs", Names: "portable", Quota: 5000}, &folder))
	if folder.Name != "docs" || folder.Names != "portable" || folder.Quota != 5000 || folder.Role != "admin" {
		t.Errorf("folder %+v", folder)
	}
	var again FolderStatus
	w.must(Call(ctx, c, "create-folder", CreateFolderRequest{Name: "docs"}, &again))
	if again.ID != folder.ID || again.Names != "portable" {
		t.Errorf("made again: %+v", again)
	}
	var inv InviteReply
	w.must(Call(ctx, c, "invite", InviteRequest{Role: "push-only", Folder: "docs", Minutes: 5}, &inv))
	if len(inv.Token) != protocol.TokenSize || inv.Fingerprint != prototest.ID(w.srv.cfg.Key).String() {
		t.Errorf("invite %+v", inv)
	}
	d, err := w.connect(60, &protocol.Hello{Version: 1, DeviceName: "laptop", Token: inv.Token})
	w.must(err)
	if len(d.welcome.Folders) != 1 || d.welcome.Folders[0].Role != sendonce.RolePushOnly || d.welcome.Server != "test" || d.welcome.Params != sendonce.DefaultParams {
		t.Errorf("welcome %+v", d.welcome)
	}
	var devices DevicesReply
	w.must(Call(ctx, c, "devices", nil, &devices))
	if len(devices.Devices) != 1 || devices.Devices[0].Name != "laptop" || devices.Devices[0].Grants["docs"] != "push-only" || devices.Devices[0].Connections != 1 {
		t.Errorf("devices %+v", devices)
	}
	var status StatusReply
	w.must(Call(ctx, c, "status", nil, &status))
	if status.Folders != 1 || status.Devices != 1 || status.Connected != 1 || status.Counters["connections_total"] != 1 || status.Version != "test" {
		t.Errorf("status %+v", status)
	}
	// The quota is a limit that a commit is told about.
	p := d.push(sendonce.FolderID(mustHex(t, folder.ID)))
	data := p.file(noise(1, testChunk))
	op := p.offer(data)
	p.sendAll(missing(data, expect[*protocol.Missing](p)))
	p.commit(p.create("f", op, data))
	if f := expect[*protocol.Fail](p); f.Op != 1 || f.Kind != sendonce.KindFull {
		t.Errorf("over the quota: %+v", f)
	}
	w.must(Call(ctx, c, "set-quota", SetQuotaRequest{Folder: "docs", Bytes: 2 * testChunk}, &folder))
	if folder.Name != "docs" || folder.Quota != 2*testChunk {
		t.Errorf("with a larger quota: %+v", folder)
	}
	p.committed(p.commit(p.create("f", op, data)))
	var revoked RevokeReply
	w.must(Call(ctx, c, "revoke", RevokeRequest{Device: "laptop"}, &revoked))
	if revoked.Closed != 1 || revoked.ID != d.id.String() {
		t.Errorf("revoked %+v", revoked)
	}
}

func mustHex(t *testing.T, s string) (id [16]byte) {
	t.Helper()
	n := 0
	for i := range id {
		for _, c := range s[2*i : 2*i+2] {
			n = n<<4 | strings.IndexRune("0123456789abcdef", c)
		}
		id[i] = byte(n)
	}
	return id
}

func TestAdminStream(t *testing.T) {
	w := newWorld(t)
	w.folder("docs")
	call := func(c *client, method, body string) (string, sendonce.ErrKind) {
		t.Helper()
		st := c.open()
		w.must(st.Answer(&protocol.Admin{Method: method, Body: []byte(body)}))
		switch m := c.next(st).(type) {
		case *protocol.AdminReply:
			return string(m.Body), 0
		case *protocol.Fail:
			return "", m.Kind
		default:
			t.Fatalf("got %T", m)
			return "", 0
		}
	}
	admin, wide, narrow := w.device(sendonce.RoleAdmin, ""), w.device(sendonce.RolePushOnly, ""), w.device(sendonce.RoleReadWrite, "docs")
	reader := w.device(sendonce.RoleReadOnly, "")
	for _, method := range []string{"status", "devices", "revoke", "invite", "set-quota"} {
		for _, c := range []*client{wide, narrow, reader} {
			if _, kind := call(c, method, "{}"); kind != sendonce.KindUnauthorized {
				t.Errorf("%s by one who is no admin: %v", method, kind)
			}
		}
	}
	if body, kind := call(admin, "devices", ""); kind != 0 || !strings.Contains(body, wide.id.String()) {
		t.Errorf("devices: %v %s", kind, body)
	}
	if _, kind := call(wide, "create-folder", `{"name":"made"}`); kind != 0 {
		t.Errorf("create-folder by a wide role: %v", kind)
	}
	if _, kind := call(wide, "create-folder", `{"name":"big","quota":5}`); kind != sendonce.KindInvalid {
		t.Errorf("a quota by one who is no admin: %v", kind)
	}
	for _, c := range []*client{narrow, reader} {
		if _, kind := call(c, "create-folder", `{"name":"other"}`); kind != sendonce.KindUnauthorized {
			t.Errorf("create-folder: %v", kind)
		}
	}
	body, _ := call(narrow, "folders", "")
	var r FoldersReply
	w.must(json.Unmarshal([]byte(body), &r))
	if len(r.Folders) != 1 || r.Folders[0].Name != "docs" {
		t.Errorf("it sees %s", body)
	}
	// Several requests on one stream, and one that is none.
	st := admin.open()
	for range 3 {
		w.must(st.Answer(&protocol.Admin{Method: "status"}))
		want[*protocol.AdminReply](admin, st)
	}
	w.must(st.Answer(&protocol.Admin{Method: "none"}))
	wantFail(admin, st, sendonce.KindUnsupported)
	w.must(st.Answer(&protocol.Done{Op: 1}))
	wantGone(admin, st, sendonce.KindInvalid)
}

func TestMonitor(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	w.device(sendonce.RoleReadWrite, "").push(f).put("f", noise(1, 5*testChunk))
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		w.srv.Monitor().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	code, body := get("/metrics")
	for _, line := range []string{"sendonce_commits_total 1\n", "sendonce_chunks_missing_total 5\n", "sendonce_chunks_unasked 0\n", "# TYPE sendonce_devices_connected gauge\nsendonce_devices_connected 1\n"} {
		if code != 200 || !strings.Contains(body, line) {
			t.Errorf("%d: %q is not in\n%s", code, line, body)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if code, body := get(path); code != 200 || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if code, body := get("/version"); code != 200 || !strings.Contains(body, `"version":"test"`) {
		t.Errorf("version: %d %q", code, body)
	}
	w.stop()
	if code, _ := get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("after stopping it is ready: %d", code)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
}

func TestNewRefusesHalfAConfig(t *testing.T) {
	if _, err := New(Config{}); sendonce.KindOf(err) != sendonce.KindInternal {
		t.Errorf("got %v", err)
	}
}
