package views

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// rewritten is a query in the engine's dialect.
type rewritten struct {
	original   string
	user       string
	text       string
	tokens     []statement.Token // of text
	views      []view
	parameters []wire.Column
}

// rewrite turns a query into the engine's dialect and finds the views it names.
func (e *Engine) rewrite(reader Reader, query string) (rewritten, error) {
	tokens, err := statement.Lex(query)
	if err != nil {
		return rewritten{}, err
	}
	q := rewritten{original: query, user: reader.User}
	seen := map[string]bool{}
	for _, token := range tokens {
		q.note(e, token, seen)
	}
	r := rewriter{reader: reader, query: query, tokens: tokens}
	q.text = r.run(func(t statement.Token) bool { return t.Kind == statement.End })
	if r.top != "" {
		q.text += " LIMIT " + r.top
	}
	q.tokens, err = statement.Lex(q.text)
	return q, err
}

// note takes the views and parameters from a token of the original.
func (q *rewritten) note(e *Engine, token statement.Token, seen map[string]bool) {
	if token.Kind == statement.Symbol && token.Value == "?" {
		parameter := wire.Column{Type: wire.NVarchar, Length: 5000}
		if column, found := q.columnBefore(e, token.Start); found {
			parameter = column
		}
		q.parameters = append(q.parameters, parameter)
	}
	if token.Kind != statement.Word && token.Kind != statement.Quoted {
		return
	}
	for key, v := range e.views {
		if v.name == token.Value && !seen[key] {
			seen[key] = true
			q.views = append(q.views, v)
		}
	}
}

// columnBefore finds the nearest column of a view that is named before a
// position, no farther away than the comparison that the position is part of.
func (q *rewritten) columnBefore(e *Engine, at int) (wire.Column, bool) {
	tokens, err := statement.Lex(q.original[:at])
	if err != nil {
		return wire.Column{}, false
	}
	for i := len(tokens) - 1; i >= max(0, len(tokens)-4); i-- {
		for _, v := range e.views {
			for _, column := range v.columns {
				if column.Name == tokens[i].Value && tokens[i].Kind != statement.String {
					return column, true
				}
			}
		}
	}
	return wire.Column{}, false
}

// rewriter walks over the tokens of a query.
type rewriter struct {
	reader Reader
	query  string
	tokens []statement.Token
	at     int
	top    string // the count of SELECT TOP
}

// run rewrites tokens up to the first at its own depth for which end is true.
func (r *rewriter) run(end func(statement.Token) bool) string {
	var out []string
	for {
		token := r.tokens[r.at]
		if token.Kind == statement.End || end(token) {
			return strings.Join(out, " ")
		}
		r.at++
		switch {
		case token.Kind == statement.Symbol && token.Value == "(":
			inner := r.run(isSymbol(")"))
			out = append(out, "( "+inner+" )")
			r.at = min(r.at+1, len(r.tokens)-1)
		case token.Kind == statement.Word:
			out = append(out, r.word(token))
		default:
			out = append(out, r.literal(token))
		}
	}
}

// literal rewrites anything but a word. Division of integers has a fraction in
// HANA.
func (r *rewriter) literal(token statement.Token) string {
	next := r.tokens[r.at]
	text := r.query[token.Start:token.Stop]
	switch {
	case token.Kind != statement.Symbol:
		return text
	case text == "/":
		return "* 1.0 /"
	case next.Kind == statement.Symbol && next.Start == token.Stop && slices.Contains([]string{"<=", ">=", "<>", "!=", "||"}, text+next.Value):
		r.at++
		return text + next.Value
	}
	return text
}

func (r *rewriter) word(token statement.Token) string {
	if call := r.functions()[token.Value]; call != nil && isSymbol("(")(r.tokens[r.at]) {
		r.at++
		return call(r.arguments())
	}
	if token.Value == "TOP" && r.at == 2 && r.tokens[r.at].Kind == statement.Number {
		r.top = r.tokens[r.at].Value
		r.at++
		return ""
	}
	switch token.Value {
	case "CURRENT_USER", "SESSION_USER", "CURRENT_SCHEMA":
		return "'" + strings.ReplaceAll(r.reader.User, "'", "''") + "'"
	case "CURRENT_CONNECTION":
		return strconv.FormatInt(r.reader.Connection, 10)
	case "CURRENT_TIMESTAMP", "CURRENT_UTCTIMESTAMP":
		return r.now()
	}
	return token.Value
}

// arguments rewrites what stands between the parentheses of a call.
func (r *rewriter) arguments() []string {
	var arguments []string
	for {
		argument := r.run(func(t statement.Token) bool { return isSymbol(")")(t) || isSymbol(",")(t) })
		arguments = append(arguments, argument)
		last := !isSymbol(",")(r.tokens[r.at])
		r.at = min(r.at+1, len(r.tokens)-1)
		if last {
			return arguments
		}
	}
}

func isSymbol(value string) func(statement.Token) bool {
	return func(t statement.Token) bool { return t.Kind == statement.Symbol && t.Value == value }
}

// now is the time of HANA's clock.
func (r *rewriter) now() string {
	return fmt.Sprintf("strftime('%%Y-%%m-%%d %%H:%%M:%%f0000', 'now', '%+.3f seconds')", r.reader.Clock.Seconds())
}

// functions are those of HANA that the engine has by another name.
func (r *rewriter) functions() map[string]func([]string) string {
	cast := func(target string) func([]string) string {
		return func(a []string) string { return "CAST( " + a[0] + " AS " + target + " )" }
	}
	add := func(unit string) func([]string) string {
		return func(a []string) string {
			return fmt.Sprintf("strftime( '%%Y-%%m-%%d %%H:%%M:%%f0000' , %s , ( %s ) || ' %s' )", a[0], a[len(a)-1], unit)
		}
	}
	return map[string]func([]string) string{
		"TO_BIGINT": cast("BIGINT"), "TO_INTEGER": cast("INTEGER"), "TO_INT": cast("INTEGER"),
		"TO_DOUBLE": cast("DOUBLE"), "TO_DECIMAL": cast("DECIMAL"), "TO_TIMESTAMP": cast("TEXT"),
		"TO_VARCHAR": toVarchar, "TO_NVARCHAR": toVarchar, "TO_CHAR": toVarchar,
		"ADD_SECONDS": add("seconds"), "ADD_DAYS": add("days"),
		"SECONDS_BETWEEN": func(a []string) string {
			return fmt.Sprintf("CAST( strftime('%%s', %s) - strftime('%%s', %s) AS BIGINT )", a[len(a)-1], a[0])
		},
		"LOCATE": func(a []string) string { return "instr( " + strings.Join(a, " , ") + " )" },
		"NOW":    func([]string) string { return r.now() },
	}
}

// toVarchar is TO_VARCHAR(value [, format of a time]).
func toVarchar(a []string) string {
	if len(a) < 2 {
		return "CAST( " + a[0] + " AS NVARCHAR )"
	}
	format := strings.NewReplacer("YYYY", "%Y", "MM", "%m", "DD", "%d", "HH24", "%H", "MI", "%M", "SS", "%S").Replace(a[1])
	return "strftime( " + format + " , " + a[0] + " )"
}
