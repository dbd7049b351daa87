package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// redacted stands wherever a secret would show.
const redacted = "[redacted]"

// Secret is text that must not be seen. Whatever prints, logs or encodes it
// shows a placeholder; only [Secret.Reveal] gives the text.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal gives the text, for the one call that needs it.
func (s Secret) Reveal() string { return s.text }

// Empty reports whether there is no text.
func (s Secret) Empty() bool { return s.text == "" }

// String gives the placeholder.
func (s Secret) String() string { return redacted }

// Format writes the placeholder for every verb, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) {
	// fmt ignores errors of a State as well; there is nobody to tell.
	_, _ = io.WriteString(f, redacted)
}

// MarshalText gives the placeholder, to JSON and YAML too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON gives the placeholder.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// Size is a number of bytes.
type Size int64

// String gives the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range []struct {
		name   string
		factor Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && s%u.factor == 0 {
			return strconv.FormatInt(int64(s/u.factor), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads a size as users write it, for example "512MiB".
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "KMGTiB")
	unit := strings.TrimSpace(text[len(digits):])
	digits = strings.TrimSpace(digits)
	factors := map[string]int64{
		"": 1, "B": 1,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}
	factor, known := factors[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !known || err != nil || n < 0 || digits[0] == '+' {
		return 0, errors.New("expected a size such as 512MiB")
	}
	if n > math.MaxInt64/factor {
		return 0, errors.New("expected a size below 8EiB")
	}
	return Size(n * factor), nil
}
