package views

import (
	"fmt"
	"strings"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// hanaError turns an error of the engine into HANA's.
func (q rewritten) hanaError(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "no such table: "):
		name := subject(text, "no such table: ")
		schema, table, qualified := strings.Cut(name, ".")
		if !qualified {
			schema, table = q.user, name
		}
		return q.at(259, schema, table, "invalid table name:  Could not find table/view %s in schema %s", table, schema)
	case strings.Contains(text, "no such column: "):
		name := subject(text, "no such column: ")
		owner, column, qualified := strings.Cut(name, ".")
		if !qualified {
			owner, column = "", name
		}
		return q.at(260, owner, column, "invalid column name: %s", name)
	case strings.Contains(text, "no such function: "):
		name := subject(text, "no such function: ")
		return q.at(328, "", name, "invalid name of function or procedure: %s", name)
	case strings.Contains(text, "syntax error"), strings.Contains(text, "incomplete input"):
		_, near, _ := strings.Cut(text, `near "`)
		near, _, _ = strings.Cut(near, `"`)
		return statement.SyntaxError(q.original, q.find("", near))
	default:
		return &wire.Error{Code: 2, State: "HY000", Text: "general error: simulator: " + text}
	}
}

func subject(text, marker string) string {
	_, rest, _ := strings.Cut(text, marker)
	name, _, _ := strings.Cut(rest, " (")
	name, _, _ = strings.Cut(name, " - ")
	return strings.Trim(name, `"`)
}

func (q rewritten) at(code int, qualifier, word, format string, values ...any) error {
	position := q.find(qualifier, word)
	line, column := statement.LineColumn(q.original, position)
	return &wire.Error{
		Code: code, State: "HY000", Position: position,
		Text: fmt.Sprintf(format, values...) + fmt.Sprintf(": line %d col %d (at pos %d)", line, column, position),
	}
}

// find gives the position of a word in the original query, of its qualifier
// when it has one there, or the query's end.
func (q rewritten) find(qualifier, word string) int {
	tokens, err := statement.Lex(q.original)
	if err != nil {
		return len(q.original)
	}
	for i, token := range tokens {
		if !strings.EqualFold(token.Value, word) {
			continue
		}
		if i >= 2 && qualifier != "" && strings.EqualFold(tokens[i-2].Value, qualifier) {
			return tokens[i-2].Start
		}
		return token.Start
	}
	return len(q.original)
}
