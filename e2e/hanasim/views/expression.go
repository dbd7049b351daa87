package views

import (
	"slices"
	"strings"

	"github.com/pipestreamer/pipestreamer/e2e/hanasim/statement"
	"github.com/pipestreamer/pipestreamer/e2e/hanasim/wire"
)

// item is one expression of a select list: tokens[from:to] without its alias.
type item struct{ from, to int }

// selectItems splits the outermost select list.
func (q rewritten) selectItems() []item {
	var items []item
	from := -1
	outermost(q.tokens, func(i int, token statement.Token) bool {
		ends := token.Kind == statement.End || (token.Kind == statement.Word && token.Value == "FROM")
		switch {
		case from < 0 && token.Kind == statement.Word && token.Value == "SELECT":
			from = i + 1
			if next := q.tokens[from].Value; next == "DISTINCT" || next == "ALL" {
				from++
			}
		case from >= 0 && (ends || isSymbol(",")(token)):
			items = append(items, q.withoutAlias(item{from, i}))
			from = i + 1
		}
		return from < 0 || !ends
	})
	return items
}

// outermost visits the tokens that stand in no parentheses, until visit is
// false. A pair of parentheses is visited by its closing one.
func outermost(tokens []statement.Token, visit func(int, statement.Token) bool) {
	depth := 0
	for i, token := range tokens {
		switch {
		case isSymbol("(")(token):
			depth++
		case isSymbol(")")(token):
			depth--
		}
		if depth == 0 && !visit(i, token) {
			return
		}
	}
}

func (q rewritten) withoutAlias(i item) item {
	if i.to-i.from >= 2 && q.tokens[i.to-2].Value == "AS" {
		i.to -= 2
	}
	return i
}

// expressionType gives an expression its type by a rule over its text.
func (e *Engine) expressionType(q rewritten, i item, column wire.Column) wire.Column {
	if i.from >= i.to {
		return column
	}
	tokens := q.tokens[i.from:i.to]
	declared := ""
	switch first := tokens[0]; {
	case first.Kind == statement.Number && len(tokens) == 1:
		declared = "INTEGER"
	case calls(tokens, "CAST"):
		declared = tokens[len(tokens)-2].Value
	case calls(tokens, "COUNT", "LENGTH", "INSTR"):
		declared = "BIGINT"
	case calls(tokens, "STRFTIME") && strings.HasSuffix(tokens[2].Value, "%f0000"):
		declared = "TIMESTAMP"
	case calls(tokens, "MAX", "MIN", "SUM", "IFNULL", "COALESCE"):
		return e.argumentType(q, item{i.from + 2, i.to - 1}, column)
	case hasOperator(tokens, "/"):
		declared = "DECIMAL"
	case hasOperator(tokens, "*+-"):
		declared = "BIGINT"
	}
	if declared == "" {
		return column
	}
	t := typed(declared)
	t.Name = column.Name
	return t
}

// argumentType is the type of a function's first argument: the engine is asked
// for it in the place of the whole select list.
func (e *Engine) argumentType(q rewritten, i item, column wire.Column) wire.Column {
	outermost(q.tokens[i.from:i.to], func(at int, token statement.Token) bool {
		if !isSymbol(",")(token) {
			return true
		}
		i.to = i.from + at
		return false
	})
	items := q.selectItems()
	start, stop := q.tokens[items[0].from].Start, q.tokens[items[len(items)-1].to].Start
	argument := q.text[q.tokens[i.from].Start:q.tokens[i.to].Start]
	inner := q
	inner.text = q.text[:start] + argument + " " + q.text[stop:]
	tokens, err := statement.Lex(inner.text)
	if err != nil {
		return column
	}
	inner.tokens = tokens
	columns, err := e.columns(inner)
	if err != nil || len(columns) != 1 {
		return column
	}
	columns[0].Name, columns[0].Table = column.Name, ""
	return columns[0]
}

// calls tells whether tokens are one call of a function of names.
func calls(tokens []statement.Token, names ...string) bool {
	if len(tokens) < 4 || !slices.Contains(names, tokens[0].Value) || !isSymbol("(")(tokens[1]) {
		return false
	}
	whole := false
	outermost(tokens[1:], func(i int, _ statement.Token) bool {
		whole = i == len(tokens)-2
		return false
	})
	return whole
}

// hasOperator tells whether an expression without texts has one of operators.
func hasOperator(tokens []statement.Token, operators string) bool {
	found := false
	for _, token := range tokens {
		if token.Kind == statement.String {
			return false
		}
		found = found || (token.Kind == statement.Symbol && strings.Contains(operators, token.Value))
	}
	return found
}
