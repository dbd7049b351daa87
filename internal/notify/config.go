package notify

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"
)

// Config shapes a Notifier.
type Config struct {
	// SID is that of the events.
	SID string
	// Directory keeps what has not arrived yet. It is made when it is missing.
	Directory string
	// ReadURL gives the address of the webhook and ReadSecret its secret, empty for
	// none. They are asked at every attempt; what they return is never shown.
	ReadURL, ReadSecret func() (string, error)
	// CAFile has the authorities (PEM) that are trusted; empty means those of the
	// system.
	CAFile string
	// TemplateFile makes the body, empty for the JSON of Event.
	TemplateFile string
	// On are the types of events that are told.
	On []string
	// Patience is for how long a notification is tried after it was made. Default
	// 24 h.
	Patience time.Duration
	// AttemptTimeout bounds one attempt. Default 15 s.
	AttemptTimeout time.Duration
	// Grace is for how long Run goes on to try after its context has ended.
	// Default 5 s.
	Grace time.Duration
	// Pause is the time between the first two attempts; it grows to 5 min. Default
	// 1 s.
	Pause time.Duration
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.Patience, 24 * time.Hour}, {&c.AttemptTimeout, 15 * time.Second}, {&c.Grace, 5 * time.Second}, {&c.Pause, time.Second}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	return c
}

// check names the setting that cannot be meant.
func (c Config) check() error {
	for _, name := range c.On {
		if !slices.Contains(Types(), name) {
			return fmt.Errorf("notify.on: %q: expected some of %s", name, strings.Join(Types(), ", "))
		}
	}
	return nil
}

// Problem is a setting whose file cannot be used. Err shows nothing of what is in it.
type Problem struct {
	Key string
	Err error
}

// Problems says which files cannot be used now. Notifications wait until they can.
func (c Config) Problems() []Problem {
	var problems []Problem
	add := func(key string, err error) {
		if err != nil {
			problems = append(problems, Problem{key, err})
		}
	}
	_, err := c.target()
	add("notify.urlFile", err)
	_, err = c.key()
	add("notify.secretFile", err)
	_, err = c.template()
	add("notify.template", err)
	text, err := c.authorities()
	if err == nil {
		_, err = c.pool(text)
	}
	add("notify.caFile", err)
	return problems
}

// template is nil for none.
func (c Config) template() (*template.Template, error) {
	if c.TemplateFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.TemplateFile)
	if err != nil {
		return nil, err
	}
	return parseTemplate(string(text))
}

// authorities is the text of the file with them, nil for those of the system.
func (c Config) authorities() ([]byte, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	return os.ReadFile(c.CAFile)
}

// target is the address of the webhook. Errors do not show it.
func (c Config) target() (*url.URL, error) {
	text, err := c.ReadURL()
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(text)
	if err != nil || target.Host == "" || target.Scheme != "https" && target.Scheme != "http" {
		return nil, errors.New("expected the URL of the webhook, https://… or http://…, in this file") // what url.Parse says has the URL in it
	}
	return target, nil
}

// secretPrefix is how secrets of Standard Webhooks begin.
const secretPrefix = "whsec_"

// key is what requests are signed with, nil for none.
func (c Config) key() ([]byte, error) {
	text, err := c.ReadSecret()
	if err != nil || text == "" {
		return nil, err
	}
	encoded, found := strings.CutPrefix(text, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("expected whsec_ and the base64 of 24 to 64 random bytes in this file") // what base64 says helps nobody
	}
	return key, nil
}

// pool is made of the text of authorities; nil stands for those of the system.
func (c Config) pool(text []byte) (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: expected certificates in PEM", c.CAFile)
	}
	return pool, nil
}
