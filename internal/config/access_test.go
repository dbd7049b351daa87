package config_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipestreamer/pipestreamer/internal/config"
)

// TestAccessRefused shows each reason to refuse what http says about callers.
func TestAccessRefused(t *testing.T) {
	token, same := secretFile(t, "0123456789abcdef"), secretFile(t, "0123456789abcdef\n")
	const tls = "tls: {certFile: /c, keyFile: /k, clientCAFile: /ca}"
	tests := []struct {
		name, http string
		env        []string
		want       string
	}{
		{name: "nobody can call", http: "listen: ':8080'", want: `http.listen (c.yaml line 5): ":8080": expected a way to tell who calls`},
		{name: "loopback too", http: "listen: '127.0.0.1:8080'", want: `"127.0.0.1:8080": expected a way to tell who calls`},
		{name: "TLS alone tells nothing", http: "listen: ':8443', tls: {certFile: /c, keyFile: /k}", want: "expected a way to tell who calls"},
		{name: "token without listener", http: "tokenFile: " + token, want: "http.tokenFile (c.yaml line 5): has no effect while http.listen is not set"},
		{name: "tokens without listener", http: "tokens: {nightly: " + token + "}, readers: ['token:nightly']", want: "http.tokens.nightly (c.yaml line 5): has no effect"},
		{name: "TLS without listener", http: tls, want: "http.tls.certFile (c.yaml line 5): has no effect while http.listen is not set"},
		{name: "review without listener", http: "tokenReview: {audience: a, url: 'https://k'}", want: "http.tokenReview.audience (c.yaml line 5): has no effect while http.listen is not set"},
		{name: "name of a token", http: "listen: ':1', tokens: {Nightly: " + token + "}", want: "http.tokens.Nightly (c.yaml line 5): expected a name of a-z"},
		{name: "token without a file", http: "listen: ':1', tokens: {nightly: ''}", want: "http.tokens.nightly (c.yaml line 5): expected the path of a file"},
		{name: "token of nobody", http: "listen: ':1', tokens: {nightly: " + token + "}", want: "http.tokens.nightly (c.yaml line 5): who sends it may do nothing: put token:nightly into http.operators, http.triggers or http.readers"},
		{name: "the token, of nobody", http: "listen: ':1', operators: ['uid:7'], tokenFile: " + token, want: "http.tokenFile (c.yaml line 5): who sends it may do nothing"},
		{name: "one token for two", http: "listen: ':1', tokenFile: " + token + ", tokens: {nightly: " + same + "}, triggers: ['token:nightly']", want: "http.tokens.nightly (c.yaml line 5): " + same + ": expected another token than that of http.tokenFile"},
		{name: "short", http: "listen: ':1', tokens: {a: " + secretFile(t, "0123456789abcde") + "}, readers: ['token:a']", want: "expected a token of at least 16 printable characters"},
		{name: "certificate without key", http: "listen: ':1', tokenFile: " + token + ", tls: {certFile: /c}", want: "http.tls.certFile (c.yaml line 5): expected its key in http.tls.keyFile"},
		{name: "key without certificate", http: "listen: ':1', tokenFile: " + token + ", tls: {keyFile: /k}", want: "http.tls.keyFile (c.yaml line 5): expected its certificate in http.tls.certFile"},
		{name: "clients without TLS", http: "listen: ':1', tls: {clientCAFile: /ca}", want: "http.tls.clientCAFile (c.yaml line 5): has no effect without http.tls.certFile"},
		{name: "relative file", http: "listen: ':1', tls: {certFile: c, keyFile: /k, clientCAFile: /ca}", want: `http.tls.certFile (c.yaml line 5): "c": expected an absolute path`},
		{name: "review without audience", http: "tokenReview: {url: 'https://k'}", want: "http.tokenReview.url (c.yaml line 5): has no effect without http.tokenReview.audience"},
		{name: "audience with a space", http: "listen: ':1', tokenReview: {audience: 'a b', url: 'https://k'}", want: `http.tokenReview.audience (c.yaml line 5): "a b": expected`},
		{name: "review outside of a pod", http: "listen: ':1', tokenReview: {audience: a}", want: `http.tokenReview.url: "": expected https://host:port`},
		{name: "review in the clear", http: "listen: ':1', tokenReview: {audience: a, url: 'http://k'}", want: `http.tokenReview.url (c.yaml line 5): "http://k": expected https://host:port`},
		{name: "own token missing", http: "listen: ':1', tokenReview: {audience: a, url: 'https://k', tokenFile: /does/not/exist}", want: "http.tokenReview.tokenFile (c.yaml line 5): open /does/not/exist"},
		{name: "token where HANA reads", http: "listen: ':1', tokenFile: /backup/token", want: "http.tokenFile (c.yaml line 5): /backup/token: expected a place outside backupDirectory (/backup), which HANA can read and write"},
		{name: "authority where HANA writes", http: "listen: ':1', tls: {certFile: /c, keyFile: /k, clientCAFile: /backup/ca}", want: "http.tls.clientCAFile (c.yaml line 5): /backup/ca: expected a place outside"},
		{name: "one of the tokens where HANA reads", http: "listen: ':1', tokens: {a: /backup/../backup/t}, readers: ['token:a']", want: "http.tokens.a (c.yaml line 5): /backup/../backup/t: expected a place outside"},
		{name: "rate", http: "rateLimit: 0", want: "http.rateLimit (c.yaml line 5): 0: expected 1 to 1000"},
		{name: "rate by variable", env: []string{"PIPESTREAMER_HTTP_RATE_LIMIT=1001"}, want: "http.rateLimit (environment variable PIPESTREAMER_HTTP_RATE_LIMIT): 1001: expected 1 to 1000"},
		{name: "no identity", http: "readers: [alice]", want: `http.readers (c.yaml line 5): "alice": expected token, token:<name>, certificate:<common name>, serviceaccount:<namespace>/<name> or uid:<number>`},
		{name: "service account without namespace", http: "readers: ['serviceaccount:backup']", want: `"serviceaccount:backup": expected token`},
		{name: "service account of a wildcard", http: "readers: ['serviceaccount:*/backup']", want: `"serviceaccount:*/backup": expected token`},
		{name: "nobody has that token", http: "listen: ':1', tokenFile: " + token + ", readers: ['token:x']", want: `http.readers (c.yaml line 5): "token:x": nobody can be this while http.tokens has no x`},
		{name: "nobody has the token", http: "operators: [token]", want: `http.operators (c.yaml line 5): "token": nobody can be this while http.tokenFile is not set`},
		{name: "nobody has a certificate", http: "readers: ['certificate:x']", want: `"certificate:x": nobody can be this while http.tls.clientCAFile is not set`},
		{name: "nobody is a service account", http: "readers: ['serviceaccount:a/b']", want: `"serviceaccount:a/b": nobody can be this while http.tokenReview.audience is not set`},
		{name: "user by name", http: "readers: ['uid:hxeadm']", want: `"uid:hxeadm": expected uid: and a user id in decimal`},
		{name: "user in another spelling", http: "readers: ['uid:012']", want: `"uid:012": expected uid: and a user id in decimal`},
		{name: "root", http: "readers: ['uid:0']", want: `"uid:0": root is an operator on the socket in any case`},
		{name: "everybody from elsewhere", http: "readers: ['uid:65534']", want: `"uid:65534": the kernel shows this user id for everybody`},
		{name: "in two lists", http: "readers: ['uid:7'], triggers: ['uid:7']", want: `http.triggers (c.yaml line 5): "uid:7": also stands in http.readers`},
		{name: "in the default list", http: "listen: ':1', tokenFile: " + token + ", readers: [token]", want: `http.readers (c.yaml line 5): "token": also stands in http.operators (its default)`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, fmt.Sprintf(minimal, secretFile(t, canary))+"http: {"+test.http+"}\n", test.env...)
			if err == nil {
				t.Fatal("Load accepted it")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error\n%v\ndoes not contain\n%s", err, test.want)
			}
			if strings.Contains(err.Error(), "0123456789abcde") {
				t.Errorf("error shows a token: %v", err)
			}
		})
	}
}

func TestAccessAccepted(t *testing.T) {
	one, two := secretFile(t, "token-number-one"), secretFile(t, "token-number-two")
	c, err := load(t, fmt.Sprintf(minimal, secretFile(t, canary))+`
http:
  listen: :8443
  tokens: {nightly: `+one+`}
  tls: {certFile: /c, keyFile: /k}
  tokenReview: {audience: pipestreamer, tokenFile: `+two+`}
  operators: ['certificate:ops.example.com', 'uid:12000']
  triggers: ['token:nightly', 'serviceaccount:backup/trigger.v1']
`, "PIPESTREAMER_HTTP_TLS_CLIENT_CA_FILE=/ca", "PIPESTREAMER_HTTP_TOKENS_WEEKLY="+two, "PIPESTREAMER_HTTP_READERS=token:weekly,uid:4294967295",
		"KUBERNETES_SERVICE_HOST=fd00::1", "KUBERNETES_SERVICE_PORT=443",
		"PIPESTREAMER_URL=https://x", "PIPESTREAMER_TOKEN_FILE=/t", "PIPESTREAMER_CA_FILE=/ca", "PIPESTREAMER_CERT_FILE=/c", "PIPESTREAMER_KEY_FILE=/k")
	if err != nil {
		t.Fatal(err)
	}
	want := config.HTTP{
		Listen: ":8443", Socket: "/var/lib/pipestreamer/pipestreamer.sock", Tokens: map[string]string{"nightly": one, "weekly": two},
		TLS:         config.ServerTLS{CertFile: "/c", KeyFile: "/k", ClientCAFile: "/ca"},
		TokenReview: config.TokenReview{Audience: "pipestreamer", URL: "https://[fd00::1]:443", CAFile: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", TokenFile: two},
		Operators:   []string{"certificate:ops.example.com", "uid:12000"}, Triggers: []string{"token:nightly", "serviceaccount:backup/trigger.v1"}, Readers: []string{"token:weekly", "uid:4294967295"}, RateLimit: 20,
	}
	if diff := cmp.Diff(want, c.HTTP); diff != "" {
		t.Errorf("http (-want +got):\n%s", diff)
	}
}

func TestExposed(t *testing.T) {
	cert := config.ServerTLS{CertFile: "/c", KeyFile: "/k"}
	for _, test := range []struct {
		listen string
		tls    config.ServerTLS
		want   bool
	}{
		{":8080", config.ServerTLS{}, true},
		{"0.0.0.0:8080", config.ServerTLS{}, true},
		{"[::1]:8080", config.ServerTLS{}, false},
		{"localhost:8080", config.ServerTLS{}, false},
		{":8443", cert, false},
		{"", config.ServerTLS{}, false},
	} {
		h := config.HTTP{Listen: test.listen, TLS: test.tls}
		if got := h.Exposed(); got != test.want {
			t.Errorf("%s, TLS %v: %v", test.listen, test.tls.CertFile != "", got)
		}
	}
}

// TestAccessRecipes loads the configurations that docs/access.md shows, with
// files of the test.
func TestAccessRecipes(t *testing.T) {
	text, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	recipes := 0
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		recipe, _, _ := strings.Cut(block, "```")
		if !strings.HasPrefix(recipe, "http:") {
			continue // an object of Kubernetes
		}
		recipes++
		recipe = regexp.MustCompile(`/run/secrets/[^\s,}]+`).ReplaceAllStringFunc(recipe, func(path string) string { return secretFile(t, path) })
		environ := []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=443"}
		if strings.Contains(recipe, "tokenReview:") {
			environ = append(environ, "PIPESTREAMER_HTTP_TOKEN_REVIEW_TOKEN_FILE="+secretFile(t, "the daemon's own"))
		}
		if _, err := load(t, fmt.Sprintf(minimal, secretFile(t, canary))+recipe, environ...); err != nil {
			t.Errorf("%v\n%s", err, recipe)
		}
	}
	if recipes < 3 {
		t.Errorf("%d recipes were found", recipes)
	}
}
