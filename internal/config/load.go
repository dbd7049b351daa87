package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Scope says which settings the caller needs.
type Scope int

// The scopes.
const (
	// Daemon needs everything.
	Daemon Scope = iota
	// StoreAccess needs hana.sid, the store and the log only: the settings of a
	// machine that reads a backup without HANA and without a daemon.
	StoreAccess
)

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// serviceLink matches what Kubernetes sets in every container for a Service
// whose name begins with "pipestreamer" (kubernetes.io, "Accessing the Service").
var serviceLink = regexp.MustCompile(`^PIPESTREAMER_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// Load reads the file at path, unless path is empty, then the environment in
// the form of os.Environ, then the files with the secrets of the store. It returns
// *[Error] with every problem that it found; what is wrong with files that a daemon
// needs is told by [Config.FileProblems] instead.
func Load(path string, environ []string, scope Scope) (*Config, error) {
	c := new(Config)
	l := &loader{config: c, scope: scope, settings: settingsOf(c), entries: map[string]entry{}, kubernetes: kubernetesAddress(environ)}
	if path != "" {
		text, err := readLimited(path, maxFile)
		if err != nil {
			return nil, &Error{Problems: []Problem{{Message: "the configuration file (--config FILE): " + err.Error()}}}
		}
		l.readFile(path, text)
		if l.refused("") { // what is missing in a file that cannot be read says nothing
			return nil, &Error{Problems: l.problems}
		}
	}
	l.readEnvironment(environ)
	l.assign()
	c.sources = make(map[string]string, len(l.entries))
	for key, given := range l.entries {
		c.sources[key] = given.where
	}
	l.check()
	l.readSecrets()
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
		return nil, &Error{Problems: l.problems}
	}
	return c, nil
}

// entry is the text that was given for a key, and where.
type entry struct{ text, where string }

type loader struct {
	config   *Config
	scope    Scope
	settings []setting
	entries  map[string]entry
	problems []Problem
	// kubernetes is host:port of the API server, empty outside of a pod.
	kubernetes string
}

// report adds a problem. The first problem of a key hides later ones, which
// mostly follow from it.
func (l *loader) report(key, where, format string, arguments ...any) {
	if key != "" && l.refused(key) {
		return
	}
	l.problems = append(l.problems, Problem{Key: key, Where: where, Message: fmt.Sprintf(format, arguments...)})
}

func (l *loader) refused(key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == key })
}

func (l *loader) readFile(name string, text []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		l.report("", name, "%v", err)
		return
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.report("", name, "expected one YAML document and nothing after it")
	}
	l.walk(document.Content[0], name, "")
}

// walk collects the entries of the mapping node, whose keys begin with prefix.
func (l *loader) walk(node *yaml.Node, name, prefix string) {
	if node.Kind != yaml.MappingNode {
		l.report(strings.TrimSuffix(prefix, "."), at(name, node), "expected keys with values")
		return
	}
	for i := 0; i < len(node.Content); i += 2 {
		keyNode, value := node.Content[i], node.Content[i+1]
		key, where := prefix+keyNode.Value, at(name, keyNode)
		for j := 0; j < i; j += 2 {
			if node.Content[j].Value == keyNode.Value {
				l.report(key, where, "this key already stands in line %d", node.Content[j].Line)
			}
		}
		switch {
		case l.isSection(key):
			l.walk(value, name, key+".")
		case !l.isEntry(key):
			l.report(key, where, "unknown key; known here: %s", strings.Join(l.known(prefix), ", "))
		case value.Kind == yaml.AliasNode:
			l.report(key, where, "aliases are not accepted")
		case value.Kind == yaml.SequenceNode && l.isList(key):
			l.readList(value, key, where)
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
			l.report(key, where, "expected a single value")
		default:
			l.entries[key] = entry{text: value.Value, where: where}
		}
	}
}

// readList takes in the texts of a list.
func (l *loader) readList(node *yaml.Node, key, where string) {
	var texts []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || item.Value == "" || strings.ContainsAny(item.Value, ", \t\n") {
			l.report(key, where, "expected a list of texts without commas and spaces")
			return
		}
		texts = append(texts, item.Value)
	}
	l.entries[key] = entry{text: strings.Join(texts, ","), where: where}
}

func (l *loader) isList(key string) bool {
	return slices.ContainsFunc(l.settings, func(s setting) bool { return s.key == key && s.isList() })
}

func at(name string, node *yaml.Node) string { return fmt.Sprintf("%s line %d", name, node.Line) }

// isSection reports whether key has keys below it: a section or a map.
func (l *loader) isSection(key string) bool {
	return slices.ContainsFunc(l.settings, func(s setting) bool {
		return strings.HasPrefix(s.key, key+".") || s.isMap() && s.key == key
	})
}

// isEntry reports whether key takes a value: a setting or an entry of a map.
func (l *loader) isEntry(key string) bool {
	return slices.ContainsFunc(l.settings, func(s setting) bool {
		return s.key == key || s.isMap() && strings.HasPrefix(key, s.key+".")
	})
}

// known lists the keys that may follow prefix.
func (l *loader) known(prefix string) []string {
	var names []string
	for _, s := range l.settings {
		rest, below := strings.CutPrefix(s.key, prefix)
		name, _, _ := strings.Cut(rest, ".")
		if below && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (l *loader) readEnvironment(environ []string) {
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || name == ConfigVariable || slices.Contains(clientVariables(), name) {
			continue
		}
		where := "environment variable " + name
		if key := l.keyOf(name); key != "" {
			l.entries[key] = entry{text: text, where: where}
			continue
		}
		if !isServiceLink(name, text) {
			l.report("", where, "unknown variable; docs/configuration.md lists those that exist")
		}
	}
}

// ConfigVariable names the configuration file for the command line.
const ConfigVariable = envPrefix + "CONFIG"

// clientVariables are the flags of the verbs that talk to the daemon.
func clientVariables() []string {
	return []string{URLVariable, TokenFileVariable, CAFileVariable, CertFileVariable, KeyFileVariable}
}

// Variables for flags of the command line that say how to reach the daemon.
const (
	URLVariable       = envPrefix + "URL"
	TokenFileVariable = envPrefix + "TOKEN_FILE"
	CAFileVariable    = envPrefix + "CA_FILE"
	CertFileVariable  = envPrefix + "CERT_FILE"
	KeyFileVariable   = envPrefix + "KEY_FILE"
)

// kubernetesAddress is where Kubernetes says that its API server is
// (kubernetes.io, "Accessing the API from a Pod").
func kubernetesAddress(environ []string) string {
	var host, port string
	for _, variable := range environ {
		switch name, text, _ := strings.Cut(variable, "="); name {
		case "KUBERNETES_SERVICE_HOST":
			host = text
		case "KUBERNETES_SERVICE_PORT":
			port = text
		}
	}
	if host == "" || port == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

func (l *loader) keyOf(variable string) string {
	for _, s := range l.settings {
		if s.isMap() {
			if rest, found := strings.CutPrefix(variable, s.env+"_"); found {
				return s.key + "." + strings.ToLower(rest)
			}
		} else if s.env == variable {
			return s.key
		}
	}
	return ""
}

// isServiceLink recognises what Kubernetes sets. A plain …_PORT could also be a
// misspelt setting; only Kubernetes gives it a URL.
func isServiceLink(name, text string) bool {
	if !serviceLink.MatchString(name) {
		return false
	}
	return !strings.HasSuffix(name, "_PORT") || strings.HasSuffix(name, "_SERVICE_PORT") ||
		strings.Contains(name, "_PORT_") || strings.Contains(text, "://")
}

// assign parses entries and defaults into the configuration.
func (l *loader) assign() {
	for _, s := range l.settings {
		if s.isMap() {
			l.assignMap(s)
			continue
		}
		given, present := l.entries[s.key]
		if !present {
			given.text = s.def
		}
		if given.text == "" && s.required {
			if l.needs(s.key) {
				l.report(s.key, given.where, "is required; set it in the file or as %s", s.env)
			}
			continue
		}
		if !present && s.def == "" {
			continue
		}
		if err := s.set(given.text); err != nil {
			l.report(s.key, given.where, "%q: %v", given.text, err)
		}
	}
}

func (l *loader) assignMap(s setting) {
	entries := map[string]string{}
	for key, given := range l.entries {
		if name, found := strings.CutPrefix(key, s.key+"."); found {
			entries[name] = given.text
		}
	}
	if target, is := reflect.TypeAssert[*map[string]string](s.field.Addr()); is && len(entries) > 0 {
		*target = entries
	}
}

// needs reports whether the scope needs the setting.
func (l *loader) needs(key string) bool {
	return l.scope == Daemon || key == "hana.sid" || key == "memoryBudget" || key == "compression" ||
		strings.HasPrefix(key, "encryption.") ||
		strings.HasPrefix(key, "store.") || strings.HasPrefix(key, "log.")
}

// readLimited reads a file that may not be larger than limit.
func readLimited(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("expected at most %s", Size(limit))
	}
	return text, nil
}
