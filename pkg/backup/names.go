package backup

import (
	"fmt"
	"regexp"
	"strings"
)

// The grammars are narrower than what HANA and stores accept: names end up in
// SQL text, file names and object keys, none of which can be parameterised.
var (
	sidGrammar      = regexp.MustCompile(`^[A-Z][A-Z0-9]{2}$`)
	databaseGrammar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)
	prefixGrammar   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	directoryPiece  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// CheckSID reports whether sid is a system id.
func CheckSID(sid string) error {
	if !sidGrammar.MatchString(sid) {
		return fmt.Errorf("sid %q: expected three characters, a letter first, A-Z and 0-9", sid)
	}
	return nil
}

// ParseDatabase checks a database name and returns it in upper case, as HANA
// keeps it.
func ParseDatabase(name string) (string, error) {
	// Before the case is changed: Unicode has other letters whose upper case is one
	// of ours, such as the long s.
	if !databaseGrammar.MatchString(name) {
		return "", fmt.Errorf("database %q: expected 1 to 128 of A-Z, 0-9, _ and -, a letter or digit first", name)
	}
	return strings.ToUpper(name), nil
}

// CheckPrefix reports whether prefix may stand in USING FILE and in a key.
func CheckPrefix(prefix string) error {
	if !prefixGrammar.MatchString(prefix) {
		return fmt.Errorf("prefix %q: expected 1 to 100 of A-Z, a-z, 0-9, _ and -, a letter or digit first", prefix)
	}
	return nil
}

// CheckDirectory reports whether dir is an absolute, clean path that may stand
// in USING FILE.
func CheckDirectory(dir string) error {
	rest, absolute := strings.CutPrefix(dir, "/")
	if !absolute || rest == "" {
		return fmt.Errorf("directory %q: expected an absolute path below /", dir)
	}
	for piece := range strings.SplitSeq(rest, "/") {
		if piece == "." || piece == ".." || !directoryPiece.MatchString(piece) {
			return fmt.Errorf("directory %q: element %q: expected A-Z, a-z, 0-9, '.', '_' and '-', and no '..'", dir, piece)
		}
	}
	return nil
}
