package config

import (
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxTokens bounds http.tokens: every one is read for each request.
const maxTokens = 64

// overflowUID is the user id that the kernel shows for users who have none in
// this user namespace (user_namespaces(7), /proc/sys/kernel/overflowuid).
const overflowUID = 65534

// The grammar of identities, and of the audience (RFC 7519 allows more). Names
// of namespaces and service accounts are Kubernetes' ("Object Names and IDs").
var (
	tokenName       = regexp.MustCompile(`^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$`)
	commonName      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@:/=+-]{0,63}$`)
	serviceAccount  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	audienceGrammar = regexp.MustCompile(`^[\x21-\x7e]{1,256}$`)
)

// roleKeys are the lists of identities.
func (h *HTTP) roleKeys() map[string][]string {
	return map[string][]string{"http.operators": h.Operators, "http.triggers": h.Triggers, "http.readers": h.Readers}
}

// Exposed reports whether http.listen can be reached from beyond this network
// namespace without TLS.
func (h *HTTP) Exposed() bool {
	return h.Listen != "" && h.TLS.CertFile == "" && !isLoopback(h.Listen)
}

func (l *loader) checkListeners(c *Config) {
	l.checkAddress("metrics.listen", c.Metrics.Listen)
	if c.HTTP.Listen == "" {
		return
	}
	l.checkAddress("http.listen", c.HTTP.Listen)
	l.expect(c.HTTP.Listen != c.Metrics.Listen || strings.HasSuffix(c.HTTP.Listen, ":0"), "http.listen",
		"%q: expected another address than metrics.listen", c.HTTP.Listen)
}

func (l *loader) checkAddress(key, address string) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	l.expect(err == nil, key, "%q: expected host:port with a number for the port", address)
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checkAccess refuses a listener that nobody could use, a way to authenticate
// that has no effect, and an identity that cannot come or may do nothing.
func (l *loader) checkAccess(h *HTTP) {
	l.expect(h.RateLimit >= 1 && h.RateLimit <= 1000, "http.rateLimit", "%d: expected 1 to 1000", h.RateLimit)
	l.checkTokens(h)
	l.checkServerTLS(&h.TLS)
	l.checkTokenReview(&h.TokenReview)
	if h.Listen == "" {
		for key, text := range map[string]string{
			"http.tokenFile": h.TokenFile, "http.tls.certFile": h.TLS.CertFile, "http.tls.clientCAFile": h.TLS.ClientCAFile,
			"http.tokenReview.audience": h.TokenReview.Audience,
		} {
			l.expect(text == "", key, "has no effect while http.listen is not set: the socket knows its callers by their user id")
		}
		for name := range h.Tokens {
			l.expect(false, "http.tokens."+name, "has no effect while http.listen is not set")
		}
	} else {
		l.expect(h.TokenFile != "" || len(h.Tokens) > 0 || h.TLS.ClientCAFile != "" || h.TokenReview.Audience != "", "http.listen",
			"%q: expected a way to tell who calls: http.tokenFile, http.tokens, http.tls.clientCAFile or http.tokenReview.audience", h.Listen)
	}
	l.checkRoles(h)
}

func (l *loader) checkTokens(h *HTTP) {
	l.expect(len(h.Tokens) <= maxTokens, "http.tokens", "%d entries: expected at most %d", len(h.Tokens), maxTokens)
	for name, file := range h.Tokens {
		key := "http.tokens." + name
		l.expect(tokenName.MatchString(name), key, "expected a name of a-z, 0-9, - and _ that begins with a letter")
		l.expect(file != "", key, "expected the path of a file")
	}
}

func (l *loader) checkServerTLS(t *ServerTLS) {
	l.expect(t.CertFile == "" || t.KeyFile != "", "http.tls.certFile", "expected its key in http.tls.keyFile")
	l.expect(t.KeyFile == "" || t.CertFile != "", "http.tls.keyFile", "expected its certificate in http.tls.certFile")
	l.expect(t.ClientCAFile == "" || t.CertFile != "", "http.tls.clientCAFile", "has no effect without http.tls.certFile and http.tls.keyFile")
	for key, file := range map[string]string{"http.tls.certFile": t.CertFile, "http.tls.keyFile": t.KeyFile, "http.tls.clientCAFile": t.ClientCAFile} {
		l.expect(file == "" || filepath.IsAbs(file), key, "%q: expected an absolute path", file)
	}
}

func (l *loader) checkTokenReview(t *TokenReview) {
	if t.Audience == "" {
		for _, key := range []string{"url", "caFile", "tokenFile"} {
			_, given := l.entries["http.tokenReview."+key]
			l.expect(!given, "http.tokenReview."+key, "has no effect without http.tokenReview.audience")
		}
		return
	}
	l.expect(audienceGrammar.MatchString(t.Audience), "http.tokenReview.audience", "%q: expected 1 to 256 printable ASCII characters without spaces", t.Audience)
	for key, file := range map[string]string{"http.tokenReview.caFile": t.CAFile, "http.tokenReview.tokenFile": t.TokenFile} {
		l.expect(filepath.IsAbs(file), key, "%q: expected an absolute path", file)
	}
	if t.URL == "" && l.kubernetes != "" {
		t.URL = "https://" + l.kubernetes
	}
	address, err := url.Parse(t.URL)
	l.expect(err == nil && address.Scheme == "https" && address.Host != "" && address.User == nil && address.RawQuery == "", "http.tokenReview.url",
		"%q: expected https://host:port; this is no pod that knows it (KUBERNETES_SERVICE_HOST)", t.URL)
}

// checkRoles refuses entries that nobody can be, identities in two lists, and
// tokens whose owner may do nothing.
func (l *loader) checkRoles(h *HTTP) {
	listed := map[string]string{}
	lists := h.roleKeys()
	for _, key := range slices.Sorted(maps.Keys(lists)) {
		if _, given := l.entries[key]; !given {
			for _, identity := range lists[key] {
				listed[identity] = key + " (its default)"
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(lists)) {
		if _, given := l.entries[key]; !given {
			continue
		}
		for _, identity := range lists[key] {
			problem := identityProblem(h, identity)
			l.expect(problem == "", key, "%q: %s", identity, problem)
			other, twice := listed[identity]
			l.expect(!twice, key, "%q: also stands in %s; the lists include one another: operators, triggers, readers", identity, other)
			listed[identity] = key
		}
	}
	const roleless = "who sends it may do nothing: put %s into http.operators, http.triggers or http.readers"
	l.expect(h.TokenFile == "" || listed["token"] != "", "http.tokenFile", roleless, "token")
	for name := range h.Tokens {
		l.expect(listed["token:"+name] != "", "http.tokens."+name, roleless, "token:"+name)
	}
}

// identityProblem says why nobody can be this identity, empty when somebody can.
func identityProblem(h *HTTP, identity string) string {
	origin, name, _ := strings.Cut(identity, ":")
	switch {
	case identity == "token":
		return absent(h.TokenFile == "", "http.tokenFile is not set")
	case origin == "token" && tokenName.MatchString(name):
		return absent(h.Tokens[name] == "", "http.tokens has no "+name)
	case origin == "certificate" && commonName.MatchString(name):
		return absent(h.TLS.ClientCAFile == "", "http.tls.clientCAFile is not set")
	case origin == "serviceaccount" && serviceAccount.MatchString(name):
		return absent(h.TokenReview.Audience == "", "http.tokenReview.audience is not set")
	case origin == "uid":
		return uidProblem(name)
	}
	return "expected token, token:<name>, certificate:<common name>, serviceaccount:<namespace>/<name> or uid:<number>"
}

func absent(is bool, why string) string {
	if is {
		return "nobody can be this while " + why
	}
	return ""
}

func uidProblem(text string) string {
	uid, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil || strconv.FormatUint(uid, 10) != text:
		return "expected uid: and a user id in decimal"
	case uid == 0:
		return "root is an operator on the socket in any case"
	case uid == overflowUID:
		return "the kernel shows this user id for everybody who has none in this container"
	}
	return ""
}
