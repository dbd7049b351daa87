package uploader

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// privatePrefix is where this package keeps what is not an object of a caller.
const privatePrefix = ".pipestreamer/"

// checkKey refuses a key that could mean another place than it says.
func checkKey(key string) error {
	if key == "" || len(key) > 1024 || !utf8.ValidString(key) {
		return fmt.Errorf("key %q: expected 1 to 1024 bytes of UTF-8", key)
	}
	if strings.HasPrefix(key, privatePrefix) {
		return fmt.Errorf("key %q: %s is reserved", key, privatePrefix)
	}
	for piece := range strings.SplitSeq(key, "/") {
		if piece == "" || piece == "." || piece == ".." {
			return fmt.Errorf("key %q: element %q: expected a name", key, piece)
		}
		if strings.ContainsFunc(piece, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
			return fmt.Errorf("key %q: expected no control characters and no backslash", key)
		}
	}
	return nil
}

// checkPrefix refuses a prefix that is neither empty nor a key with a slash.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	key, found := strings.CutSuffix(prefix, "/")
	if !found {
		return fmt.Errorf("prefix %q: expected a slash at its end", prefix)
	}
	return checkKey(key)
}
