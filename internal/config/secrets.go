package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxSecret bounds a file with a secret.
const maxSecret = 64 << 10

// minToken is the shortest token that may protect a TCP listener.
const minToken = 16

// readSecrets reads the secrets of the store. A daemon starts without them, too:
// FileProblems tells what is wrong.
func (l *loader) readSecrets() {
	for _, p := range l.config.ReadStoreSecrets() {
		if l.scope == StoreAccess {
			l.report(p.Key, p.Where, "%s", p.Message)
		}
	}
}

// ReadStoreSecrets reads the secrets of the store as their files have them now, and
// says which cannot be used. Those are empty then.
func (c *Config) ReadStoreSecrets() []Problem {
	f := files{config: c}
	s := &c.Store
	s.Crypt.Password = f.secret("store.crypt.passwordFile", s.Crypt.PasswordFile)
	s.Crypt.Salt = f.secret("store.crypt.saltFile", s.Crypt.SaltFile)
	s.SecretValues = make(map[string]Secret, len(s.Secrets))
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		s.SecretValues[name] = f.secret("store.secrets."+name, s.Secrets[name])
	}
	return f.problems
}

// FileProblems says which of the files with secrets cannot be used now. They are no
// reason for a daemon not to start: HANA waits for it, and they may be mended while
// it runs.
func (c *Config) FileProblems() []Problem {
	now := *c
	f := files{config: c, problems: now.ReadStoreSecrets()}
	f.secret("hana.passwordFile", c.HANA.PasswordFile)
	f.tokens(&c.HTTP)
	f.secret("notify.urlFile", c.Notify.URLFile)
	f.secret("notify.secretFile", c.Notify.SecretFile)
	return f.problems
}

// NamedFiles are the keys of the settings that name files.
func (c *Config) NamedFiles() []string {
	var keys []string
	for key, file := range filesOf(c) {
		if file != "" && (c.HTTP.TokenReview.Audience != "" || !strings.HasPrefix(key, "http.tokenReview.")) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// files collects what is wrong with files.
type files struct {
	config   *Config
	problems []Problem
}

func (f *files) add(key, format string, arguments ...any) {
	f.problems = append(f.problems, f.config.ProblemOf(key, fmt.Sprintf(format, arguments...)))
}

// ProblemOf is a problem of a setting, with the place where that was given.
func (c *Config) ProblemOf(key, message string) Problem {
	return Problem{Key: key, Where: c.sources[key], Message: message}
}

// secret is empty when it cannot be used, and when there is no file.
func (f *files) secret(key, file string) Secret {
	if file == "" {
		return Secret{}
	}
	secret, err := ReadSecret(file)
	if err != nil {
		f.add(key, "%v", err)
	} else if secret.Empty() {
		f.add(key, "%s: expected a secret in this file, and it is empty", file)
	}
	return secret
}

// tokens finds those that cannot be used, and two that cannot be told apart.
func (f *files) tokens(h *HTTP) {
	owners := map[string]string{}
	f.token("http.tokenFile", h.TokenFile, owners)
	for _, name := range slices.Sorted(maps.Keys(h.Tokens)) {
		f.token("http.tokens."+name, h.Tokens[name], owners)
	}
	if h.TokenReview.Audience != "" {
		f.secret("http.tokenReview.tokenFile", h.TokenReview.TokenFile)
	}
}

func (f *files) token(key, file string, owners map[string]string) {
	token := f.secret(key, file).Reveal()
	if token == "" {
		return
	}
	printable := strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if len(token) < minToken || !printable {
		f.add(key, "%s: expected a token of at least %d printable characters without spaces", file, minToken)
		return
	}
	if other, taken := owners[token]; taken {
		f.add(key, "%s: expected another token than that of %s", file, other)
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
