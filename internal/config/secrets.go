package config

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// maxSecret bounds a file with a secret.
const maxSecret = 64 << 10

// minToken is the shortest token that may protect a TCP listener.
const minToken = 16

// readSecrets reads the files that the settings name.
func (l *loader) readSecrets() {
	c := l.config
	if l.scope == Daemon {
		// hdbtrigger reads the password itself; here it only has to exist.
		l.readSecret("hana.passwordFile", c.HANA.PasswordFile)
		l.checkTokenFiles(&c.HTTP)
		l.readSecret("notify.urlFile", c.Notify.URLFile)
		l.readSecret("notify.secretFile", c.Notify.SecretFile)
	}
	c.Store.Crypt.Password = l.readSecret("store.crypt.passwordFile", c.Store.Crypt.PasswordFile)
	c.Store.Crypt.Salt = l.readSecret("store.crypt.saltFile", c.Store.Crypt.SaltFile)
	c.Store.SecretValues = make(map[string]Secret, len(c.Store.Secrets))
	for name, file := range c.Store.Secrets {
		c.Store.SecretValues[name] = l.readSecret("store.secrets."+name, file)
	}
}

func (l *loader) readSecret(key, file string) Secret {
	if file == "" || l.refused(key) {
		return Secret{}
	}
	secret, err := ReadSecret(file)
	if err != nil {
		l.report(key, l.entries[key].where, "%v", err)
	} else if secret.Empty() {
		l.report(key, l.entries[key].where, "%s: expected a secret in this file, and it is empty", file)
	}
	return secret
}

// checkTokenFiles reads every token once, so that a daemon does not start with
// one that cannot be used, or with two that cannot be told apart.
func (l *loader) checkTokenFiles(h *HTTP) {
	owners := map[string]string{}
	l.checkToken("http.tokenFile", h.TokenFile, owners)
	for _, name := range slices.Sorted(maps.Keys(h.Tokens)) {
		l.checkToken("http.tokens."+name, h.Tokens[name], owners)
	}
	if h.TokenReview.Audience != "" {
		l.readSecret("http.tokenReview.tokenFile", h.TokenReview.TokenFile)
	}
}

func (l *loader) checkToken(key, file string, owners map[string]string) {
	token := l.readSecret(key, file).Reveal()
	if file == "" || l.refused(key) {
		return
	}
	printable := strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if len(token) < minToken || !printable {
		l.report(key, l.entries[key].where, "%s: expected a token of at least %d printable characters without spaces", file, minToken)
		return
	}
	if other, taken := owners[token]; taken {
		l.report(key, l.entries[key].where, "%s: expected another token than that of %s", file, other)
	}
	owners[token] = key
}

// ReadSecret reads a secret from a file and drops one line end after it.
func ReadSecret(file string) (Secret, error) {
	text, err := readLimited(file, maxSecret)
	if err != nil {
		return Secret{}, err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	return NewSecret(string(text)), nil
}
