package protocol

import (
	"encoding/base32"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sendonce"
)

// DefaultPort is the UDP port of a proxy whose address names none.
const DefaultPort = 7411

// TokenSize is how many bytes a join token has.
const TokenSize = 16

// maxAddrs is how many addresses a link may name.
const maxAddrs = 16

const linkScheme = "sendonce://"

// Link is an invitation: where the server is, which key it must show, and the
// token that is good for one device. Its text is
// sendonce://HOST:PORT[,HOST:PORT...]/#FINGERPRINT.TOKEN
type Link struct {
	Addrs  []string          // "host:port", IPv6 in brackets; at least one
	Server sendonce.DeviceID // the server's fingerprint
	Token  []byte            // TokenSize bytes
}

var tokenEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the link as people pass it on. It is a secret until used.
func (l Link) String() string {
	return linkScheme + strings.Join(l.Addrs, ",") + "/#" + l.Server.String() + "." +
		strings.ToLower(tokenEncoding.EncodeToString(l.Token))
}

// ParseLink reads a link. The scheme and what is base32 may be in any case,
// white space around is ignored, and an address without a port gets DefaultPort.
// KindUsage, with a hint, if it is not a link.
func ParseLink(s string) (Link, error) {
	s = strings.TrimSpace(s)
	bad := func(detail, hint string) (Link, error) {
		return Link{}, &sendonce.Error{Op: "read join link", Kind: sendonce.KindUsage, Detail: detail, Hint: hint}
	}
	const again = "copy the whole line that \"sendonce invite\" printed, in quotes, or make a new one"
	if len(s) < len(linkScheme) || !strings.EqualFold(s[:len(linkScheme)], linkScheme) {
		return bad("it does not begin with "+linkScheme, again)
	}
	rest := s[len(linkScheme):]
	where, secret, ok := strings.Cut(rest, "#")
	if !ok {
		return bad("the part after # is missing", "put the link in quotes: a shell may take # for a comment; or make a new one")
	}
	where = strings.TrimSuffix(where, "/")
	fingerprint, token, ok := strings.Cut(secret, ".")
	if !ok {
		return bad("the token after the fingerprint is missing", again)
	}
	var l Link
	var err error
	if l.Server, err = sendonce.ParseDeviceID(fingerprint); err != nil || l.Server.IsZero() {
		return bad("the fingerprint is damaged: it must be 52 characters of base32", again)
	}
	l.Token, err = tokenEncoding.DecodeString(strings.ToUpper(token))
	if err != nil || len(l.Token) != TokenSize {
		return bad("the token is damaged: it must be 26 characters of base32", again)
	}
	for a := range strings.SplitSeq(where, ",") {
		addr, ok := parseAddr(a)
		if !ok {
			return bad(strconv.Quote(a)+" is not an address", "an address is HOST:PORT, with IPv6 addresses in brackets")
		}
		l.Addrs = append(l.Addrs, addr)
	}
	if len(l.Addrs) > maxAddrs {
		return bad("it names more than "+strconv.Itoa(maxAddrs)+" addresses", again)
	}
	return l, nil
}

// parseAddr brings an address into the form "host:port".
func parseAddr(a string) (string, bool) {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		host, port = a, strconv.Itoa(DefaultPort)
		if strings.HasPrefix(a, "[") && strings.HasSuffix(a, "]") {
			host = a[1 : len(a)-1]
		} else if strings.Contains(a, ":") {
			return "", false // an IPv6 address without brackets, or two ports
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", false
	} else {
		port = strconv.FormatUint(n, 10)
	}
	if strings.Contains(host, ":") {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return "", false
		}
		return net.JoinHostPort(ip.String(), port), validHost(ip.Zone())
	}
	return net.JoinHostPort(host, port), host != "" && validHost(host)
}

// validHost accepts what a host name, an IPv4 address or a zone is made of.
func validHost(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("/#,[]%:\"\\@", c) >= 0 {
			return false
		}
	}
	return len(s) <= 253
}
