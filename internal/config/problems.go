package config

import (
	"fmt"
	"strings"
)

// Problem is one reason to refuse the configuration.
type Problem struct {
	// Key is the setting, for example "hana.port"; empty when the file as a
	// whole cannot be read.
	Key string `json:"key,omitempty"`
	// Where names the file and line or the environment variable, empty for a
	// default and for what is missing.
	Where string `json:"where,omitempty"`
	// Message says what was found and what was expected.
	Message string `json:"message"`
}

// String gives key, place and message.
func (p Problem) String() string {
	text := p.Key
	if p.Where != "" {
		text = strings.TrimSpace(text + " (" + p.Where + ")")
	}
	if text == "" {
		return p.Message
	}
	return text + ": " + p.Message
}

// Error refuses a configuration for all its problems at once.
type Error struct{ Problems []Problem }

// Error gives one line per problem.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, fmt.Sprintf("configuration: %d problem(s)", len(e.Problems)))
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}
