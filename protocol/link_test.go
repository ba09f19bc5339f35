package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sendonce"
)

func sampleLink() Link {
	return Link{Addrs: []string{"backup.example.org:7411"}, Server: id32[sendonce.DeviceID](0xab), Token: bytes.Repeat([]byte{0x5c}, TokenSize)}
}

func TestLinkSurvives(t *testing.T) {
	for _, addrs := range [][]string{{"h:1"}, {"10.0.0.1:7411", "[2001:db8::1]:65535", "[fe80::1%eth0]:7411"}} {
		l := sampleLink()
		l.Addrs = addrs
		got, err := ParseLink(" \t" + l.String() + "\n")
		if strings.Contains(addrs[len(addrs)-1], "%") != (err == nil && len(got.Addrs) == 3) {
			t.Fatalf("%v: %v", got, err)
		}
		if d := cmp.Diff(l, got); d != "" {
			t.Error(d)
		}
	}
	const want = "sendonce://backup.example.org:7411/#vov2xk5lvov2xk5lvov2xk5lvov2xk5lvov2xk5lvov2xk5lvovq.lrofyxc4lrofyxc4lrofyxc4lq"
	if got := sampleLink().String(); got != want {
		t.Errorf("the text of a link changed: %s", got)
	}
}

func TestLinkForms(t *testing.T) {
	s := sampleLink().String()
	_, secret, _ := strings.Cut(s, "#")
	for in, want := range map[string][]string{
		strings.ToUpper(s):                   {"BACKUP.EXAMPLE.ORG:7411"},
		"SendOnce://h#" + secret:             {"h:7411"},
		"sendonce://h:007411/#" + secret:     {"h:7411"},
		"sendonce://[::1]/#" + secret:        {"[::1]:7411"},
		"sendonce://a,b:2,[::1]:3#" + secret: {"a:7411", "b:2", "[::1]:3"},
	} {
		l, err := ParseLink(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if d := cmp.Diff(want, l.Addrs); d != "" {
			t.Errorf("%s: %s", in, d)
		}
	}
}

func TestBrokenLinks(t *testing.T) {
	s := sampleLink().String()
	head, secret, _ := strings.Cut(s, "#")
	fingerprint, token, _ := strings.Cut(secret, ".")
	for in, detail := range map[string]string{
		"":                       "does not begin with",
		"https://h/#" + secret:   "does not begin with",
		head:                     "after # is missing",
		head + "#" + fingerprint: "token after the fingerprint is missing",
		head + "#" + fingerprint[1:] + "." + token:                "fingerprint is damaged",
		head + "#" + strings.Repeat("a", 52) + "." + token:        "fingerprint is damaged",
		head + "#" + fingerprint + "." + token[1:]:                "token is damaged",
		head + "#" + fingerprint + ".":                            "token is damaged",
		head + "#" + secret + "x":                                 "token is damaged",
		"sendonce:///#" + secret:                                  `"" is not an address`,
		"sendonce://h,/#" + secret:                                `"" is not an address`,
		"sendonce://:7411/#" + secret:                             `":7411" is not an address`,
		"sendonce://h:0/#" + secret:                               "is not an address",
		"sendonce://h:65536/#" + secret:                           "is not an address",
		"sendonce://h:x/#" + secret:                               "is not an address",
		"sendonce://::1/#" + secret:                               "is not an address",
		"sendonce://[::zz]:1/#" + secret:                          "is not an address",
		"sendonce://a b:1/#" + secret:                             "is not an address",
		"sendonce://a/b:1/#" + secret:                             "is not an address",
		"sendonce://" + strings.Repeat("h,", 16) + "h/#" + secret: "more than 16",
		"sendonce://" + strings.Repeat("h", 254) + "/#" + secret:  "is not an address",
	} {
		_, err := ParseLink(in)
		e := wantKind(t, err, sendonce.KindUsage)
		if !strings.Contains(e.Detail, detail) || e.Hint == "" {
			t.Errorf("%s: %q with hint %q, want %q", in, e.Detail, e.Hint, detail)
		}
		if strings.Contains(err.Error(), token) {
			t.Errorf("%s: the token shows in %q", in, err)
		}
	}
}

func TestFailOf(t *testing.T) {
	inner := &sendonce.Error{Op: "open pack", Path: "/var/lib/secret", Kind: sendonce.KindFull, Detail: "no room", Err: fs.ErrPermission, Hint: "free some space"}
	for _, c := range []struct {
		err  error
		want Fail
	}{
		{inner, Fail{Op: 1, Kind: sendonce.KindFull, Detail: "open pack: no room", Hint: "free some space"}},
		{fmt.Errorf("around: %w", &sendonce.Error{Op: "commit", Err: inner}), Fail{Op: 1, Kind: sendonce.KindFull, Detail: "open pack: no room", Hint: "free some space"}},
		{&sendonce.Error{Op: "commit", Kind: sendonce.KindTooOld}, Fail{Op: 1, Kind: sendonce.KindTooOld, Detail: "too old"}},
		{&sendonce.Error{Kind: sendonce.KindLimit, Detail: "too much"}, Fail{Op: 1, Kind: sendonce.KindLimit, Detail: "too much"}},
		{&sendonce.Error{Kind: sendonce.KindInvalid, Detail: "\xff" + strings.Repeat("é", MaxText)}, Fail{Op: 1, Kind: sendonce.KindInvalid, Detail: strings.Repeat("é", MaxText/2-1)}},
		{errors.New("/var/lib/secret is broken"), Fail{Op: 1, Kind: sendonce.KindInternal, Detail: "internal error"}},
		{&sendonce.Error{Op: "x", Kind: sendonce.KindInternal, Detail: "secret"}, Fail{Op: 1, Kind: sendonce.KindInternal, Detail: "internal error"}},
		{nil, Fail{Op: 1, Kind: sendonce.KindInternal, Detail: "internal error"}},
	} {
		f := FailOf(1, c.err)
		if d := cmp.Diff(&c.want, f); d != "" {
			t.Errorf("%v: %s", c.err, d)
		}
		if _, err := AppendFrame(nil, f); err != nil {
			t.Errorf("%v: it cannot be sent: %v", c.err, err)
		}
		if got := f.Err(); sendonce.KindOf(got) != c.want.Kind || sendonce.HintOf(got) != c.want.Hint {
			t.Errorf("%v comes back as %v", c.err, got)
		}
	}
	if err := (&Fail{Kind: sendonce.KindBusy}).Err(); err.Error() != "server: busy" {
		t.Errorf("%v", err)
	}
}

func TestReceipt(t *testing.T) {
	r := samples()[15].(*Committed).Receipt
	m, err := ParseFrame(TypeCommitted, body(t, &Committed{Op: 1, Receipt: r}))
	if err != nil {
		t.Fatal(err)
	}
	key := keyOf(1)
	got := m.(*Committed).Receipt
	if !got.Verify(key) {
		t.Error("a receipt does not verify after its way over the wire")
	}
	if got.Verify(keyOf(2)) || got.Verify(nil) {
		t.Error("verified with another key")
	}
	for _, change := range []func(*Receipt){
		func(r *Receipt) { r.Folder[0]++ }, func(r *Receipt) { r.Op[0]++ }, func(r *Receipt) { r.Cursor.Seq++ },
		func(r *Receipt) { r.Cursor.Chain[0]++ }, func(r *Receipt) { r.Time = r.Time.Add(1) }, func(r *Receipt) { r.Signature = nil },
	} {
		c := r
		change(&c)
		if c.Verify(key) {
			t.Errorf("verified: %v", c)
		}
	}
}
