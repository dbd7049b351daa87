package hdbtrigger

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const redacted = "(redacted)"

// password does not show itself in text, JSON or logs. It is never a field of
// a struct: fmt prints unexported fields without asking them.
type password string

// Format writes a placeholder for every verb.
func (password) Format(f fmt.State, _ rune) {
	// A failed write shows in the caller's own result.
	_, _ = io.WriteString(f, redacted)
}

// MarshalText gives a placeholder.
func (password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// readPassword reads a file whose content is a password. Errors name the file.
func readPassword(file string) (password, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return "", fmt.Errorf("password file %s: it is empty", file)
	}
	return password(text), nil
}
