package statement

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// Kind is what a token is.
type Kind int

// The kinds of tokens.
const (
	End Kind = iota
	Word
	Quoted // "identifier"
	String // 'text'
	Number
	Symbol
)

// Token is one piece of a statement. Value is a word in upper case, or what
// stands between quotes with doubled quotes made one. Start and Stop are byte
// positions in the statement.
type Token struct {
	Kind        Kind
	Value       string
	Start, Stop int
}

// Lex splits sql into tokens, the last of which is End. Comments and one final
// semicolon are left out. An unclosed quote or comment is a syntax error.
func Lex(sql string) ([]Token, error) {
	var tokens []Token
	for at := 0; ; {
		at = skipBlank(sql, at)
		if at >= len(sql) {
			break
		}
		token, err := next(sql, at)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
		at = token.Stop
	}
	if n := len(tokens); n > 0 && tokens[n-1].Value == ";" && tokens[n-1].Kind == Symbol {
		tokens = tokens[:n-1]
	}
	return append(tokens, Token{Kind: End, Start: len(sql), Stop: len(sql)}), nil
}

func skipBlank(sql string, at int) int {
	for at < len(sql) {
		r, size := utf8.DecodeRuneInString(sql[at:])
		rest := sql[at:]
		switch {
		case unicode.IsSpace(r):
			at += size
		case strings.HasPrefix(rest, "--"):
			line, _, _ := strings.Cut(rest, "\n")
			at += len(line)
		case strings.HasPrefix(rest, "/*") && strings.Contains(rest[2:], "*/"):
			at += strings.Index(rest[2:], "*/") + 4
		default:
			return at
		}
	}
	return at
}

func next(sql string, at int) (Token, error) {
	r, size := utf8.DecodeRuneInString(sql[at:])
	switch {
	case r == '\'':
		return quoted(sql, at, String)
	case r == '"':
		return quoted(sql, at, Quoted)
	case isDigit(r):
		stop := span(sql, at, func(r rune) bool { return isDigit(r) || r == '.' })
		return Token{Number, sql[at:stop], at, stop}, nil
	case isWord(r):
		stop := span(sql, at, func(r rune) bool { return isWord(r) || isDigit(r) })
		return Token{Word, strings.ToUpper(sql[at:stop]), at, stop}, nil
	default:
		return Token{Symbol, sql[at : at+size], at, at + size}, nil
	}
}

func quoted(sql string, at int, kind Kind) (Token, error) {
	quote := sql[at : at+1]
	var value strings.Builder
	for stop := at + 1; ; {
		end := strings.Index(sql[stop:], quote)
		if end < 0 {
			return Token{}, SyntaxError(sql, at)
		}
		value.WriteString(sql[stop : stop+end])
		stop += end + 1
		if !strings.HasPrefix(sql[stop:], quote) {
			return Token{kind, value.String(), at, stop}, nil
		}
		value.WriteString(quote)
		stop++
	}
}

func span(sql string, at int, in func(rune) bool) int {
	if end := strings.IndexFunc(sql[at:], func(r rune) bool { return !in(r) }); end >= 0 {
		return at + end
	}
	return len(sql)
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func isWord(r rune) bool { return r == '_' || r == '$' || r == '#' || unicode.IsLetter(r) }

// SyntaxError is HANA's error 257 for the token that begins at a position of
// sql.
func SyntaxError(sql string, at int) *wire.Error {
	near := ""
	switch {
	case at < len(sql) && (sql[at] == '\'' || sql[at] == '"'):
		near = sql[at : at+1] // the quote may be what is not closed
	case at < len(sql):
		if token, err := next(sql, at); err == nil {
			near = sql[token.Start:token.Stop]
		}
	}
	line, column := LineColumn(sql, at)
	return &wire.Error{
		Code: 257, State: "HY000", Position: at,
		Text: fmt.Sprintf("sql syntax error: incorrect syntax near %q: line %d col %d (at pos %d)", near, line, column, at+1),
	}
}

// LineColumn gives the line and column, from 1, of a byte position.
func LineColumn(sql string, at int) (line, column int) {
	before := sql[:at]
	return strings.Count(before, "\n") + 1, at - strings.LastIndex(before, "\n")
}
