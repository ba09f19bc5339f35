package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
	"sendonce/proxy/metrics"
)

// office is a service over a memory index, with no proxy behind it.
type office struct {
	*Service
	t      *testing.T
	index  *indexdb.DB
	client *http.Client
	ready  error
	tokens byte
	closed []sendonce.DeviceID // as Live was told
}

func (o *office) Devices() map[sendonce.DeviceID]int { return map[sendonce.DeviceID]int{{1}: 2} }
func (o *office) Pushes() int                        { return 3 }
func (o *office) Close(id sendonce.DeviceID, _ sendonce.ErrKind, _ string) int {
	o.closed = append(o.closed, id)
	return 1
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t}
	now := func() time.Time { return start.Add(time.Minute) }
	var err error
	o.index, err = indexdb.New(indextest.NewMem(), indexdb.Options{Now: now, Rand: strings.NewReader(strings.Repeat("key", 100))})
	o.must(err)
	t.Cleanup(func() { o.index.Close() })
	o.Service = New(Env{Index: o.index, Live: o, Identity: sendonce.DeviceID{42}, Now: now,
		Random: func(b []byte) error { o.tokens++; b[0] = o.tokens; return nil },
		Ready:  func(context.Context) error { return o.ready },
		Log:    slog.New(slog.DiscardHandler), Metrics: new(metrics.Metrics), Version: "test", Started: start})
	h := o.Handler()
	o.client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	})}
	return o
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) call(method string, request, reply any) error {
	return Call(context.Background(), o.client, method, request, reply)
}

// enrol makes a device by an invite.
func (o *office) enrol(id sendonce.DeviceID, name string, q InviteRequest) *indexdb.Device {
	o.t.Helper()
	var inv InviteReply
	o.must(o.call("invite", q, &inv))
	d, err := o.index.Redeem(context.Background(), HashToken(inv.Token), id, name, start.Add(2*time.Minute), sendonce.FolderID{99})
	o.must(err)
	return d
}

func TestOwner(t *testing.T) {
	o := newOffice(t)
	var folder FolderStatus
	o.must(o.call("create-folder", CreateFolderRequest{Name: "docs", Quota: 5}, &folder))
	o.must(o.call("set-quota", SetQuotaRequest{Folder: "docs", Bytes: 70}, &folder))
	var all FoldersReply
	o.must(o.call("folders", nil, &all))
	if len(all.Folders) != 1 || all.Folders[0] != folder || folder.Quota != 70 || folder.Names != "exact" || folder.Role != "admin" {
		t.Errorf("folders %+v, as set %+v", all, folder)
	}
	var inv InviteReply
	o.must(o.call("invite", nil, &inv))
	if len(inv.Token) != 16 || inv.Fingerprint != (sendonce.DeviceID{42}).String() || !inv.Expires.Equal(start.Add(16*time.Minute)) {
		t.Errorf("invite %+v", inv)
	}
	o.enrol(sendonce.DeviceID{1}, "one", InviteRequest{Folder: "docs"})
	o.enrol(sendonce.DeviceID{2}, "two", InviteRequest{Role: "admin"})
	o.enrol(sendonce.DeviceID{3}, "two", InviteRequest{Role: "push-only"})
	var devices DevicesReply
	o.must(o.call("devices", nil, &devices))
	if d := devices.Devices; len(d) != 3 || d[0].Grants["docs"] != "read-write" || d[0].Role != "none" || d[0].Connections != 2 || d[1].Role != "admin" || d[1].Connections != 0 {
		t.Errorf("devices %+v", d)
	}
	if err := o.call("revoke", RevokeRequest{Device: "two"}, &struct{}{}); sendonce.KindOf(err) != sendonce.KindInvalid || sendonce.HintOf(err) == "" {
		t.Errorf("a name that two have: %v", err)
	}
	var gone RevokeReply
	o.must(o.call("revoke", RevokeRequest{Device: sendonce.DeviceID{3}.String()[:20]}, &gone))
	if gone.Name != "two" || gone.Closed != 1 || len(o.closed) != 1 || o.closed[0] != (sendonce.DeviceID{3}) {
		t.Errorf("revoked %+v, closed %v", gone, o.closed)
	}
	var status StatusReply
	o.must(o.call("status", nil, &status))
	if status.Folders != 1 || status.Devices != 2 || status.Connected != 1 || status.Pushes != 3 || status.Counters["uptime_seconds"] != 60 || status.Counters["connections_open"] != 2 {
		t.Errorf("status %+v", status)
	}
}

func TestRefused(t *testing.T) {
	o := newOffice(t)
	o.must(o.call("create-folder", CreateFolderRequest{Name: "docs"}, &struct{}{}))
	for _, c := range []struct {
		method string
		req    any
		kind   sendonce.ErrKind
	}{
		{"nothing", nil, sendonce.KindUnsupported},
		{"revoke", RevokeRequest{Device: "laptop"}, sendonce.KindNotFound},
		{"revoke", RevokeRequest{}, sendonce.KindNotFound},
		{"invite", InviteRequest{Role: "king"}, sendonce.KindUsage},
		{"invite", InviteRequest{Minutes: -1}, sendonce.KindInvalid},
		{"invite", InviteRequest{Minutes: maxInviteMinutes + 1}, sendonce.KindInvalid},
		{"invite", InviteRequest{Folder: "a:b"}, sendonce.KindInvalid},
		{"create-folder", CreateFolderRequest{Name: "a/b"}, sendonce.KindInvalid},
		{"create-folder", CreateFolderRequest{Name: "a\n"}, sendonce.KindInvalid},
		{"create-folder", CreateFolderRequest{Name: "a", Names: "loose"}, sendonce.KindInvalid},
		{"create-folder", CreateFolderRequest{Name: "a", Quota: -1}, sendonce.KindInvalid},
		{"set-quota", SetQuotaRequest{Folder: "none", Bytes: 1}, sendonce.KindNotFound},
		{"set-quota", SetQuotaRequest{Folder: "docs", Bytes: -1}, sendonce.KindInvalid},
		{"folders", map[string]int{"x": 1}, sendonce.KindInvalid},
		{"status", []int{}, sendonce.KindInvalid},
	} {
		if err := o.call(c.method, c.req, &struct{}{}); sendonce.KindOf(err) != c.kind {
			t.Errorf("%s %+v: %v", c.method, c.req, err)
		}
	}
	if _, err := o.run(context.Background(), owner, "status", []byte("{} {}")); sendonce.KindOf(err) != sendonce.KindInvalid {
		t.Errorf("two values: %v", err)
	}
}

// Of devices, only a tenant-wide admin that is not revoked runs what is not open
// to all.
func TestRoles(t *testing.T) {
	o := newOffice(t)
	o.must(o.call("create-folder", CreateFolderRequest{Name: "docs"}, &struct{}{}))
	manager := o.enrol(sendonce.DeviceID{1}, "a", InviteRequest{Role: "admin"})
	narrow := o.enrol(sendonce.DeviceID{2}, "b", InviteRequest{Role: "admin", Folder: "docs"})
	wide := o.enrol(sendonce.DeviceID{3}, "c", InviteRequest{Role: "read-write"})
	gone := *manager
	gone.Revoked = true
	may := func(d *indexdb.Device, method string) bool {
		_, err := o.run(context.Background(), caller{d.Tenant, d}, method, nil)
		return sendonce.KindOf(err) != sendonce.KindUnauthorized
	}
	for name, m := range commands {
		if !may(manager, name) {
			t.Errorf("an admin may not %s", name)
		}
		for _, d := range []*indexdb.Device{narrow, wide, &gone} {
			if !m.open && may(d, name) {
				t.Errorf("%+v may %s", d, name)
			}
		}
	}
	if may(narrow, "create-folder") || !may(wide, "create-folder") {
		t.Error("a folder is made by those who push everywhere")
	}
}

func TestMonitorTellsWhatIsWrong(t *testing.T) {
	o := newOffice(t)
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		o.Monitor().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	if code, body := get("/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("%d %q", code, body)
	}
	o.ready = errors.New("no store")
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no store") {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "sendonce_pushes_open 3\n") {
		t.Errorf("%d %s", code, body)
	}
}

func TestCallWithoutAProxy(t *testing.T) {
	answer := func(code int, body string, err error) *http.Client {
		return &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			if err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader(body))}, nil
		})}
	}
	for _, c := range []struct {
		client *http.Client
		kind   sendonce.ErrKind
	}{
		{answer(0, "", io.ErrUnexpectedEOF), sendonce.KindUnavailable},
		{answer(502, "<html>", nil), sendonce.KindInternal},
		{answer(200, "<html>", nil), sendonce.KindInternal},
		{answer(500, `{"error":"x","kind":7,"hint":"y"}`, nil), sendonce.KindFull},
	} {
		if err := Call(context.Background(), c.client, "status", nil, &StatusReply{}); sendonce.KindOf(err) != c.kind {
			t.Errorf("got %v, want kind %v", err, c.kind)
		}
	}
	if err := Call(context.Background(), answer(200, "{}", nil), "status", func() {}, nil); sendonce.KindOf(err) != sendonce.KindInternal {
		t.Errorf("a request that is no JSON: %v", err)
	}
}
