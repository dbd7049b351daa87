package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Shown is one setting as it may be shown: secrets are files, of which only the
// path is a setting.
type Shown struct {
	Key, Value string
	// Source is "default", or where the value was given: the file with its line,
	// or the variable.
	Source string
}

// Shown lists what holds, in the order of docs/configuration.md; of a map, its
// entries. Options of the store that may have a password in them are not shown, and
// neither are those for which hidden says so; nil hides none.
func (c *Config) Shown(hidden func(option string) bool) []Shown {
	var list []Shown
	for _, s := range settingsOf(c) {
		entries, isMap := reflect.TypeAssert[map[string]string](s.field)
		if !isMap {
			list = append(list, c.shown(s.key, fmt.Sprint(s.field.Interface())))
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			value := entries[name]
			if s.key == optionsKey {
				if value = withoutPassword(value); hidden != nil && hidden(name) {
					value = redacted
				}
			}
			list = append(list, c.shown(s.key+"."+name, value))
		}
	}
	return list
}

// optionsKey is the one map whose values are not the names of files.
const optionsKey = "store.options"

func (c *Config) shown(key, value string) Shown {
	source := c.sources[key]
	if source == "" {
		source = "default"
	}
	return Shown{Key: key, Value: value, Source: source}
}

// withoutPassword gives a placeholder for what may have a password in it: a user of
// a host, or the signature in the query of a URL.
func withoutPassword(value string) string {
	if strings.ContainsAny(value, "@?") {
		return redacted
	}
	return value
}
