package config

import (
	"bytes"
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
		l.checkToken(c.HTTP.TokenFile)
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

func (l *loader) checkToken(file string) {
	token := l.readSecret("http.tokenFile", file).Reveal()
	if file == "" || l.refused("http.tokenFile") {
		return
	}
	printable := strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if len(token) < minToken || !printable {
		l.report("http.tokenFile", l.entries["http.tokenFile"].where,
			"%s: expected a token of at least %d printable characters without spaces", file, minToken)
	}
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
